//! The kernel's log: which program it has ended for lack of memory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
};

/// Longest record of the kernel.
const MAX_RECORD_BYTES: usize = 8192;
/// Most records that one look reads. A program with root may write records without end.
const MAX_RECORDS: usize = 10_000;

/// Reads the kernel's log from its end on.
pub struct KernelLog(File);

impl KernelLog {
    /// Opens the log. Records that exist already are not read.
    pub fn open() -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// The program that the kernel has ended last for lack of memory, among the records since the
    /// last call.
    pub fn find_killed_program(&self) -> Option<String> {
        let mut file = &self.0;
        let mut record = [0; MAX_RECORD_BYTES];
        let mut killed = None;
        for _ in 0..MAX_RECORDS {
            match file.read(&mut record) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    killed = parse_killed_program(&text).or(killed);
                }
                // Records were overwritten before they were read. The next one is there.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => break,
            }
        }
        killed
    }
}

/// The name in "…: Killed process 812 (python3) total-vm:…".
fn parse_killed_program(record: &str) -> Option<String> {
    let (_, rest) = record.split_once(": Killed process ")?;
    let (_, rest) = rest.split_once(" (")?;
    let (name, _) = rest.rsplit_once(") total-vm:")?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn killed_program_is_found() {
        let record = |name: &str| {
            format!(
                "3,812,99,-;Memory cgroup out of memory: Killed process 812 ({name}) total-vm:9kB, \
                 anon-rss:8kB, UID:1000 pgtables:64kB oom_score_adj:0\n"
            )
        };
        for name in ["python3", "a) b (c", "", "Web Content"] {
            assert_eq!(parse_killed_program(&record(name)).as_deref(), Some(name));
        }
        assert_eq!(parse_killed_program("6,1,2,-;oom_reaper: reaped process 812 (python3)"), None);
        assert_eq!(parse_killed_program("6,1,2,-;x: Killed process 812 python3"), None);
    }
}
