//! A cpio archive in the "newc" format, as the kernel unpacks it. Knows no file system: files come as bytes.
//!
//! Nothing in it depends on when or where it was written: the same files give the same bytes.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const ALIGNMENT: usize = 4;
const END: &str = "TRAILER!!!";

pub struct Archive<W> {
    to: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub fn new(to: W) -> Self {
        Self { to, inode: 0 }
    }

    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | permissions, (0, 0), content)
    }

    pub fn character_device(&mut self, path: &str, permissions: u32, numbers: (u32, u32)) -> io::Result<()> {
        self.entry(path, CHARACTER_DEVICE | permissions, numbers, &[])
    }

    /// Writes the end and gives the destination back.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.write(END, 0, (0, 0), &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        self.write(path, mode, device, content)
    }

    fn write(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::other(format!("{path} is too large for an initramfs")))?;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_size = path.len() as u32 + 1;
        // inode, mode, user, group, links, time, size, device (2), device that it is (2), length of the name, checksum
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            let _ = write!(header, "{field:08X}");
        }
        header.push_str(path);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(ALIGNMENT) - bytes.len();
        self.to.write_all(&[0; ALIGNMENT][..padding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.directory("modules").expect("memory");
        archive.file("modules/a", 0o644, b"hello").expect("memory");
        archive.character_device("console", 0o600, (5, 1)).expect("memory");
        archive.finish().expect("memory")
    }

    #[test]
    fn an_entry_is_a_header_a_name_and_content_each_padded() {
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
    fn the_cpio_program_reads_it() {
        let Ok(mut listing) = std::process::Command::new("cpio")
            .args(["-tv", "--quiet"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
        else {
            return eprintln!("there is no cpio here: not compared");
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
