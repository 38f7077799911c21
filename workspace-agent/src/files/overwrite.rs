//! Writing new content into an existing file, where a replacement would change more than the content or
//! where the home has no room for a second file.
//!
//! The file keeps its inode, so its other names and the processes that have it open see the new content.
//! Room that is missing is found before anything is changed.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    os::{fd::AsFd as _, unix::fs::FileExt as _},
};

use rustix::fs::{FallocateFlags, OFlags, Stat};

use super::lease::{Lease, LeaseKind};

/// Bytes that are copied at once.
const BUFFER_BYTES: usize = 128 << 10;
/// How often an overwrite starts over because another program has appended to the file.
const MAX_ATTEMPTS: usize = 8;
/// Size of the blocks that a file's allocation is counted in.
const STAT_BLOCK_BYTES: u64 = 512;

/// Replaces `base`, which the file starts with, by `text`. What other programs append is kept behind
/// it, even while this runs. Returns the status of the file and its size without what was appended.
/// `None`: the file does not start with `base`, and was not changed.
pub fn overwrite_text(file: &File, base: &[u8], text: &[u8]) -> io::Result<Option<(Stat, u64)>> {
    // With the lease, no program can open the file until the content is complete.
    let lease = Lease::take(file.as_fd(), LeaseKind::NoOthers);
    let mut old = read_all(file)?;
    if !old.starts_with(base) {
        return Ok(None);
    }
    reserve(file, (old.len() + text.len().saturating_sub(base.len())) as u64)?;
    let result = write_text(file, base, text, &mut old);
    drop(lease);
    if let Err(error) = result {
        restore(file, &old)?;
        return Err(error);
    }
    rustix::fs::fsync(file)?;
    Ok(Some((rustix::fs::fstat(file)?, text.len() as u64)))
}

/// Writes `text` and what was appended to `base`. `old` is the file's content, and grows by what is
/// appended while this runs.
///
/// Growing, the file is first made longer by an append: from then on, other programs append behind the
/// place that the new content takes. Shrinking, it is cut only if nothing was appended.
fn write_text(file: &File, base: &[u8], text: &[u8], old: &mut Vec<u8>) -> io::Result<()> {
    let same = base.iter().zip(text).take_while(|(a, b)| a == b).count();
    if let Some(growth) = text.len().checked_sub(base.len()).filter(|growth| *growth > 0) {
        let content = [text, &old[base.len()..]].concat();
        let end = append(file, &content[content.len() - growth..])?;
        let appended = read_range(file, base.len() as u64, end - growth as u64)?;
        old.truncate(base.len());
        old.extend_from_slice(&appended);
    }
    file.write_all_at(&text[same..], same as u64)?;
    file.write_all_at(&old[base.len()..], text.len() as u64)?;
    if text.len() < base.len() {
        cut(file, base, text, old)?;
    }
    Ok(())
}

/// Cuts the file behind `text` and what was appended.
fn cut(file: &File, base: &[u8], text: &[u8], old: &mut Vec<u8>) -> io::Result<()> {
    for _ in 0..MAX_ATTEMPTS {
        let size = rustix::fs::fstat(file)?.st_size as u64;
        if size <= old.len() as u64 {
            break;
        }
        let appended = read_range(file, old.len() as u64, size)?;
        let at = text.len() + old.len() - base.len();
        file.write_all_at(&appended, at as u64)?;
        old.extend_from_slice(&appended);
    }
    Ok(rustix::fs::ftruncate(file, (text.len() + old.len() - base.len()) as u64)?)
}

/// Replaces the whole content of the file by that of `source`.
pub fn overwrite_with_file(file: &File, source: &mut File) -> io::Result<Stat> {
    let length = source.seek(SeekFrom::End(0))?;
    reserve(file, length)?;
    source.rewind()?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = 0;
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        file.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
    rustix::fs::ftruncate(file, length)?;
    rustix::fs::fsync(file)?;
    Ok(rustix::fs::fstat(file)?)
}

/// Makes sure that the file can have `length` bytes. Does not change its size.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    let is_allocated = stat.st_blocks as u64 * STAT_BLOCK_BYTES >= length && stat.st_size as u64 >= length;
    if is_allocated || length == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => {
            // Release what the attempt may have allocated behind the end.
            let _ = rustix::fs::ftruncate(file, stat.st_size as u64);
            Err(error.into())
        }
        // Where room cannot be reserved, a write finds out.
        _ => Ok(()),
    }
}

/// Writes `bytes` at the end of the file, wherever other programs have moved it. Returns the new end.
fn append(file: &File, bytes: &[u8]) -> io::Result<u64> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    rustix::fs::fcntl_setfl(file, flags | OFlags::APPEND)?;
    let written = rustix::io::write(file, bytes);
    rustix::fs::fcntl_setfl(file, flags)?;
    if written? < bytes.len() {
        return Err(rustix::io::Errno::NOSPC.into());
    }
    (&mut &*file).stream_position()
}

fn restore(file: &File, old: &[u8]) -> io::Result<()> {
    file.write_all_at(old, 0)?;
    let size = rustix::fs::fstat(file)?.st_size as u64;
    if size > old.len() as u64 {
        rustix::fs::ftruncate(file, old.len() as u64)?;
    }
    Ok(())
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut file = file;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_range(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; to.saturating_sub(from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file_with(content: &str) -> (tempfile::TempDir, File) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, content).expect("a file");
        let file = File::options().read(true).write(true).open(&path).expect("a file");
        (directory, file)
    }

    #[test]
    fn text_is_replaced_and_appended_lines_stay() {
        for (content, base, text, expected) in [
            ("one\ntwo\n", "one\ntwo\n", "one\n2\ntwo\n", "one\n2\ntwo\n"),
            ("one\ntwo\n", "one\ntwo\n", "two\n", "two\n"),
            ("one\ntwo\n", "one\n", "zero\none\n", "zero\none\ntwo\n"),
            ("one\ntwo\nthree\n", "one\n", "", "two\nthree\n"),
            ("", "", "new\n", "new\n"),
            ("old\n", "old\n", "", ""),
        ] {
            let (directory, file) = file_with(content);
            let (_, size) = overwrite_text(&file, base.as_bytes(), text.as_bytes())
                .expect("writable")
                .expect("starts with the base");
            assert_eq!(size, text.len() as u64);
            let read = std::fs::read_to_string(directory.path().join("file")).expect("a file");
            assert_eq!(read, expected, "{content:?}: {base:?} -> {text:?}");
        }
    }

    #[test]
    fn other_content_is_not_changed() {
        let (directory, file) = file_with("other\n");
        assert!(overwrite_text(&file, b"base\n", b"text\n").expect("readable").is_none());
        assert_eq!(std::fs::read_to_string(directory.path().join("file")).expect("a file"), "other\n");
    }

    #[test]
    fn growth_loses_no_line_of_an_appender() {
        let (directory, file) = file_with("text\n");
        let path = directory.path().join("file");
        let appender = std::thread::spawn(move || {
            let mut file = File::options().append(true).open(path).expect("a file");
            for line in 0..2000 {
                writeln!(file, "line {line}").expect("written");
            }
        });
        let mut base = "text\n".to_owned();
        while !appender.is_finished() {
            let text = format!("x{base}");
            overwrite_text(&file, base.as_bytes(), text.as_bytes()).expect("writable").expect("the base");
            base = text;
        }
        appender.join().expect("no panic");
        let text = std::fs::read_to_string(directory.path().join("file")).expect("a file");
        let lines: Vec<&str> = text.strip_prefix(&*base).expect("our text first").lines().collect();
        let expected: Vec<String> = (0..2000).map(|line| format!("line {line}")).collect();
        assert_eq!(lines, expected);
    }
}
