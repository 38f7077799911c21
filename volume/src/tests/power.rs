//! Power cuts under a real file system. A guest's writes to its ext4 home were recorded once, in their order, with its flushes
//! (see `tests/power/record.sh`). They are played into a volume whose machine loses its power at a random call to its disk,
//! and with it a random part of what was not synced. Then the file system is clean, and every fsync that the guest had been
//! told the end of is there; also in the last committed snapshot, for those before its cut.

use std::{path::Path, process::Command};

use rand::RngExt as _;

use super::*;
use crate::cache::plug::{Plug, SECTOR};

const BEFORE: &[u8] = include_bytes!("../../tests/power/before.zst");
const LOG: &[u8] = include_bytes!("../../tests/power/log.zst");
const MAX_LOG_BYTES: usize = 512 << 20;
/// Where the guest writes the number of what it has been told is safe; the file system ends here.
const MARK_OFFSET: u64 = 32 << 20;
const DISK_BYTES: u64 = 33 << 20;
const RECORD_BYTES: usize = 32;
/// A file is replaced with every eighth record.
const REPLACED_INTERVAL: u32 = 8;
const REPLACED_BYTES: usize = 6000;
const POINTS: u64 = 30;
const POINTS_FULL: u64 = 3000;
/// One entry in so many is followed by a snapshot.
const SNAPSHOT_RATIO: u32 = 400;

#[derive(Debug)]
enum Entry {
    Write(u64, Bytes),
    Discard(u64, u64),
    Flush,
}

/// What the kernel's dm-log-writes calls a log: a header sector, then entries of a sector each, followed by their data.
fn recorded() -> Vec<Entry> {
    let log = Bytes::from(zstd::bulk::decompress(LOG, MAX_LOG_BYTES).expect("a fixture"));
    let number = |at: usize| u64::from_le_bytes(*log[at..].first_chunk().expect("eight bytes"));
    let count = number(16);
    let (mut entries, mut at) = (Vec::new(), SECTOR as usize);
    for _ in 0..count {
        let (sector, sectors, flags) = (number(at), number(at + 8), number(at + 16));
        at += SECTOR as usize;
        let (offset, length) = (sector * SECTOR, sectors * SECTOR);
        let (is_flush, is_forced, is_discard) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        if is_flush {
            entries.push(Entry::Flush);
        }
        match length {
            0 => {}
            length if is_discard => entries.push(Entry::Discard(offset, length)),
            length => {
                entries.push(Entry::Write(offset, log.slice(at..at + length as usize)));
                at += length as usize;
            }
        }
        if is_forced {
            entries.push(Entry::Flush);
        }
    }
    entries
}

/// The number of a mark, if the entry is one.
fn mark(entry: &Entry) -> Option<u32> {
    match entry {
        Entry::Write(MARK_OFFSET, bytes) => Some(u32::from_le_bytes(*bytes.first_chunk().expect("a block"))),
        _ => None,
    }
}

struct Played {
    world: World,
    /// What was promised when the power went, and by the last committed snapshot.
    promised: u32,
    head: ManifestId,
    promised_by_head: u32,
}

/// Plays the log until the power goes, somewhere after `from`.
async fn play(entries: &[Entry], before: &Bytes, from: usize, seed: u64, honours_flushes: bool) -> Played {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::in_memory(seed, DISK_BYTES / BLOCK_BYTES);
    let plug = Arc::new(Plug::default());
    world.machine.plug = Some(plug.clone());
    let volume = world.open("cache", None).await;
    for (number, piece) in before.chunks(1 << 20).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            write(&volume, (number as u64) << 20, piece).await;
        }
    }
    let head = volume.snapshot(|_| ()).await.expect("stored").manifest;
    volume.committed(head).await.expect("known");
    let mut played = Played { world, promised: 0, head, promised_by_head: 0 };
    for (index, entry) in entries.iter().enumerate() {
        if index == from {
            plug.pull_at(plug.calls() + random.random_range(1..40));
        }
        let outcome = match entry {
            Entry::Write(offset, bytes) => volume.write(*offset, bytes.clone()).await,
            Entry::Discard(offset, length) => volume.discard(*offset, *length).await,
            Entry::Flush if honours_flushes => volume.flush().await,
            Entry::Flush => Ok(()),
        };
        if outcome.is_err() {
            break;
        }
        played.promised = mark(entry).unwrap_or(played.promised);
        if honours_flushes && random.random_ratio(1, SNAPSHOT_RATIO) {
            let Ok(snapshot) = volume.snapshot(|_| ()).await else { break };
            // Committed whether the volume lives to hear it or not.
            (played.head, played.promised_by_head) = (snapshot.manifest, played.promised);
            if random.random() && volume.committed(snapshot.manifest).await.is_err() {
                break;
            }
        }
    }
    drop(volume);
    plug.lose_unsynced(random.random());
    played.world.machine = Machine { boot: uuid::Uuid::now_v7().into_bytes(), plug: None };
    played.world.epoch += 1;
    played
}

/// What is wrong with a home of which so much was promised, if anything.
fn wrong_with(content: &[u8], promised: u32, directory: &Path) -> Option<String> {
    let image = directory.join("image");
    std::fs::write(&image, content).expect("written");
    let tool = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&image).output();
        let output = output.unwrap_or_else(|error| panic!("{program} (of e2fsprogs): {error}"));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // As a mount does: the journal, then what was being removed. Then nothing may be left to mend.
    tool("e2fsck", &["-E", "journal_only", "-y"]);
    let (code, said) = tool("e2fsck", &["-f", "-p"]);
    if !matches!(code, Some(0 | 1)) {
        return Some(format!("e2fsck -p: {said}"));
    }
    let (code, said) = tool("e2fsck", &["-f", "-n"]);
    if code != Some(0) {
        return Some(format!("e2fsck -n: {said}"));
    }
    let records = tool("debugfs", &["-R", "cat log"]).1;
    let whole = records.len() / RECORD_BYTES;
    let expected: Vec<String> = (1..=whole).map(|number| format!("record {number:024}\n")).collect();
    let expected = expected.concat();
    if records != expected || whole < promised as usize {
        return Some(format!("{promised} records were promised, {whole} are there"));
    }
    let current = tool("debugfs", &["-R", "cat current"]).1;
    // Sixteen bytes repeat: its number in words.
    let number = current.get(5..15).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let expected = format!("file {number:010}\0").repeat(REPLACED_BYTES.div_ceil(16));
    if !current.is_empty() && current != expected[..REPLACED_BYTES] {
        return Some(format!("the replaced file is torn: {} bytes of {number}", current.len()));
    }
    (number < promised / REPLACED_INTERVAL * REPLACED_INTERVAL)
        .then(|| format!("{promised} was promised, and the replaced file is that of {number}"))
}

async fn found(played: &Played) -> Bytes {
    let volume = played.world.open("cache", Some(played.head)).await;
    everything(&volume).await
}

fn points() -> u64 {
    (POINTS * soak_factor()).min(POINTS_FULL)
}

#[test]
fn a_file_system_survives_the_loss_of_power_at_any_moment() {
    let seed = seed();
    let (entries, before) = (recorded(), decompressed());
    let first = entries.iter().position(|entry| mark(entry).is_some()).expect("marks");
    let next = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                run_inline();
                loop {
                    let point = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if point >= points() {
                        return;
                    }
                    cut_power(&entries, &before, first, seed.wrapping_add(point));
                }
            });
        }
    });
    println!("{} power cuts", points());
}

fn cut_power(entries: &[Entry], before: &Bytes, first: usize, seed: u64) {
    let from = StdRng::seed_from_u64(seed).random_range(first..entries.len());
    in_paused_time(async {
        let played = play(entries, before, from, seed, true).await;
        let directory = played.world.directory.path();
        let content = found(&played).await;
        let wrong = wrong_with(&content, played.promised, directory);
        assert_eq!(wrong, None, "BURROW_SEED={seed}, entry {from}");
        // The host is gone too.
        let reader = played.world.reader(played.head).await;
        let content = reader.read(0, DISK_BYTES).await.expect("reads");
        let wrong = wrong_with(&content, played.promised_by_head, directory);
        assert_eq!(wrong, None, "BURROW_SEED={seed}, entry {from}: the last committed snapshot");
    });
}

/// The negative control: this test must be able to fail.
#[test]
fn a_disk_that_ignores_flushes_is_found_out() {
    run_inline();
    let seed = seed();
    let (entries, before) = (recorded(), decompressed());
    let found_out = (0..4).filter(|number| {
        in_paused_time(async {
            let from = entries.len() / 5 * (*number as usize + 1);
            let played = play(&entries, &before, from, seed.wrapping_add(*number), false).await;
            let content = found(&played).await;
            wrong_with(&content, played.promised, played.world.directory.path()).is_some()
        })
    });
    assert_eq!(found_out.count(), 4);
}

fn decompressed() -> Bytes {
    zstd::bulk::decompress(BEFORE, DISK_BYTES as usize).expect("a fixture").into()
}

fn in_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}
