//! The scratch disk: the writable layer above the root.

use std::{
    fs::{File, OpenOptions},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    process::Stdio,
    time::Duration,
};

use protocol::runner::RunnerSpec;
use tokio::{process::Command, time::timeout};

use super::MIB;
use crate::runtime::{RuntimeError, cannot};

/// Time to write some hundred kilobytes of metadata.
const FORMAT_TIMEOUT: Duration = Duration::from_secs(10);

/// Creates a blank scratch disk: a sparse file without a name, which dies with the sandbox.
pub fn create(spec: &RunnerSpec) -> Result<File, RuntimeError> {
    let create = || {
        let directory = spec.cache_dir.as_path();
        let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
        let file =
            OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(directory)?;
        file.set_len(u64::from(spec.resources.scratch_mib) * MIB)?;
        Ok(file)
    };
    create().map_err(cannot("create the scratch disk"))
}

/// Formats the scratch disk on the host, which is ten times faster than in an emulated guest. If it
/// fails, the guest finds a blank disk and formats it.
pub async fn format(scratch: &File) {
    let path = format!("/proc/{}/fd/{}", std::process::id(), scratch.as_raw_fd());
    let formatting = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-E", "lazy_itable_init=1,nodiscard", "-O", "^has_journal"])
        .arg(path)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match timeout(FORMAT_TIMEOUT, formatting).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::debug!(%status, "cannot format the scratch disk; the guest will"),
        Ok(Err(error)) => tracing::debug!(%error, "cannot format the scratch disk; the guest will"),
        Err(_) => tracing::warn!("mkfs.ext4 did not finish in time"),
    }
}
