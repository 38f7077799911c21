//! Hostile homes, and readers that a hostile home has taken over. The parent does not panic, wait
//! forever, or exceed its bounds.

mod support;

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use burrow_reader::{ReadAt, ReaderCommand, ReaderError, SnapshotFiles, fuzzing};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::{
    api::snapshot::MAX_CHANGES,
    files::{EntryKind, HomePath},
};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use support::{MemoryDisk, debugfs, filler, make_image, open, path, reader_command, run};
use tokio::sync::Notify;

/// Mutated images that are read in this process. Soak runs read more.
const MUTATIONS: usize = 3000;
/// Mutated images that are read by a reader, which takes longer to start than to read.
const PROCESSES: usize = 60;
/// Far more than a small image takes.
const MAX_READ_TIME: Duration = Duration::from_secs(5);

/// The random generator; `BURROW_SEED` replays a run.
fn seeded_random() -> StdRng {
    let seed =
        std::env::var("BURROW_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("BURROW_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// How many times more to do in a soak run.
fn soak_factor() -> usize {
    std::env::var("BURROW_SOAK_FACTOR").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Small images of different layouts; the last has a journal to replay. Most have no checksums, so
/// that altered bytes reach deeper.
fn images(scratch: &Path) -> Vec<Vec<u8>> {
    let directory = scratch.join("in");
    fs::create_dir_all(directory.join("dir/below")).expect("writable");
    for (name, length) in [("a", 10), ("dir/b", 40_000), ("dir/below/c", 3000)] {
        fs::write(directory.join(name), filler(length, length as usize)).expect("writable");
    }
    for file in 0..60 {
        fs::write(directory.join(format!("dir/below/entry-{file}")), "x").expect("writable");
    }
    let sparse = fs::File::create(directory.join("sparse")).expect("writable");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 900_000).expect("writable");
    std::os::unix::fs::symlink("long/".repeat(30), directory.join("link")).expect("writable");
    let kinds: [&[&str]; 4] = [
        &["-b", "1024", "-O", "^has_journal"],
        &["-b", "1024", "-O", "^has_journal,^metadata_csum"],
        &["-b", "1024", "-O", "^has_journal,^metadata_csum,^extent,^64bit"],
        &["-b", "1024", "-O", "^metadata_csum"],
    ];
    kinds
        .iter()
        .enumerate()
        .map(|(index, options)| {
            let image = scratch.join(format!("image-{index}"));
            make_image(&image, options, Some(&directory), "4M");
            if !options[3].contains("^has_journal") {
                write_transaction(&image);
            }
            fs::read(image).expect("readable")
        })
        .collect()
}

/// Leaves a transaction in the journal that rewrites the root directory unchanged.
fn write_transaction(image: &Path) {
    let text = image.to_str().expect("UTF-8");
    let block = run("debugfs", &["-R", "bmap <2> 0", text], &[0]);
    let number: usize = block.trim().parse().expect("a number");
    let content = image.with_extension("block");
    fs::write(&content, &fs::read(image).expect("readable")[number * 1024..][..1024]).expect("writable");
    debugfs(
        image,
        &format!("journal_open\njournal_write -b {number} {}\njournal_close\n", content.display()),
    );
}

/// Alters a few used bytes.
fn mutate(image: &[u8], used: &[usize], random: &mut StdRng) -> Vec<u8> {
    let mut image = image.to_vec();
    for _ in 0..random.random_range(1..12) {
        let at = *used.choose(random).expect("an image is not empty");
        match random.random_range(0..4) {
            0 => image[at] ^= 1 << random.random_range(0..8),
            1 => image[at] = *[0, 1, 0x7f, 0x80, 0xff].choose(random).expect("some"),
            2 => {
                let end = (at + random.random_range(1..9)).min(image.len());
                random.fill_bytes(&mut image[at..end]);
            }
            // Copies bytes from elsewhere: a pointer, or a whole record.
            _ => {
                let from = *used.choose(random).expect("an image is not empty");
                let length = [4, 12, 64, 256][random.random_range(0..4)];
                let length = length.min(image.len() - at.max(from));
                image.copy_within(from..from + length, at);
            }
        }
    }
    image
}

/// Offsets of the image's nonzero bytes, without file contents, which do not affect parsing.
fn used_offsets(image: &[u8]) -> Vec<usize> {
    let is_metadata = |block: &[u8]| block.iter().filter(|byte| **byte == 0).count() > block.len() / 8;
    let blocks = image.chunks(1024).enumerate().filter(|(_, block)| is_metadata(block));
    blocks
        .flat_map(|(index, block)| block.iter().enumerate().map(move |(at, byte)| (index * 1024 + at, *byte)))
        .filter_map(|(at, byte)| (byte != 0).then_some(at))
        .collect()
}

#[test]
fn mutated_images_never_panic_or_hang() {
    let scratch = tempfile::tempdir().expect("a directory");
    let images = images(scratch.path());
    let used: Vec<_> = images.iter().map(|image| used_offsets(image)).collect();
    let mut random = seeded_random();
    let mut longest = Duration::ZERO;
    for number in 0..MUTATIONS * soak_factor() {
        let kind = number % images.len();
        let image = mutate(&images[kind], &used[kind], &mut random);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| fuzzing::image(&image)));
        longest = longest.max(start.elapsed());
        assert!(result.is_ok(), "mutation {number} of image {kind}");
        assert!(start.elapsed() < MAX_READ_TIME, "mutation {number} of image {kind}: {:?}", start.elapsed());
    }
    eprintln!("longest: {longest:?}");
}

#[tokio::test]
async fn mutated_home_is_read_or_refused() {
    let scratch = tempfile::tempdir().expect("a directory");
    let images = images(scratch.path());
    let used: Vec<_> = images.iter().map(|image| used_offsets(image)).collect();
    let mut random = seeded_random();
    let mut opened = 0;
    for number in 0..PROCESSES * soak_factor() {
        let kind = number % images.len();
        let image = mutate(&images[kind], &used[kind], &mut random);
        match open(MemoryDisk(image)).await {
            Ok(mut home) => {
                opened += 1;
                read_everything(&mut home).await;
                home.close().await;
            }
            Err(error) => assert_is_clean(&error),
        }
    }
    assert!(opened > 0, "some mutated images can be opened");
}

/// Reads everything that can be read.
async fn read_everything(home: &mut SnapshotFiles) {
    let mut pending = vec![HomePath::default()];
    let mut left = 200;
    while let Some(directory) = pending.pop() {
        let entries = match home.list(&directory).await {
            Ok(listing) => listing.entries,
            Err(error) => {
                assert_is_clean(&error);
                continue;
            }
        };
        for entry in entries.into_iter().filter(|entry| entry.utf8) {
            left -= 1;
            let Ok(path) = directory.child(&entry.name) else { continue };
            if left == 0 {
                return;
            }
            match entry.kind {
                EntryKind::Directory => pending.push(path),
                _ => home.read(&path, entry.size / 2, u64::MAX).await.err().iter().for_each(assert_is_clean),
            }
        }
    }
}

/// Asserts that the reader survived.
fn assert_is_clean(error: &ReaderError) {
    let is_clean = !matches!(error, ReaderError::Broken(_) | ReaderError::Timeout | ReaderError::Disk(_));
    assert!(is_clean, "{error:?}");
}

/// Opens a shell script in place of the reader.
async fn open_impostor(script: &str) -> Result<SnapshotFiles, ReaderError> {
    let args = ["-c", script].map(Into::into).to_vec();
    let child = ReaderCommand { program: "/bin/sh".into(), args };
    SnapshotFiles::open(child, std::sync::Arc::new(MemoryDisk(vec![0; 1 << 20]))).await
}

/// A frame, escaped for `printf`.
fn frame(bytes: &[u8]) -> String {
    let length = (bytes.len() as u32).to_le_bytes();
    let escaped: Vec<String> = length.iter().chain(bytes).map(|byte| format!("\\{byte:03o}")).collect();
    escaped.concat()
}

const READY: &[u8] = &[1, 0x7f];
const OPENED: &[u8] = &[3];

#[tokio::test]
async fn invalid_replies_are_refused() {
    let need = |offset: u64, length: u32| [&[2][..], &offset.to_le_bytes(), &length.to_le_bytes()].concat();
    let script = |frames: &[&[u8]]| {
        let frames: String = frames.iter().map(|bytes| frame(bytes)).collect();
        format!("printf '{frames}' >&0; exec cat >/dev/null")
    };
    for (what, script) in [
        ("nothing", "exit 0".to_owned()),
        ("random bytes", "head -c 100000 /dev/urandom >&0; exec cat >/dev/null".to_owned()),
        ("an endless frame", "printf '\\377\\377\\377\\377' >&0; exec cat >/dev/null".to_owned()),
        ("another reply first", script(&[OPENED])),
        ("ready twice", script(&[READY, READY])),
        ("an unknown kind", script(&[&[99]])),
        ("a read beyond the disk", script(&[READY, &need(1 << 20, 1)])),
        ("an offset that overflows", script(&[READY, &need(u64::MAX, 1)])),
        ("too large a read", script(&[READY, &need(0, (1 << 20) + 1)])),
        ("a failure without a reason", script(&[READY, &[7, 7, 200]])),
    ] {
        let opened = open_impostor(&script).await.err();
        assert!(matches!(opened, Some(ReaderError::Broken(_))), "{what}: {opened:?}");
    }
}

#[tokio::test]
async fn excessive_reads_kill_the_reader() {
    let need = frame(&[&[2][..], &0_u64.to_le_bytes(), &1_u32.to_le_bytes()].concat());
    // A shell gives background processes an empty input. This one must read the socket.
    let script = format!(
        "exec 3<&0; cat <&3 >/dev/null & printf '{}' >&3; while :; do printf '{need}'; done >&3",
        frame(READY)
    );
    let opened = open_impostor(&script).await.err();
    assert!(matches!(opened, Some(ReaderError::Broken("it reads too much of the disk"))), "{opened:?}");
}

#[tokio::test]
async fn mismatched_replies_kill_the_reader() {
    let page = |names: &[&[u8]], more: u8| {
        let nodes = names.iter().flat_map(|name| {
            let length = (name.len() as u16).to_le_bytes();
            [&length[..], name, &[0; 4], &[0], &[0; 8], &[0; 12], &[0; 12], &[0; 2], &[0]].concat()
        });
        let count = (names.len() as u32).to_le_bytes();
        [&[4, more, 0][..], &count].concat().into_iter().chain(nodes).collect::<Vec<u8>>()
    };
    for (what, answer) in [
        ("another kind", OPENED.to_vec()),
        ("an empty page that announces more", page(&[], 1)),
        ("names out of order", page(&[b"b", b"a"], 0)),
        ("a name that is a path", page(&[b"../x"], 0)),
    ] {
        let frames: String = [READY, OPENED, &answer].iter().map(|bytes| frame(bytes)).collect();
        let mut home =
            open_impostor(&format!("printf '{frames}' >&0; exec cat >/dev/null")).await.expect("opened");
        let listing = home.list(&path("")).await.err();
        assert!(matches!(listing, Some(ReaderError::Broken(_))), "{what}: {listing:?}");
        assert_eq!(home.process_id(), None, "{what}: it was killed");
        assert!(
            matches!(home.list(&path("")).await, Err(ReaderError::Broken(_))),
            "{what}: it stays unusable"
        );
    }
    // Repeating the same page would make an endless listing.
    let same = page(&[b"a"], 1);
    let frames: String = [READY, OPENED, &same, &same].iter().map(|bytes| frame(bytes)).collect();
    let mut home =
        open_impostor(&format!("printf '{frames}' >&0; exec cat >/dev/null")).await.expect("opened");
    assert!(matches!(home.list(&path("")).await, Err(ReaderError::Broken(_))));
}

#[tokio::test]
async fn content_of_wrong_length_is_refused() {
    let content = [&[6][..], &100_u64.to_le_bytes(), b"short"].concat();
    let frames: String = [READY, OPENED, &content].iter().map(|bytes| frame(bytes)).collect();
    let mut home =
        open_impostor(&format!("printf '{frames}' >&0; exec cat >/dev/null")).await.expect("opened");
    assert!(matches!(home.read(&path("a"), 0, 50).await, Err(ReaderError::Broken(_))));
}

#[tokio::test(start_paused = true)]
async fn silent_reader_times_out() {
    // The paused clock advances while all tasks wait.
    let opened = open_impostor("exec cat >/dev/null").await.err();
    assert!(matches!(opened, Some(ReaderError::Timeout)), "{opened:?}");
}

/// A disk whose store stops answering.
struct SilentDisk {
    disk: MemoryDisk,
    is_silent: AtomicBool,
    /// Notified when a read is not answered.
    read_started: Notify,
}

impl ReadAt for SilentDisk {
    fn read_at(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            if self.is_silent.load(Ordering::SeqCst) {
                self.read_started.notify_one();
                std::future::pending::<()>().await;
            }
            self.disk.read_at(offset, length).await
        })
    }

    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }
}

#[tokio::test]
async fn hanging_store_times_out_after_30_seconds() {
    let scratch = tempfile::tempdir().expect("a directory");
    let image = images(scratch.path()).swap_remove(0);
    let disk = SilentDisk {
        disk: MemoryDisk(image),
        is_silent: AtomicBool::new(false),
        read_started: Notify::new(),
    };
    let disk = Arc::new(disk);
    let mut home = SnapshotFiles::open(reader_command(), disk.clone()).await.expect("a home");
    disk.is_silent.store(true, Ordering::SeqCst);
    let content = path("dir/b");
    let begun;
    {
        let mut reading = std::pin::pin!(home.read(&content, 0, 100));
        tokio::select! {
            read = &mut reading => panic!("nothing can have been read: {read:?}"),
            () = disk.read_started.notified() => {}
        }
        // From here on the paused clock advances while all tasks wait.
        tokio::time::pause();
        begun = tokio::time::Instant::now();
        assert!(matches!(reading.await, Err(ReaderError::Timeout)));
    }
    assert!(
        (Duration::from_secs(25)..Duration::from_secs(36)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(home.process_id(), None, "the reader was killed");
    assert!(matches!(home.read(&content, 0, 100).await, Err(ReaderError::Broken(_))));
}

#[tokio::test]
async fn dropped_request_kills_the_reader() {
    let frames: String = [READY, OPENED].iter().map(|bytes| frame(bytes)).collect();
    let mut home =
        open_impostor(&format!("printf '{frames}' >&0; exec cat >/dev/null")).await.expect("opened");
    let dropped = tokio::time::timeout(Duration::from_millis(50), home.list(&path(""))).await;
    assert!(dropped.is_err());
    assert!(
        matches!(home.list(&path("")).await, Err(ReaderError::Broken(_))),
        "its reply would be taken for the next one's"
    );
}

#[tokio::test]
async fn impossible_sizes_allocate_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let image = scratch.path().join("image");
    images(scratch.path());
    fs::copy(scratch.path().join("image-1"), &image).expect("copied");
    let (huge, largest) = (0x0fff_ffff_ffff_u64, u64::from(u32::MAX) * 1024);
    debugfs(
        &image,
        &format!(
            "set_inode_field a size {largest}\nset_inode_field dir size {huge}\n\
             set_inode_field link size {huge}\n"
        ),
    );
    let mut home = open(MemoryDisk(fs::read(&image).expect("readable"))).await.expect("a home");
    assert_eq!(home.stat(&path("a")).await.expect("there").size, largest);
    assert_eq!(home.read(&path("a"), largest - 5, 100).await.expect("a hole").len(), 5);
    let names: Vec<_> = home
        .list(&path(""))
        .await
        .expect("a directory")
        .entries
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert!(names.contains(&"link".to_owned()), "damaged entries are still listed: {names:?}");
    assert!(matches!(home.stat(&path("link")).await, Err(ReaderError::Damaged(_))));
    assert!(matches!(home.list(&path("dir")).await, Err(ReaderError::Damaged(_))));
    let mut other = open(MemoryDisk(fs::read(&image).expect("readable"))).await.expect("a home");
    let compared = burrow_reader::list_changes(&mut home, &mut other, &path(""), MAX_CHANGES).await;
    assert!(matches!(compared, Err(ReaderError::Damaged(_))), "{compared:?}");
}
