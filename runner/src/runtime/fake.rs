//! The fake runtime: the agent as a plain process on this host, its home a directory. No boundary at all: for tests and for
//! simulation.
//!
//! The home's truth is the volume, as with a real machine: at the end the directory is packed into it, at the start unpacked
//! from it. Between them the directory in the cache is the newer one, as a real home's cache file is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use protocol::{ManifestId, runner::RunnerSpec, workspace::Step};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    time::timeout,
};
use volume::{Volume, VolumeError};

use super::{Ended, Making, RuntimeError, console::Console, in_run_dir, io};
use crate::agent::Agent;

/// From the end of its input to the signal that nothing survives.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// What our own environment holds for the object store.
const STORE_SECRETS: &str = "AWS_";
/// The archive begins here; before it, its length.
const ARCHIVE_AT: u64 = 4096;
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("tar cannot be run: {0}")]
    Io(#[from] io::Error),
    #[error("tar failed ({0})")]
    Tar(ExitStatus),
    #[error("the home does not fit into its volume")]
    Full,
}

pub struct Fake {
    child: Child,
    /// Its end tells the agent to go.
    input: ChildStdin,
    agent: Arc<Agent>,
    console: Console,
    directory: PathBuf,
    volume: Volume,
}

impl Fake {
    pub async fn start(making: &Making<'_>) -> Result<Self, RuntimeError> {
        let spec = making.spec;
        let directory = directory(spec);
        if !is_current(spec) {
            unpack(making.volume, &directory).await?;
            mark(spec, spec.head).map_err(io("the home's mark cannot be written"))?;
        }
        making.reporter.step(Step::Machine, None);
        let socket = in_run_dir(spec, "agent.sock");
        let mut child = Command::new(&spec.agent)
            .arg("--serve-unix")
            .arg(&socket)
            .arg("--home")
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| !name.starts_with(STORE_SECRETS)))
            .kill_on_drop(true)
            .spawn()
            .map_err(io("the agent cannot be started"))?;
        let input = child.stdin.take().expect("piped");
        let console = Console::read(child.stderr.take().expect("piped"));
        let agent = Arc::new(Agent::at(socket));
        Ok(Self { child, input, agent, console, directory, volume: making.volume.clone() })
    }

    pub fn agent(&self) -> Arc<Agent> {
        self.agent.clone()
    }

    /// What brings the home as it is into the volume.
    pub fn packer(&self) -> Packer {
        Packer { directory: self.directory.clone(), volume: self.volume.clone() }
    }

    pub fn log(&self) -> Vec<String> {
        self.console.last()
    }

    pub async fn ended(&mut self) -> Ended {
        Ended::of("the agent", self.child.wait().await)
    }

    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
    }

    /// Ends the agent and packs the home.
    pub async fn end(mut self) -> Result<(), RuntimeError> {
        drop(self.input);
        if timeout(END_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        Ok(pack(&self.directory, &self.volume).await?)
    }
}

/// The home's two places.
pub struct Packer {
    directory: PathBuf,
    volume: Volume,
}

impl Packer {
    pub async fn pack(&self) -> Result<(), PackError> {
        pack(&self.directory, &self.volume).await
    }
}

/// The directory is now what the snapshot holds.
pub fn committed(spec: &RunnerSpec, manifest: ManifestId) {
    if let Err(error) = mark(spec, Some(manifest)) {
        tracing::warn!(%error, "the home will be unpacked anew");
    }
}

fn directory(spec: &RunnerSpec) -> PathBuf {
    spec.cache_dir.join("fake-home")
}

fn mark_file(spec: &RunnerSpec) -> PathBuf {
    spec.cache_dir.join("fake-head")
}

fn mark_of(head: Option<ManifestId>) -> String {
    head.map_or_else(|| "none".to_owned(), |head| head.to_string())
}

/// Whether the directory goes on from the committed snapshot.
fn is_current(spec: &RunnerSpec) -> bool {
    directory(spec).is_dir()
        && fs::read_to_string(mark_file(spec)).is_ok_and(|mark| mark == mark_of(spec.head))
}

fn mark(spec: &RunnerSpec, head: Option<ManifestId>) -> io::Result<()> {
    let new = mark_file(spec).with_extension("new");
    fs::write(&new, mark_of(head))?;
    fs::rename(new, mark_file(spec))
}

/// Writes the directory into the volume as an archive. Blocks that are the same are not written again.
async fn pack(directory: &Path, volume: &Volume) -> Result<(), PackError> {
    let mut tar = Command::new("tar")
        .args(["--create", "--file=-", "--sort=name", "--numeric-owner", "--format=posix", "--directory"])
        .arg(directory)
        .arg(".")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut archive = tar.stdout.take().expect("piped");
    let mut length = 0;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        (&mut archive).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await?;
        if chunk.is_empty() {
            break;
        }
        write_changed(volume, ARCHIVE_AT + length, chunk.clone().into()).await?;
        length += chunk.len() as u64;
    }
    let status = tar.wait().await?;
    // 1: a file changed while it was read. The agent is gone; what its programs still write is not asked for.
    if !matches!(status.code(), Some(0 | 1)) {
        return Err(PackError::Tar(status));
    }
    write_changed(volume, 0, Bytes::copy_from_slice(&length.to_le_bytes())).await?;
    Ok(volume.flush().await?)
}

async fn write_changed(volume: &Volume, offset: u64, chunk: Bytes) -> Result<(), PackError> {
    let length = chunk.len() as u64;
    if offset + length > volume.size_bytes() {
        return Err(PackError::Full);
    }
    if volume.read(offset, length).await? != chunk {
        volume.write(offset, chunk).await?;
    }
    Ok(())
}

/// Makes the directory what the volume holds.
async fn unpack(volume: &Volume, directory: &Path) -> Result<(), PackError> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    let length = volume.read(0, 8).await?;
    let length = u64::from_le_bytes(*length.first_chunk().expect("eight were read"));
    if length == 0 {
        return Ok(());
    }
    if length > volume.size_bytes() {
        return Err(PackError::Full);
    }
    let mut tar = Command::new("tar")
        .args(["--extract", "--file=-", "--preserve-permissions", "--numeric-owner", "--directory"])
        .arg(directory)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut archive = tar.stdin.take().expect("piped");
    let mut done = 0;
    while done < length {
        let chunk = volume.read(ARCHIVE_AT + done, (length - done).min(CHUNK_BYTES as u64)).await?;
        archive.write_all(&chunk).await?;
        done += chunk.len() as u64;
    }
    drop(archive);
    let status = tar.wait().await?;
    if status.success() { Ok(()) } else { Err(PackError::Tar(status)) }
}
