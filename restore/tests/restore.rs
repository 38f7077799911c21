//! Restores archives into directories: what is written, what is kept, and what an undo does.

use std::{
    fs::{self, File},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use burrow_restore::{
    Existing, RestoreError, Writer,
    archive::{ArchiveReader, END, Member, header},
    compare, undo,
};
use protocol::{
    api::restore::RestoreOutcome::{self, Created, Failed, Replaced, Same},
    files::{EntryKind, HomePath},
    restore::{CompareRequest, ComparedDirectory, Comparison, FileTime, Segment, SourceEntry},
};

const KEEP: Existing = Existing { overwrites_files: false, suffix: None };
const TIME: FileTime = FileTime { seconds: 1_600_000_000, nanoseconds: 123_456_789 };

fn entry(path: &str, kind: EntryKind, size: u64) -> SourceEntry {
    let path = HomePath::parse(path).unwrap_or_default();
    SourceEntry { path, kind, size, modified: TIME, mode: 0o640, target: None, hard_link: None }
}

/// An archive that is built member by member.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(mut self, member: &Member<'_>, content: &[u8]) -> Self {
        self.0.extend(header(member).expect("supported"));
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        let entry = entry("", EntryKind::File, content.len() as u64);
        let segments = [Segment { offset: 0, length: content.len() as u64 }];
        let segments = if content.is_empty() { &[][..] } else { &segments };
        let member = Member { name, hard_link: None, entry: &entry, attributes: &[], segments };
        self.add(&member, content.as_bytes())
    }

    fn directory(self, name: &str, mode: u32) -> Self {
        let entry = SourceEntry { mode, ..entry("", EntryKind::Directory, 0) };
        self.add(&Member { name, hard_link: None, entry: &entry, attributes: &[], segments: &[] }, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        let entry = SourceEntry { target: Some(target.to_owned()), ..entry("", EntryKind::Symlink, 0) };
        self.add(&Member { name, hard_link: None, entry: &entry, attributes: &[], segments: &[] }, b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        let entry = entry("", EntryKind::File, 0);
        let member = Member { name, hard_link: Some(target), entry: &entry, attributes: &[], segments: &[] };
        self.add(&member, b"")
    }
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().expect("below")).expect("created");
        fs::write(self.path(name), content).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn root(&self) -> File {
        File::open(self.0.path()).expect("a directory")
    }

    fn restore(&self, name: &str, archive: Archive) -> Vec<RestoreOutcome> {
        self.restore_with(name, archive, KEEP)
    }

    fn restore_with(&self, name: &str, mut archive: Archive, existing: Existing) -> Vec<RestoreOutcome> {
        archive.0.extend(END);
        let root = self.root();
        let mut writer = Writer::create(root.as_fd(), name, 3, existing).expect("begun");
        let mut reader = ArchiveReader::new(archive.0.as_slice());
        let written = writer.write_archive(&mut reader).expect("written");
        writer.finish().expect("finished");
        written.into_iter().map(|entry| entry.outcome).collect()
    }

    /// Undoes a restore, and returns the paths that were kept.
    fn undo(&self, name: &str) -> Vec<String> {
        let undone = undo(self.root().as_fd(), name).expect("undone");
        assert_eq!(undone.kept_count, undone.kept.len() as u64);
        undone.kept.into_iter().map(|kept| kept.path).collect()
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).expect("readable").map(|entry| entry.expect("an entry"));
        let mut names: Vec<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn metadata(path: &Path) -> fs::Metadata {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

mod writer {
    use super::*;

    #[test]
    fn attributes_links_and_holes_are_restored() {
        let home = Home::new();
        let sparse = entry("", EntryKind::File, 8 << 20);
        let segments = [Segment { offset: 4 << 20, length: 4096 }];
        let attributes = [(b"origin".to_vec(), b"a\0\n\xff".to_vec())];
        let archive = Archive::default()
            .directory("src", 0o555)
            .file("src/run", "hello")
            .hard_link("src/again", "src/run")
            .symlink("src/link", "../../outside")
            .add(
                &Member {
                    name: "src/holes",
                    hard_link: None,
                    entry: &sparse,
                    attributes: &attributes,
                    segments: &segments,
                },
                &[7; 4096],
            );
        assert_eq!(home.restore("1", archive), [Created; 5]);
        let file = metadata(&home.path("src/run"));
        assert_eq!((file.permissions().mode() & 0o777, file.nlink()), (0o640, 2));
        assert_eq!((file.mtime(), file.mtime_nsec()), (TIME.seconds, i64::from(TIME.nanoseconds)));
        assert_eq!(metadata(&home.path("src/again")).ino(), file.ino());
        let link = metadata(&home.path("src/link"));
        assert_eq!((link.mtime(), link.is_symlink()), (TIME.seconds, true));
        assert_eq!(fs::read_link(home.path("src/link")).expect("a link"), Path::new("../../outside"));
        let holes = metadata(&home.path("src/holes"));
        assert_eq!(holes.len(), 8 << 20);
        assert!(holes.blocks() * 512 < 1 << 20, "{} blocks", holes.blocks());
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(home.path("src/holes"), "user.origin", &mut value[..]);
        assert_eq!(&value[..length.expect("an attribute")], b"a\0\n\xff");
        let directory = metadata(&home.path("src"));
        assert_eq!(directory.permissions().mode() & 0o777, 0o555);
        assert_eq!(directory.mtime(), TIME.seconds, "set after its content");
        fs::set_permissions(home.path("src"), fs::Permissions::from_mode(0o755)).expect("changed");
    }

    #[test]
    fn equal_entries_are_left_alone() {
        let home = Home::new();
        home.write("a", "same");
        fs::set_permissions(home.path("a"), fs::Permissions::from_mode(0o640)).expect("changed");
        symlink("a", home.path("l")).expect("created");
        fs::create_dir(home.path("d")).expect("created");
        let inode = metadata(&home.path("a")).ino();
        let archive = || Archive::default().directory("d", 0o700).file("a", "same").symlink("l", "a");
        assert_eq!(home.restore("1", archive()), [Same; 3]);
        assert_eq!(metadata(&home.path("a")).ino(), inode);
        home.write("a", "diff");
        assert_eq!(home.restore("2", archive()), [Same, Replaced, Same]);
    }

    #[test]
    fn hostile_paths_are_not_written() {
        let (home, outside) = (Home::new(), Home::new());
        outside.write("victim", "safe");
        symlink(outside.0.path(), home.path("out")).expect("created");
        fs::create_dir(home.path("dir")).expect("created");
        symlink("dir", home.path("inside")).expect("created");
        let archive = Archive::default()
            .file("../up", "x")
            .file("/absolute", "x")
            .file("a/../../up", "x")
            .file("out/victim", "x")
            .file("inside/x", "x")
            .file(".burrow-restores/1/record", "x")
            .hard_link("stolen", "out/victim")
            .hard_link("stolen", "../x")
            .file(".", "x")
            .file("missing/x", "x")
            .file("good", "written");
        let outcomes = home.restore("1", archive);
        assert_eq!(outcomes[..10], [Failed; 10]);
        assert_eq!(outcomes[10], Created);
        assert_eq!(outside.read("victim"), "safe");
        assert_eq!(home.names(), [".burrow-restores", "dir", "good", "inside", "out"]);
        assert!(fs::read_dir(home.path("dir")).expect("readable").next().is_none());
    }

    #[test]
    fn linked_parent_is_replaced_by_its_directory() {
        let (home, outside) = (Home::new(), Home::new());
        outside.write("a", "safe");
        symlink(outside.0.path(), home.path("d")).expect("created");
        assert_eq!(
            home.restore("1", Archive::default().directory("d", 0o755).file("d/a", "new")),
            [Replaced, Created]
        );
        assert_eq!((home.read("d/a").as_str(), outside.read("a").as_str()), ("new", "safe"));
        assert_eq!(home.undo("1"), [""; 0]);
        assert!(metadata(&home.path("d")).is_symlink());
    }

    #[test]
    fn cut_archive_leaves_no_partial_file_and_resumes() {
        let home = Home::new();
        home.write("b", "old");
        let whole = Archive::default().file("a", "first").file("b", &"x".repeat(100_000)).0;
        let root = home.root();
        let mut writer = Writer::create(root.as_fd(), "1", 3, KEEP).expect("begun");
        let mut cut = ArchiveReader::new(&whole[..50_000]);
        assert!(matches!(writer.write_archive(&mut cut), Err(RestoreError::Archive(_))));
        drop(writer);
        assert_eq!((home.read("a").as_str(), home.read("b").as_str()), ("first", "old"));
        let mut writer = Writer::open(root.as_fd(), "1", KEEP).expect("resumed");
        let archive = [whole, END.to_vec()].concat();
        let written = writer.write_archive(&mut ArchiveReader::new(archive.as_slice())).expect("written");
        let outcomes: Vec<_> = written.iter().map(|entry| entry.outcome).collect();
        assert_eq!(outcomes, [Same, Replaced]);
        writer.finish().expect("finished");
        assert_eq!(home.undo("1"), [""; 0], "one undo covers both parts");
        assert_eq!((home.names(), home.read("b").as_str()), (vec!["b".to_owned()], "old"));
        assert!(matches!(Writer::open(root.as_fd(), "1", KEEP), Err(RestoreError::NoRecord)));
    }

    #[test]
    fn suffix_keeps_replaced_entries_beside() {
        let home = Home::new();
        home.write("a", "old");
        home.write("d/inside", "old");
        let beside = |overwrites_files| Existing { overwrites_files, suffix: Some(".before".to_owned()) };
        let archive = || Archive::default().file("a", "new!").file("d", "a file");
        assert_eq!(home.restore_with("1", archive(), beside(false)), [Replaced; 2]);
        assert_eq!((home.read("a.before").as_str(), home.read("d.before/inside").as_str()), ("old", "old"));
        let home = Home::new();
        home.write("a", "old");
        home.write("d/inside", "old");
        assert_eq!(home.restore_with("1", archive(), beside(true)), [Replaced; 2]);
        Writer::forget(home.root().as_fd(), "1").expect("deleted");
        assert_eq!(home.names(), ["a", "d", "d.before"], "directories are never overwritten");
    }

    #[test]
    fn oldest_records_are_deleted() {
        let home = Home::new();
        for name in ["1", "2", "3", "4", "5"] {
            home.restore(name, Archive::default().file("a", name));
        }
        let records = fs::read_dir(home.path(".burrow-restores")).expect("readable").count();
        assert_eq!(records, 3);
    }
}

mod undo_restore {
    use super::*;

    #[test]
    fn replaced_entries_return() {
        let home = Home::new();
        home.write("a", "old");
        home.write("d/inside", "kept");
        home.write("merged/mine", "mine");
        let archive = Archive::default()
            .file("a", "new")
            .file("d", "a file")
            .directory("merged", 0o700)
            .file("merged/theirs", "theirs")
            .directory("new", 0o755)
            .file("new/x", "x");
        let outcomes = home.restore("1", archive);
        assert_eq!(outcomes, [Replaced, Replaced, Same, Created, Created, Created]);
        assert_eq!((home.read("a").as_str(), home.read("d").as_str()), ("new", "a file"));
        assert_eq!(home.undo("1"), [""; 0]);
        assert_eq!(home.names(), ["a", "d", "merged"]);
        assert_eq!((home.read("a").as_str(), home.read("d/inside").as_str()), ("old", "kept"));
        assert!(!home.path("merged/theirs").exists());
    }

    #[test]
    fn changed_entries_stay() {
        let home = Home::new();
        home.write("a", "old");
        let archive = Archive::default().file("a", "new").directory("d", 0o755).file("d/x", "x");
        home.restore("1", archive);
        home.write("a", "typed after the restore");
        home.write("d/mine", "mine");
        assert_eq!(home.undo("1"), ["a", "d"]);
        assert_eq!(home.read("a"), "typed after the restore");
        assert!(home.path("d/mine").exists() && !home.path("d/x").exists());
        fs::remove_file(home.path("d/mine")).expect("deleted");
        fs::remove_file(home.path("a")).expect("deleted");
        assert_eq!(home.undo("1"), [""; 0], "the rest is undone later");
        assert_eq!((home.names(), home.read("a").as_str()), (vec!["a".to_owned()], "old"));
    }

    #[test]
    fn overwritten_file_stays() {
        let home = Home::new();
        home.write("a", "old");
        let existing = Existing { overwrites_files: true, suffix: None };
        home.restore_with("1", Archive::default().file("a", "new").file("b", "b"), existing);
        assert_eq!(home.undo("1"), ["a"]);
        assert_eq!(home.read("a"), "new");
        assert!(!home.path("b").exists());
    }
}

#[test]
fn comparison_finds_differences() {
    use Comparison::{Different, Merged, Missing, Same};

    let home = Home::new();
    home.write("d/same", "same");
    home.write("d/size", "longer");
    home.write("d/newer", "n");
    fs::hard_link(home.path("d/same"), home.path("d/linked")).expect("linked");
    home.write("d/unlinked", "same");
    symlink("x", home.path("d/link")).expect("created");
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 },
        last_modification: rustix::fs::Timespec {
            tv_sec: TIME.seconds,
            tv_nsec: i64::from(TIME.nanoseconds),
        },
    };
    for name in ["d/same", "d/unlinked"] {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(0o640)).expect("changed");
        let path = home.path(name);
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).expect("set");
    }
    let file = |name: &str| entry(&format!("d/{name}"), EntryKind::File, 4);
    let first = HomePath::parse("d/same").ok();
    let entries = vec![
        file("same"),
        file("size"),
        file("gone"),
        SourceEntry { hard_link: first.clone(), ..file("linked") },
        SourceEntry { hard_link: first, ..file("unlinked") },
        SourceEntry { target: Some("x".to_owned()), ..entry("d/link", EntryKind::Symlink, 1) },
    ];
    let directory = |path: &str, entries| ComparedDirectory {
        path: HomePath::parse(path).expect("a path"),
        is_complete: true,
        entries,
    };
    let directories = vec![
        directory("", vec![entry("d", EntryKind::Directory, 0), entry("no", EntryKind::Directory, 0)]),
        directory("d", entries),
        directory("no", vec![entry("no/x", EntryKind::File, 1)]),
    ];
    let reply = compare(home.root().as_fd(), &CompareRequest { directories }).expect("compared");
    let expected = [Merged, Missing, Same, Different, Missing, Same, Different, Same, Missing];
    assert_eq!(reply.comparisons, expected);
    assert_eq!(reply.newer, 1);
}
