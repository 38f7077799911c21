//! The parts of the tar format that a download needs: headers, padding and the end. Pure.
//!
//! POSIX.1-2001 (pax): names and links that do not fit the old fields, and sizes of 8 GiB and more,
//! are in a record before the header.

use protocol::api::snapshot::SnapshotEntry;
use protocol::files::EntryKind;

/// Headers and contents begin at multiples of this.
const BLOCK: usize = 512;
/// Two empty blocks end an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// Longest name or link that the old field holds.
const MAX_NAME_BYTES: usize = 100;
/// Largest size that the old field holds: eleven octal digits.
const MAX_SIZE: u64 = 0o777_7777_7777;

const FILE: u8 = b'0';
const SYMLINK: u8 = b'2';
const DIRECTORY: u8 = b'5';
const PAX: u8 = b'x';

/// The header of an entry, to be followed by its content. None if an archive cannot hold it.
pub fn header(path: &str, entry: &SnapshotEntry) -> Option<Vec<u8>> {
    let (kind, size, link) = match (entry.kind, &entry.target) {
        (EntryKind::File, _) => (FILE, entry.size, ""),
        (EntryKind::Directory, _) => (DIRECTORY, 0, ""),
        (EntryKind::Symlink, Some(target)) => (SYMLINK, 0, target.as_str()),
        (EntryKind::Symlink, None) | (EntryKind::Other, _) => return None,
    };
    let path = if kind == DIRECTORY { format!("{path}/") } else { path.to_owned() };
    let seconds = u64::try_from(entry.modified_ms / 1000).unwrap_or(0);
    let records = [
        (!fits(&path)).then(|| record("path", &path)),
        (!fits(link)).then(|| record("linkpath", link)),
        (size > MAX_SIZE).then(|| record("size", &size.to_string())),
    ];
    let records: String = records.into_iter().flatten().collect();
    let mut bytes = Vec::new();
    if !records.is_empty() {
        bytes.extend(block(b"pax", PAX, 0o644, records.len() as u64, 0, b""));
        bytes.extend(records.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.extend(block(
        path.as_bytes(),
        kind,
        entry.mode & 0o777,
        size.min(MAX_SIZE),
        seconds,
        link.as_bytes(),
    ));
    Some(bytes)
}

/// The zeros that follow a content of `size` bytes.
pub fn padding(size: u64) -> Vec<u8> {
    let over = usize::try_from(size % BLOCK as u64).expect("below a block");
    vec![0; over.next_multiple_of(BLOCK) - over]
}

fn fits(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.is_ascii()
}

/// A pax record: `"<length> key=value\n"`. The length counts its own digits.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn block(name: &[u8], kind: u8, mode: u32, size: u64, seconds: u64, link: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(MAX_NAME_BYTES)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0001750");
    put(116, b"0001750");
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", seconds.min(MAX_SIZE)).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link[..link.len().min(MAX_NAME_BYTES)]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    fn entry(kind: EntryKind, size: u64, target: Option<&str>) -> SnapshotEntry {
        let target = target.map(str::to_owned);
        SnapshotEntry {
            name: String::new(),
            utf8: true,
            kind,
            size,
            modified_ms: 1_700_000_000_999,
            mode: 0o100_750,
            target,
        }
    }

    /// Lists an archive with the system's own tar: type, permissions, size and names.
    fn listed(archive: &[u8]) -> Vec<String> {
        let mut child = Command::new("tar")
            .args([
                "--list",
                "--verbose",
                "--numeric-owner",
                "--full-time",
                "--utc",
                "--quoting-style=literal",
                "-f",
                "-",
            ])
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
    fn system_tar_lists_archive() {
        let long = format!("src/{}/ü", "x".repeat(150));
        let mut archive = Vec::new();
        for (path, entry, content) in [
            ("src", entry(EntryKind::Directory, 0, None), ""),
            ("src/run", entry(EntryKind::File, 5, None), "hello"),
            (&long, entry(EntryKind::File, 512, None), &"y".repeat(512)),
            ("src/link", entry(EntryKind::Symlink, 9, Some("../é")), ""),
        ] {
            archive.extend(header(path, &entry).expect("supported"));
            archive.extend(content.as_bytes());
            archive.extend(padding(content.len() as u64));
        }
        archive.extend(END);
        let at = "2023-11-14 22:13:20";
        assert_eq!(
            listed(&archive),
            [
                format!("drwxr-x--- 1000/1000 0 {at} src/"),
                format!("-rwxr-x--- 1000/1000 5 {at} src/run"),
                format!("-rwxr-x--- 1000/1000 512 {at} {long}"),
                format!("lrwxr-x--- 1000/1000 0 {at} src/link -> ../é"),
            ]
        );
        assert_eq!(header("socket", &entry(EntryKind::Other, 0, None)), None);
    }

    #[test]
    fn record_length_counts_itself() {
        for length in [1, 80, 88, 89, 90, 91, 985, 986, 987, 988, 989] {
            let record = record("path", &"x".repeat(length));
            assert_eq!(record.split_once(' ').expect("a length").0, record.len().to_string());
        }
    }
}
