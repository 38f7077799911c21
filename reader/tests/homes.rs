//! Reads homes with every layout that mkfs can make, and compares them with what was written.

mod support;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use burrow_reader::{FaultReason, MAX_PIECE_BYTES, ReadAt, ReaderError, SnapshotFiles};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use protocol::files::{EntryKind, MAX_ENTRIES};
use support::{
    FileDisk, MemoryDisk, assert_same, content, debugfs, filler, make_image, open, open_image, path,
    reader_command, tree_in, tree_of,
};

/// Creates files of every kind.
fn furnish(directory: &Path) {
    fs::create_dir_all(directory.join("deep/er/est")).expect("writable");
    fs::write(directory.join("deep/er/est/file"), "down here").expect("writable");
    fs::write(directory.join("empty"), "").expect("writable");
    fs::write(directory.join("small"), "a few words\n").expect("writable");
    fs::write(directory.join("large"), filler(1, 3_000_001)).expect("writable");
    fs::write(directory.join(OsStr::from_bytes(b"not-\xff-text")), "x").expect("writable");
    fs::write(directory.join("with\nnewline and ünicode"), "x").expect("writable");
    fs::write(directory.join("n".repeat(255)), "x").expect("writable");
    std::os::unix::fs::symlink("small", directory.join("short-link")).expect("writable");
    std::os::unix::fs::symlink(format!("/{}", "long/".repeat(100)), directory.join("long-link"))
        .expect("writable");
    std::os::unix::fs::symlink("d".repeat(59), directory.join("link-59")).expect("writable");
    std::os::unix::fs::symlink("d".repeat(60), directory.join("link-60")).expect("writable");
    nix::unistd::mkfifo(&directory.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600))
        .expect("writable");
    let sparse = File::create(directory.join("sparse")).expect("writable");
    for block in [0, 3, 40, 1500] {
        sparse.write_all_at(b"island", block * 4096 + 17).expect("writable");
    }
    sparse.set_len(9_000_000).expect("writable");
}

async fn check(name: &str, options: &[&str]) {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    furnish(&directory);
    make_image(&image, options, Some(&directory), "64M");
    eprintln!("{name}");
    let mut home = open_image(&image).await.expect("a home");
    assert_same(&tree_in(&mut home).await, &tree_of(&directory));
    home.close().await;
}

#[tokio::test]
async fn every_layout_reads_as_written() {
    check("defaults", &[]).await;
    check("blocks of 1 KiB", &["-b", "1024"]).await;
    check("blocks of 2 KiB", &["-b", "2048"]).await;
    check("pointers instead of extents", &["-O", "^extent,^64bit"]).await;
    check("pointers, small blocks", &["-b", "1024", "-O", "^extent,^64bit"]).await;
    check("without checksums", &["-O", "^metadata_csum"]).await;
    check("32 bits, without a journal", &["-O", "^64bit,^has_journal"]).await;
    check("small inodes", &["-I", "128", "-O", "^metadata_csum"]).await;
    check("checksum seed", &["-O", "metadata_csum_seed"]).await;
    check("descriptors in their groups", &["-b", "1024", "-O", "meta_bg,^resize_inode"]).await;
    check("large allocation units", &["-O", "bigalloc", "-C", "16384"]).await;
    check(
        "as a guest formats homes",
        &["-m", "0", "-L", "home", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
    )
    .await;
}

#[tokio::test]
async fn large_directory_is_sorted_and_truncated() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    fs::create_dir(&directory).expect("writable");
    fs::write(directory.join("one"), "many names").expect("writable");
    for (name, files) in [("some", 5_000), ("many", MAX_ENTRIES + 1)] {
        fs::create_dir(directory.join(name)).expect("writable");
        for file in 0..files {
            let link = directory.join(name).join(format!("file-{file}"));
            fs::hard_link(directory.join("one"), link).expect("writable");
        }
    }
    make_image(&image, &[], Some(&directory), "64M");
    // mkfs writes plain lists; e2fsck converts them to indexed directories.
    support::run("e2fsck", &["-fyD", image.to_str().expect("UTF-8")], &[0, 1]);
    let mut home = open_image(&image).await.expect("a home");
    let some = home.list(&path("some")).await.expect("a directory");
    assert_eq!((some.entries.len(), some.truncated), (5_000, false));
    assert!(some.entries.is_sorted_by(|one, other| one.name < other.name));
    let many = home.list(&path("many")).await.expect("a directory");
    assert_eq!((many.entries.len(), many.truncated), (MAX_ENTRIES, true));
    assert_eq!(home.stat(&path("many/file-7777")).await.expect("there").kind, EntryKind::File);
}

#[tokio::test]
async fn file_over_4_gib_reads_at_any_offset() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    fs::create_dir(&directory).expect("writable");
    let file = File::create(directory.join("huge")).expect("writable");
    let far = 5 << 30;
    file.write_all_at(b"far away", far).expect("writable");
    file.write_all_at(b"near", 0).expect("writable");
    for options in [&[][..], &["-b", "1024", "-O", "^extent,^64bit"]] {
        make_image(&image, options, Some(&directory), "64M");
        let mut home = open_image(&image).await.expect("a home");
        let huge = path("huge");
        assert_eq!(home.stat(&huge).await.expect("there").size, far + 8);
        assert_eq!(home.read(&huge, far - 4, 100).await.expect("readable"), &b"\0\0\0\0far away"[..]);
        assert_eq!(home.read(&huge, 2, 4).await.expect("readable"), &b"ar\0\0"[..]);
        assert_eq!(home.read(&huge, 3 << 30, 5).await.expect("readable"), &[0; 5][..]);
        assert_eq!(home.read(&huge, far + 8, 1).await.expect("readable"), &b""[..]);
        assert_eq!(home.read(&huge, u64::MAX, 1).await.expect("readable"), &b""[..]);
        assert_eq!(home.read(&huge, 0, u64::MAX).await.expect("readable").len() as u64, MAX_PIECE_BYTES);
    }
}

#[tokio::test]
async fn preallocated_space_reads_as_zeros() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    fs::create_dir(&directory).expect("writable");
    fs::write(directory.join("old"), vec![b'S'; 400_000]).expect("writable");
    fs::write(directory.join("new"), "").expect("writable");
    make_image(&image, &[], Some(&directory), "16M");
    debugfs(&image, "rm old\nfallocate new 0 9\nset_inode_field new size 40960\n");
    let mut home = open_image(&image).await.expect("a home");
    let new = content(&mut home, &path("new")).await;
    assert_eq!(new.len(), 40_960);
    assert!(new.iter().all(|byte| *byte == 0), "the bytes of a removed file are visible");
}

#[tokio::test]
async fn times_cover_1960_to_2040() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    fs::create_dir(&directory).expect("writable");
    for name in ["past", "future"] {
        fs::write(directory.join(name), "x").expect("writable");
    }
    let past = SystemTime::UNIX_EPOCH - Duration::from_secs(315_619_200);
    File::open(directory.join("past")).and_then(|file| file.set_modified(past)).expect("writable");
    make_image(&image, &[], Some(&directory), "16M");
    debugfs(&image, "set_inode_field future mtime @2208988800\n");
    let mut home = open_image(&image).await.expect("a home");
    assert_eq!(home.stat(&path("past")).await.expect("there").modified_ms, -315_619_200_000);
    assert_eq!(home.stat(&path("future")).await.expect("there").modified_ms, 2_208_988_800_000);
}

#[tokio::test]
async fn paths_follow_no_links() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    furnish(&directory);
    std::os::unix::fs::symlink("deep", directory.join("to-deep")).expect("writable");
    std::os::unix::fs::symlink("/etc/passwd", directory.join("to-etc")).expect("writable");
    make_image(&image, &[], Some(&directory), "32M");
    let mut home = open_image(&image).await.expect("a home");
    let link = home.stat(&path("to-etc")).await.expect("there");
    assert_eq!((link.kind, link.target.as_deref()), (EntryKind::Symlink, Some("/etc/passwd")));
    assert!(matches!(home.read(&path("to-etc"), 0, 1).await, Err(ReaderError::NotAFile)));
    assert!(matches!(home.list(&path("to-deep")).await, Err(ReaderError::NotADirectory)));
    assert!(matches!(home.stat(&path("to-deep/er")).await, Err(ReaderError::NotADirectory)));
    assert!(matches!(home.list(&path("small")).await, Err(ReaderError::NotADirectory)));
    assert!(matches!(home.list(&path("absent")).await, Err(ReaderError::NotFound)));
    assert!(matches!(home.read(&path("deep"), 0, 1).await, Err(ReaderError::IsADirectory)));
    assert!(matches!(home.read(&path("fifo"), 0, 1).await, Err(ReaderError::NotAFile)));
    assert!(matches!(home.content(&path("deep")).await.err(), Some(ReaderError::IsADirectory)));
    let foreign = home.list(&path("")).await.expect("a home").entries;
    let foreign: Vec<_> =
        foreign.iter().filter(|entry| !entry.utf8).map(|entry| entry.name.as_str()).collect();
    assert_eq!(foreign, ["not-\u{fffd}-text"]);
}

#[tokio::test]
async fn content_stream_may_own_the_reader() {
    use futures_util::TryStreamExt as _;
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    furnish(&directory);
    make_image(&image, &[], Some(&directory), "32M");
    let home = open_image(&image).await.expect("a home");
    let (entry, pieces) = home.into_content(&path("large")).await.expect("a file");
    let pieces = tokio::spawn(pieces.try_collect::<Vec<Bytes>>()).await.expect("ends").expect("readable");
    assert_eq!(entry.size, 3_000_001);
    assert!(pieces.iter().all(|piece| piece.len() as u64 <= MAX_PIECE_BYTES));
    assert_eq!(pieces.concat(), filler(1, 3_000_001));
}

#[tokio::test]
async fn disks_without_ext4_are_refused() {
    let blank = open(MemoryDisk(vec![0; 1 << 20])).await.err();
    assert!(matches!(blank, Some(ReaderError::NotAHome(FaultReason::Blank))), "{blank:?}");
    let other = open(MemoryDisk(filler(3, 1 << 20))).await.err();
    assert!(matches!(other, Some(ReaderError::NotAHome(FaultReason::NotExt4))), "{other:?}");
    let small = open(MemoryDisk(Vec::new())).await.err();
    assert!(matches!(small, Some(ReaderError::NotAHome(_))), "{small:?}");
}

#[tokio::test]
async fn inline_data_is_unsupported() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    furnish(&directory);
    make_image(&image, &["-O", "inline_data", "-I", "256"], Some(&directory), "64M");
    let mut home = open_image(&image).await.expect("a home");
    let small = home.read(&path("small"), 0, 100).await.err();
    assert!(matches!(small, Some(ReaderError::Unsupported(FaultReason::InlineData))), "{small:?}");
    assert_eq!(content(&mut home, &path("large")).await, filler(1, 3_000_001));
}

/// A disk that fails after its first block.
struct FailingDisk(FileDisk);

impl ReadAt for FailingDisk {
    fn read_at(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        if offset > 0 {
            std::future::ready(Err(io::Error::other("gone"))).boxed()
        } else {
            self.0.read_at(offset, length)
        }
    }

    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }
}

#[tokio::test]
async fn disk_error_is_not_damage() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    furnish(&directory);
    make_image(&image, &[], Some(&directory), "64M");
    let file = File::open(&image).expect("an image");
    let disk = FailingDisk(support::FileDisk::new(file));
    let mut home =
        SnapshotFiles::open(reader_command(), Arc::new(disk)).await.expect("its superblock is readable");
    for _ in 0..2 {
        let read = home.read(&path("large"), 2_000_000, 10).await.err();
        assert!(matches!(&read, Some(ReaderError::Disk(error)) if error.to_string() == "gone"), "{read:?}");
    }
}

#[tokio::test]
async fn links_attributes_and_holes_are_reported() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (directory, image) = (scratch.path().join("in"), scratch.path().join("image"));
    fs::create_dir(&directory).expect("writable");
    fs::write(directory.join("one"), "twice").expect("writable");
    fs::hard_link(directory.join("one"), directory.join("other")).expect("writable");
    let sparse = File::create(directory.join("sparse")).expect("writable");
    for block in [3, 40] {
        sparse.write_all_at(&[1; 4096], block * 4096).expect("writable");
    }
    sparse.set_len(1_000_000).expect("writable");
    make_image(&image, &["-b", "4096"], Some(&directory), "64M");
    let (long, binary) = (scratch.path().join("long"), scratch.path().join("binary"));
    fs::write(&long, "v".repeat(2000)).expect("writable");
    fs::write(&binary, b"a\0\n\xff").expect("writable");
    debugfs(
        &image,
        &format!(
            "ea_set -f {} one user.long\nea_set -f {} one user.bin\nea_set one trusted.hidden x\n",
            long.display(),
            binary.display()
        ),
    );
    let mut home = open_image(&image).await.expect("a home");
    let (nodes, truncated) = home.nodes(&path(""), 100).await.expect("listed");
    assert!(!truncated);
    let node = |name: &str| nodes.iter().find(|node| node.name == name.as_bytes()).expect("there");
    assert_eq!((node("one").links, node("one").inode), (2, node("other").inode));
    assert_eq!(node("sparse").links, 1);
    let one = home.details(&path("other")).await.expect("described");
    let expected =
        [(b"bin".to_vec(), b"a\0\n\xff".to_vec()), (b"long".to_vec(), "v".repeat(2000).into_bytes())];
    assert_eq!(one.attributes, expected);
    let segments = home.details(&path("sparse")).await.expect("described").segments;
    let segments: Vec<(u64, u64)> = segments.iter().map(|segment| (segment.offset, segment.length)).collect();
    assert_eq!(segments, [(3 * 4096, 4096), (40 * 4096, 4096)]);
    home.close().await;
}
