//! Writes cpio archives in the "newc" format, which the kernel unpacks as an initramfs. Knows no
//! file system: files come as bytes.
//!
//! The output is reproducible: the same files give the same bytes.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const ALIGNMENT: usize = 4;
const TRAILER_NAME: &str = "TRAILER!!!";

/// An archive that is being written.
pub struct CpioWriter<W> {
    output: W,
    /// Number of the last entry.
    inode: u32,
}

impl<W: Write> CpioWriter<W> {
    /// Starts an archive. Every path is relative, without a leading slash.
    pub fn new(output: W) -> Self {
        Self { output, inode: 0 }
    }

    /// Adds a directory with mode 0755, owned by root.
    pub fn add_directory(&mut self, path: &str) -> io::Result<()> {
        self.add_entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a regular file, owned by root.
    pub fn add_file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.add_entry(path, REGULAR | permissions, (0, 0), content)
    }

    /// Adds a character device. `numbers` are major and minor.
    pub fn add_character_device(
        &mut self,
        path: &str,
        permissions: u32,
        numbers: (u32, u32),
    ) -> io::Result<()> {
        self.add_entry(path, CHARACTER_DEVICE | permissions, numbers, &[])
    }

    /// Writes the trailer and returns the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.write_entry(TRAILER_NAME, 0, (0, 0), &[])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn add_entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        self.write_entry(path, mode, device, content)
    }

    fn write_entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::other(format!("{path} is too large for an initramfs")))?;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_size = path.len() as u32 + 1;
        // Inode, mode, uid, gid, links, mtime, size, device (major, minor), rdev (major, minor),
        // name size, checksum.
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            let _ = write!(header, "{field:08X}");
        }
        header.push_str(path);
        header.push('\0');
        self.write_padded(header.as_bytes())?;
        self.write_padded(content)
    }

    fn write_padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(ALIGNMENT) - bytes.len();
        self.output.write_all(&[0; ALIGNMENT][..padding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = CpioWriter::new(Vec::new());
        archive.add_directory("modules").expect("memory");
        archive.add_file("modules/a", 0o644, b"hello").expect("memory");
        archive.add_character_device("console", 0o600, (5, 1)).expect("memory");
        archive.finish().expect("memory")
    }

    #[test]
    fn entries_are_padded_and_reproducible() {
        let bytes = sample();
        let directory = &bytes[..120];
        assert!(directory.starts_with(b"07070100000001000041ED0000000000000000000000020000000000000000"));
        assert!(
            directory.ends_with(b"0000000800000000modules\0\0\0"),
            "{}",
            String::from_utf8_lossy(directory)
        );
        let file = &bytes[120..];
        assert_eq!(&file[54..62], b"00000005", "its size");
        assert_eq!(&file[110..128], b"modules/a\0hello\0\0\0");
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        assert_eq!(sample(), bytes, "always the same");
    }

    #[test]
    fn cpio_program_lists_entries() {
        let Ok(mut listing) = std::process::Command::new("cpio")
            .args(["-tv", "--quiet"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
        else {
            return eprintln!("skipped: cpio is not installed");
        };
        listing.stdin.take().expect("piped").write_all(&sample()).expect("it reads");
        let output = listing.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success());
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.contains("-rw-r--r--") && text.contains("modules/a") && text.contains("5,   1"),
            "{text}"
        );
    }
}
