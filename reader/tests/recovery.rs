//! A home that was not unmounted cleanly reads as after its recovery. The results are compared with
//! e2fsck's, on a copy.
//!
//! debugfs writes the journal. It gets the blocks by which a later state of the file system differs
//! from the image, so the image with its journal is equivalent to that later state.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use support::{Tree, debugfs, filler, make_image, open_image, run, tree_in};

const BLOCK: usize = 1024;

/// An image whose journal the test writes.
struct JournaledImage {
    scratch: tempfile::TempDir,
    image: PathBuf,
}

impl JournaledImage {
    /// Creates a home with a few files.
    fn new(options: &[&str]) -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("in");
        fs::create_dir_all(directory.join("dir")).expect("writable");
        for (name, length) in [("kept", 5000), ("removed", 70_000), ("dir/moved", 3000)] {
            fs::write(directory.join(name), filler(length, length as usize)).expect("writable");
        }
        let image = scratch.path().join("image");
        let options: Vec<&str> = ["-b", "1024"].iter().chain(options).copied().collect();
        make_image(&image, &options, Some(&directory), "16M");
        Self { scratch, image }
    }

    /// A path in the scratch directory.
    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A copy of `from` after these debugfs commands.
    fn later(&self, from: &Path, name: &str, commands: &str) -> PathBuf {
        let later = self.file(name);
        fs::copy(from, &later).expect("copied");
        debugfs(&later, commands);
        later
    }

    /// The debugfs commands that log the blocks by which `later` differs from `earlier`.
    fn transaction(&self, earlier: &Path, later: &Path, revoke: &str) -> String {
        let (old, new) = (fs::read(earlier).expect("readable"), fs::read(later).expect("readable"));
        // The superblock's counters are left out; e2fsck corrects them.
        let changed: Vec<usize> = (2..old.len() / BLOCK)
            .filter(|block| old[block * BLOCK..][..BLOCK] != new[block * BLOCK..][..BLOCK])
            .collect();
        let content = self.file(&format!("blocks-{}", changed.len()));
        let blocks: Vec<&[u8]> = changed.iter().map(|block| &new[block * BLOCK..][..BLOCK]).collect();
        fs::write(&content, blocks.concat()).expect("writable");
        let numbers: Vec<String> = changed.iter().map(ToString::to_string).collect();
        format!("journal_write -b {}{revoke} {}\n", numbers.join(","), content.display())
    }

    /// Writes transactions to the journal.
    fn log(&self, open: &str, transactions: &str) {
        debugfs(&self.image, &format!("journal_open{open}\n{transactions}journal_close\n"));
        let state = run("dumpe2fs", &["-h", self.image.to_str().expect("UTF-8")], &[0]);
        assert!(state.contains("needs_recovery"), "{state}");
    }

    /// Reads the home, and compares it with what e2fsck makes of it.
    async fn check(&self) -> Tree {
        let found = read(&self.image).await;
        let repaired = self.file("repaired");
        fs::copy(&self.image, &repaired).expect("copied");
        run("e2fsck", &["-fy", repaired.to_str().expect("UTF-8")], &[0, 1]);
        support::assert_same(&found, &read(&repaired).await);
        found
    }
}

async fn read(image: &Path) -> Tree {
    let mut home = open_image(image).await.expect("a home");
    let tree = tree_in(&mut home).await;
    home.close().await;
    tree
}

/// The journal is two states ahead of the image: files are created, removed and grown.
async fn check(options: &[&str], open: &str) {
    let home = JournaledImage::new(options);
    let new = home.file("new");
    fs::write(&new, filler(9, 40_000)).expect("writable");
    let write = |name: &str| format!("write {} {name}\n", new.display());
    let second =
        home.later(&home.image, "second", &format!("mkdir later\n{}rm kept\n", write("later/first")));
    let third =
        home.later(&second, "third", &format!("{}rm removed\nsymlink link later\n", write("dir/second")));
    let before = read(&home.image).await;
    let transactions = home.transaction(&home.image, &second, "") + &home.transaction(&second, &third, "");
    home.log(open, &transactions);
    let after = home.check().await;
    assert_ne!(before, after);
    assert_eq!(after["later/first"].content, filler(9, 40_000));
    assert_eq!(after["dir/second"].content, filler(9, 40_000));
    assert!(!after.contains_key("kept") && !after.contains_key("removed"));
    support::assert_same(&after, &read(&third).await);
}

#[tokio::test]
async fn every_journal_format_is_replayed() {
    check(&[], "").await;
    check(&[], " -c").await;
    check(&[], " -c -v 2").await;
    check(&[], " -c -v 3").await;
    check(&["-O", "^64bit,^metadata_csum"], "").await;
    check(&["-O", "^extent,^64bit"], "").await;
}

#[tokio::test]
async fn uncommitted_transaction_is_ignored() {
    let home = JournaledImage::new(&[]);
    let second = home.later(&home.image, "second", "mkdir whole\n");
    let third = home.later(&second, "third", "mkdir torn\n");
    let torn = home.transaction(&second, &third, "").replace("journal_write", "journal_write -c");
    home.log(" -c -v 3", &(home.transaction(&home.image, &second, "") + &torn));
    let after = home.check().await;
    assert!(after.contains_key("whole") && !after.contains_key("torn"));
}

#[tokio::test]
async fn revoked_block_keeps_file_content() {
    let home = JournaledImage::new(&[]);
    let map = run("debugfs", &["-R", "bmap kept 1", home.image.to_str().expect("UTF-8")], &[0]);
    // As if the block had belonged to a directory, was freed, and became part of a file, whose
    // content is not journaled.
    let block = map.trim();
    let stale = home.file("stale");
    fs::write(&stale, vec![0xee; BLOCK]).expect("writable");
    let logged = format!("journal_write -b {block} {}\n", stale.display());
    let second = home.later(&home.image, "second", "mkdir later\n");
    home.log(" -c -v 3", &(logged + &home.transaction(&home.image, &second, &format!(" -r {block}"))));
    let after = home.check().await;
    assert!(after.contains_key("later"));
    assert_eq!(after["kept"].content, filler(5000, 5000));
}

#[tokio::test]
async fn wrapped_log_is_replayed() {
    let home = JournaledImage::new(&["-O", "^metadata_csum"]);
    let second = home.later(&home.image, "second", "mkdir first\nmkdir first/below\n");
    let third = home.later(&second, "third", "mkdir second\nrm kept\n");
    let transactions = home.transaction(&home.image, &second, "") + &home.transaction(&second, &third, "");
    home.log("", &transactions);
    for short_of_end in [1, 2, 3, 5, 8] {
        rotate_log(&home.image, short_of_end);
        let after = home.check().await;
        assert!(after.contains_key("first/below") && after.contains_key("second"), "{short_of_end}");
        assert!(!after.contains_key("kept"), "{short_of_end}");
    }
}

/// Rotates the ring so that the log starts `short_of_end` blocks before its end. The blocks do not
/// contain their position.
fn rotate_log(image: &Path, short_of_end: usize) {
    let map = run("debugfs", &["-R", "bmap <8> 0", image.to_str().expect("UTF-8")], &[0]);
    let first: usize = map.trim().parse().expect("a number");
    let mut bytes = fs::read(image).expect("readable");
    let head = first * BLOCK;
    let number = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(bytes[head + at..][..4].try_into().expect("four bytes")) as usize
    };
    let (blocks, start) = (number(&bytes, 0x10), number(&bytes, 0x1c));
    let map =
        run("debugfs", &["-R", &format!("bmap <8> {}", blocks - 1), image.to_str().expect("UTF-8")], &[0]);
    assert_eq!(map.trim(), (first + blocks - 1).to_string(), "the journal is contiguous");
    let new_start = blocks - short_of_end;
    let ring = &mut bytes[head + BLOCK..head + blocks * BLOCK];
    let distance = (new_start + (blocks - 1) - start) % (blocks - 1);
    ring.rotate_right(distance * BLOCK);
    bytes[head + 0x1c..][..4].copy_from_slice(&(new_start as u32).to_be_bytes());
    fs::write(image, bytes).expect("writable");
}

#[tokio::test]
async fn escaped_copy_is_restored() {
    let home = JournaledImage::new(&[]);
    // debugfs escapes the copy, as the kernel does.
    let map = run("debugfs", &["-R", "bmap kept 1", home.image.to_str().expect("UTF-8")], &[0]);
    let magic = home.file("magic");
    let mut block = vec![7; BLOCK];
    block[..4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
    fs::write(&magic, &block).expect("writable");
    home.log(" -c -v 3", &format!("journal_write -b {} {}\n", map.trim(), magic.display()));
    let after = home.check().await;
    assert_eq!(after["kept"].content[BLOCK..2 * BLOCK], block);
}
