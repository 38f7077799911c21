use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use proptest::prelude::*;
use protocol::{
    files::EntryKind,
    restore::{FileTime, Segment, SourceEntry},
};

use super::{
    decode::{ArchiveReader, ArchivedEntry, Content},
    encode::{END, Member, header, padding, record},
};

fn entry(kind: EntryKind, size: u64, target: Option<&str>) -> SourceEntry {
    SourceEntry {
        path: protocol::files::HomePath::default(),
        kind,
        size,
        modified: FileTime { seconds: 1_700_000_000, nanoseconds: 999_000_000 },
        mode: 0o100_750,
        target: target.map(str::to_owned),
        hard_link: None,
    }
}

fn member<'a>(name: &'a str, entry: &'a SourceEntry, segments: &'a [Segment]) -> Member<'a> {
    Member { name, hard_link: None, entry, attributes: &[], segments }
}

fn whole(size: u64) -> Vec<Segment> {
    if size == 0 { Vec::new() } else { vec![Segment { offset: 0, length: size }] }
}

fn append(archive: &mut Vec<u8>, member: &Member<'_>, content: &[u8]) {
    let header = header(member).expect("supported");
    archive.extend(&header);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fn read_all(bytes: &[u8]) -> Vec<(ArchivedEntry, Vec<u8>)> {
    let mut reader = ArchiveReader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().expect("well-formed") {
        let (mut content, mut buffer) = (Vec::new(), [0; 100]);
        loop {
            let read = reader.read_content(&mut buffer).expect("complete");
            if read == 0 {
                break;
            }
            content.extend(&buffer[..read]);
        }
        all.push((entry, content));
    }
    all
}

#[test]
fn members_round_trip() {
    let long = format!("src/{}/ü\nline", "x".repeat(150));
    let attributes = [(b"a=b%".to_vec(), b"1\0\n2".to_vec()), (b"empty".to_vec(), Vec::new())];
    let segments = [Segment { offset: 4096, length: 3 }, Segment { offset: 1 << 40, length: 2 }];
    let (directory, file) = (entry(EntryKind::Directory, 0, None), entry(EntryKind::File, 512, None));
    let sparse = entry(EntryKind::File, 1 << 41, None);
    let link = entry(EntryKind::Symlink, 9, Some("../é"));
    let mut old = entry(EntryKind::File, 0, None);
    old.modified = FileTime { seconds: -2, nanoseconds: 500_000_000 };
    let mut archive = Vec::new();
    append(&mut archive, &member("src", &directory, &[]), b"");
    let mut with_attributes = member(&long, &file, &[]);
    let all = whole(512);
    (with_attributes.attributes, with_attributes.segments) = (&attributes, &all);
    append(&mut archive, &with_attributes, &[b'y'; 512]);
    append(&mut archive, &member("holes", &sparse, &segments), b"abcde");
    append(&mut archive, &member("link", &link, &[]), b"");
    let hard = Member { hard_link: Some(&long), ..member("hard", &file, &[]) };
    append(&mut archive, &hard, b"");
    append(&mut archive, &member("old", &old, &[]), b"");
    archive.extend(END);

    let found = read_all(&archive);
    let contents: Vec<&[u8]> = found.iter().map(|(_, content)| content.as_slice()).collect();
    assert_eq!(contents, [&b""[..], &[b'y'; 512], b"abcde", b"", b"", b""]);
    let found: Vec<ArchivedEntry> = found.into_iter().map(|(entry, _)| entry).collect();
    assert_eq!((found[0].name.as_str(), &found[0].content), ("src", &Content::Directory));
    assert_eq!((found[0].mode, found[0].modified), (0o750, directory.modified));
    assert_eq!((found[1].name.as_str(), found[1].attributes.as_slice()), (long.as_str(), &attributes[..]));
    assert_eq!(found[1].content, Content::File { size: 512, segments: all });
    let holes = Content::File { size: 1 << 41, segments: segments.to_vec() };
    assert_eq!((found[2].name.as_str(), &found[2].content), ("holes", &holes));
    assert_eq!(found[3].content, Content::Symlink { target: "../é".to_owned() });
    assert_eq!(found[4].content, Content::HardLink { target: long });
    assert_eq!(found[5].modified, old.modified);
}

/// Runs the system's own tar in a directory.
fn tar(directory: &std::path::Path, arguments: &[&str], archive: &[u8]) -> Vec<String> {
    let mut child = Command::new("tar")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar is installed");
    child.stdin.take().expect("piped").write_all(archive).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn system_tar_reads_archive() {
    let long = format!("src/{}/ü", "x".repeat(150));
    let (directory, link) =
        (entry(EntryKind::Directory, 0, None), entry(EntryKind::Symlink, 9, Some("../é")));
    let (small, block) = (entry(EntryKind::File, 5, None), entry(EntryKind::File, 512, None));
    let sparse = entry(EntryKind::File, 1_000_000, None);
    let mut archive = Vec::new();
    append(&mut archive, &member("src", &directory, &[]), b"");
    append(&mut archive, &member("src/run", &small, &whole(5)), b"hello");
    append(&mut archive, &member(&long, &block, &whole(512)), &[b'y'; 512]);
    append(&mut archive, &member("src/link", &link, &[]), b"");
    let segments = [Segment { offset: 8192, length: 4096 }];
    append(&mut archive, &member("src/holes", &sparse, &segments), &[b'z'; 4096]);
    append(&mut archive, &Member { hard_link: Some("src/run"), ..member("src/again", &small, &[]) }, b"");
    archive.extend(END);
    let at = "2023-11-14 22:13:20.999";
    let list = ["--list", "--verbose", "--numeric-owner", "--full-time", "--utc", "--quoting-style=literal"];
    let scratch = tempfile::tempdir().expect("a directory");
    assert_eq!(
        tar(scratch.path(), &[&list[..], &["-f", "-"]].concat(), &archive),
        [
            format!("drwxr-x--- 1000/1000 0 {at} src/"),
            format!("-rwxr-x--- 1000/1000 5 {at} src/run"),
            format!("-rwxr-x--- 1000/1000 512 {at} {long}"),
            format!("lrwxr-x--- 1000/1000 0 {at} src/link -> ../é"),
            format!("-rwxr-x--- 1000/1000 1000000 {at} src/holes"),
            format!("hrwxr-x--- 1000/1000 0 {at} src/again link to src/run"),
        ]
    );
    tar(scratch.path(), &["--extract", "--no-same-owner", "-f", "-"], &archive);
    let mut holes = Vec::new();
    let mut file = std::fs::File::open(scratch.path().join("src/holes")).expect("extracted");
    file.read_to_end(&mut holes).expect("readable");
    assert_eq!(holes.len(), 1_000_000);
    assert!(holes[8192..8192 + 4096].iter().all(|byte| *byte == b'z') && holes[12288] == 0);
    assert_eq!(header(&member("socket", &entry(EntryKind::Other, 0, None), &[])), None);
}

#[test]
fn record_length_counts_itself() {
    for length in [1, 80, 88, 89, 90, 91, 985, 986, 987, 988, 989] {
        let record = record(b"path", "x".repeat(length).as_bytes());
        let text = String::from_utf8(record).expect("text");
        assert_eq!(text.split_once(' ').expect("a length").0, text.len().to_string());
    }
    assert_eq!((padding(0).len(), padding(1).len(), padding(512).len()), (0, 511, 0));
}

/// Reads a whole archive, and ignores errors.
fn try_read(bytes: &[u8]) {
    let mut reader = ArchiveReader::new(bytes);
    let mut buffer = [0; 64];
    while let Ok(Some(entry)) = reader.next_entry() {
        if let Content::File { size, segments } = entry.content {
            assert!(segments.iter().all(|segment| segment.length > 0 && segment.end() <= size));
        }
        while reader.read_content(&mut buffer).is_ok_and(|read| read > 0) {}
    }
}

proptest! {
    #[test]
    fn decoder_accepts_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        try_read(&bytes);
    }

    /// Changes some bytes of a valid archive, and corrects the sums of the headers.
    #[test]
    fn decoder_accepts_changed_archives(
        changes in prop::collection::vec((0_usize..4096, any::<u8>()), 0..8)
    ) {
        let sparse = entry(EntryKind::File, 100_000, None);
        let attributes = [(b"a".to_vec(), b"value".to_vec())];
        let segments = [Segment { offset: 0, length: 10 }, Segment { offset: 4096, length: 512 }];
        let mut archive = Vec::new();
        let mut changed = member("holes", &sparse, &segments);
        changed.attributes = &attributes;
        append(&mut archive, &changed, &[1; 522]);
        archive.extend(END);
        for (at, byte) in changes {
            let at = at % archive.len();
            archive[at] = byte;
        }
        for block in archive.chunks_mut(512).filter(|block| block[257..262] == *b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        try_read(&archive);
    }
}
