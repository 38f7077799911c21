//! Power cuts under a real file system. The writes and flushes of a guest to its ext4 home were
//! recorded once, in their order (see `tests/power/record.sh`). They are replayed into a volume
//! whose host loses power at a random call to its disk, and with it a random part of what was not
//! synced. Afterwards the file system must be clean, and every record whose fsync had returned in
//! the guest must be there. The same holds for the last committed snapshot and the records before
//! its cut.

use std::{path::Path, process::Command, sync::Arc};

use bytes::Bytes;
use protocol::ManifestId;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    BLOCK_BYTES,
    blocking::inline,
    cache::{
        Host,
        power::{PowerSupply, SECTOR},
    },
    testing::*,
};

const BEFORE: &[u8] = include_bytes!("../../../tests/power/before.zst");
const LOG: &[u8] = include_bytes!("../../../tests/power/log.zst");
const MAX_LOG_BYTES: usize = 512 << 20;
/// Where the guest writes the number of the last record whose fsync has returned. The file system
/// ends here.
const MARK_OFFSET: u64 = 32 << 20;
const DISK_BYTES: u64 = 33 << 20;
const RECORD_BYTES: usize = 32;
/// A file is replaced with every eighth record.
const REPLACED_INTERVAL: u32 = 8;
const REPLACED_BYTES: usize = 6000;
/// Power cuts of a short run, and of a full one.
const POWER_CUTS: u64 = 30;
const MAX_POWER_CUTS: u64 = 3000;
/// One entry in this many is followed by a snapshot.
const SNAPSHOT_RATIO: u32 = 400;

#[derive(Debug)]
enum Entry {
    Write(u64, Bytes),
    Discard(u64, u64),
    Flush,
}

/// Parses the recording. It has the format of the kernel's dm-log-writes: a header sector, then
/// entries of one sector each, followed by their data.
fn parse_recording() -> Vec<Entry> {
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

/// The number that an entry writes at [`MARK_OFFSET`], if it does.
fn mark(entry: &Entry) -> Option<u32> {
    match entry {
        Entry::Write(MARK_OFFSET, bytes) => Some(u32::from_le_bytes(*bytes.first_chunk().expect("a block"))),
        _ => None,
    }
}

/// A world after its power has failed.
struct FailedWorld {
    world: World,
    /// Records that were promised to the guest when the power failed.
    promised: u32,
    /// The last committed snapshot, and the records that were promised before its cut.
    head: ManifestId,
    promised_by_head: u32,
}

/// Replays the recording until the power fails, somewhere after entry `from`.
async fn replay(
    entries: &[Entry],
    before: &Bytes,
    from: usize,
    seed: u64,
    honours_flushes: bool,
) -> FailedWorld {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::in_memory(seed, DISK_BYTES / BLOCK_BYTES);
    let power = Arc::new(PowerSupply::default());
    world.host.power = Some(power.clone());
    let volume = world.open("cache", None).await;
    for (number, piece) in before.chunks(1 << 20).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            write(&volume, (number as u64) << 20, piece).await;
        }
    }
    let head = volume.snapshot(|_| ()).await.expect("stored").manifest;
    volume.confirm_commit(head).await.expect("known");
    let mut played = FailedWorld { world, promised: 0, head, promised_by_head: 0 };
    for (index, entry) in entries.iter().enumerate() {
        if index == from {
            power.fail_at(power.calls() + random.random_range(1..40));
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
            // The controller commits it, whether the volume lives to be told or not.
            (played.head, played.promised_by_head) = (snapshot.manifest, played.promised);
            if random.random() && volume.confirm_commit(snapshot.manifest).await.is_err() {
                break;
            }
        }
    }
    drop(volume);
    power.lose_unsynced(random.random());
    played.world.host = Host { boot: uuid::Uuid::now_v7().into_bytes(), power: None };
    played.world.epoch += 1;
    played
}

/// Checks a home of which this many records were promised. Returns what is wrong with it, if
/// anything.
fn find_fault(content: &[u8], promised: u32, directory: &Path) -> Option<String> {
    let image = directory.join("image");
    std::fs::write(&image, content).expect("written");
    let tool = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&image).output();
        let output = output.unwrap_or_else(|error| panic!("{program} (of e2fsprogs): {error}"));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // As a mount does: the journal first, then what was being deleted. After that nothing may be
    // left to repair.
    tool("e2fsck", &["-E", "journal_only", "-y"]);
    let (code, output) = tool("e2fsck", &["-f", "-p"]);
    if !matches!(code, Some(0 | 1)) {
        return Some(format!("e2fsck -p: {output}"));
    }
    let (code, output) = tool("e2fsck", &["-f", "-n"]);
    if code != Some(0) {
        return Some(format!("e2fsck -n: {output}"));
    }
    let records = tool("debugfs", &["-R", "cat log"]).1;
    let whole = records.len() / RECORD_BYTES;
    let expected: Vec<String> = (1..=whole).map(|number| format!("record {number:024}\n")).collect();
    let expected = expected.concat();
    if records != expected || whole < promised as usize {
        return Some(format!("{promised} records were promised, {whole} are there"));
    }
    let current = tool("debugfs", &["-R", "cat current"]).1;
    // The file repeats 16 bytes that name its number.
    let number = current.get(5..15).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let expected = format!("file {number:010}\0").repeat(REPLACED_BYTES.div_ceil(16));
    if !current.is_empty() && current != expected[..REPLACED_BYTES] {
        return Some(format!("the replaced file is torn: {} bytes of {number}", current.len()));
    }
    (number < promised / REPLACED_INTERVAL * REPLACED_INTERVAL)
        .then(|| format!("{promised} was promised, and the replaced file is that of {number}"))
}

async fn content_after(played: &FailedWorld) -> Bytes {
    let volume = played.world.open("cache", Some(played.head)).await;
    read_all(&volume).await
}

fn power_cuts() -> u64 {
    (POWER_CUTS * soak_factor()).min(MAX_POWER_CUTS)
}

#[test]
fn file_system_survives_power_loss_at_any_moment() {
    let seed = seed();
    let (entries, before) = (parse_recording(), decompress_home());
    let first = entries.iter().position(|entry| mark(entry).is_some()).expect("marks");
    let next = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                inline::enable();
                loop {
                    let point = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if point >= power_cuts() {
                        return;
                    }
                    cut_power(&entries, &before, first, seed.wrapping_add(point));
                }
            });
        }
    });
    println!("{} power cuts", power_cuts());
}

fn cut_power(entries: &[Entry], before: &Bytes, first: usize, seed: u64) {
    let from = StdRng::seed_from_u64(seed).random_range(first..entries.len());
    in_paused_time(async {
        let played = replay(entries, before, from, seed, true).await;
        let directory = played.world.directory.path();
        let content = content_after(&played).await;
        let fault = find_fault(&content, played.promised, directory);
        assert_eq!(fault, None, "BURROW_SEED={seed}, entry {from}");
        // The host is lost too.
        let view = played.world.view(played.head).await;
        let content = view.read(0, DISK_BYTES).await.expect("reads");
        let fault = find_fault(&content, played.promised_by_head, directory);
        assert_eq!(fault, None, "BURROW_SEED={seed}, entry {from}: the last committed snapshot");
    });
}

/// The negative control: the test above must be able to fail.
#[test]
fn ignored_flushes_are_detected() {
    inline::enable();
    let seed = seed();
    let (entries, before) = (parse_recording(), decompress_home());
    let detected = (0..4).filter(|number| {
        in_paused_time(async {
            let from = entries.len() / 5 * (*number as usize + 1);
            let played = replay(&entries, &before, from, seed.wrapping_add(*number), false).await;
            let content = content_after(&played).await;
            find_fault(&content, played.promised, played.world.directory.path()).is_some()
        })
    });
    assert_eq!(detected.count(), 4);
}

fn decompress_home() -> Bytes {
    zstd::bulk::decompress(BEFORE, DISK_BYTES as usize).expect("a fixture").into()
}

fn in_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}
