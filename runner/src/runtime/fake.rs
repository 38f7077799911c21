//! The fake runtime: the agent as a plain process on this host, with a directory as its home. It is
//! no boundary at all, and exists for tests and simulations.
//!
//! As with a microVM, the volume is the home's authoritative copy: the directory is unpacked from
//! it at the start and packed into it at the end. In between, the directory in the cache is the
//! newer one.

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

use super::{RuntimeError, SandboxExit, StartContext, cannot, console::Console, in_run_dir};
use crate::agent::Agent;

/// How long the agent may take to exit after its input has ended. Then it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the agent's last lines may take to arrive after its exit.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);
/// Environment variables with this prefix hold the object store's credentials; the agent does not
/// get them.
const STORE_SECRETS_PREFIX: &str = "AWS_";
/// Offset of the archive in the volume. Its length is stored at offset 0.
const ARCHIVE_OFFSET: u64 = 4096;
const CHUNK_BYTES: usize = 1 << 20;

/// Why a home cannot be packed into its volume or unpacked from it.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("cannot run tar: {0}")]
    Io(#[from] io::Error),
    #[error("tar failed ({0})")]
    Tar(ExitStatus),
    #[error("the home does not fit into its volume")]
    Full,
}

/// The agent as a process.
pub struct FakeSandbox {
    child: Child,
    /// The agent exits when this is closed.
    input: ChildStdin,
    agent: Arc<Agent>,
    console: Console,
    directory: PathBuf,
    volume: Volume,
}

impl FakeSandbox {
    /// Unpacks the home if the directory is not current, and starts the agent.
    pub async fn start(context: &StartContext<'_>) -> Result<Self, RuntimeError> {
        let spec = context.spec;
        let directory = directory(spec);
        if !is_current(spec) {
            unpack(context.volume, &directory).await?;
            write_head(spec, spec.head).map_err(cannot("write the home's head"))?;
        }
        context.reporter.report_step(Step::Sandbox, None);
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
            .envs(std::env::vars().filter(|(name, _)| !name.starts_with(STORE_SECRETS_PREFIX)))
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot("start the agent"))?;
        let input = child.stdin.take().expect("piped");
        let console = Console::follow(child.stderr.take().expect("piped"));
        let agent = Arc::new(Agent::new(socket));
        Ok(Self { child, input, agent, console, directory, volume: context.volume.clone() })
    }

    /// See [`super::Sandbox::agent`].
    pub fn agent(&self) -> Arc<Agent> {
        self.agent.clone()
    }

    /// Packs the home into the volume while the agent runs.
    pub fn packer(&self) -> Packer {
        Packer { directory: self.directory.clone(), volume: self.volume.clone() }
    }

    /// The agent's last lines on standard error.
    pub fn log(&self) -> Vec<String> {
        self.console.last_lines()
    }

    /// Waits for the agent's exit.
    pub async fn wait(&mut self) -> SandboxExit {
        let exit = SandboxExit::new("the agent", self.child.wait().await);
        let _ = timeout(LAST_LINES_TIMEOUT, self.console.ended()).await;
        exit
    }

    /// Kills the agent. The home stays in the directory.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
    }

    /// Ends the agent and packs the home.
    pub async fn shut_down(mut self) -> Result<(), RuntimeError> {
        drop(self.input);
        if timeout(EXIT_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        Ok(pack(&self.directory, &self.volume).await?)
    }
}

/// Packs a directory into a volume.
pub struct Packer {
    directory: PathBuf,
    volume: Volume,
}

impl Packer {
    /// Packs the directory as it is now, while programs may write to it.
    pub async fn pack(&self) -> Result<(), PackError> {
        pack(&self.directory, &self.volume).await
    }
}

/// Records that the directory has the content of this snapshot.
pub fn record_commit(spec: &RunnerSpec, manifest: ManifestId) {
    if let Err(error) = write_head(spec, Some(manifest)) {
        tracing::warn!(%error, "cannot record the home's head; the next start unpacks the home again");
    }
}

fn directory(spec: &RunnerSpec) -> PathBuf {
    spec.cache_dir.join("fake-home")
}

fn head_file(spec: &RunnerSpec) -> PathBuf {
    spec.cache_dir.join("fake-head")
}

fn format_head(head: Option<ManifestId>) -> String {
    head.map_or_else(|| "none".to_owned(), |head| head.to_string())
}

/// Whether the directory builds on the committed snapshot.
fn is_current(spec: &RunnerSpec) -> bool {
    directory(spec).is_dir()
        && fs::read_to_string(head_file(spec)).is_ok_and(|head| head == format_head(spec.head))
}

fn write_head(spec: &RunnerSpec, head: Option<ManifestId>) -> io::Result<()> {
    let new = head_file(spec).with_extension("new");
    fs::write(&new, format_head(head))?;
    fs::rename(new, head_file(spec))
}

/// Writes the directory into the volume as a tar archive. Unchanged chunks are not written again.
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
        write_changed(volume, ARCHIVE_OFFSET + length, chunk.clone().into()).await?;
        length += chunk.len() as u64;
    }
    let status = tar.wait().await?;
    // 1: a file changed while tar read it. What programs write while the home is packed need not be
    // in the archive.
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

/// Replaces the directory with the archive in the volume.
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
        let chunk = volume.read(ARCHIVE_OFFSET + done, (length - done).min(CHUNK_BYTES as u64)).await?;
        archive.write_all(&chunk).await?;
        done += chunk.len() as u64;
    }
    drop(archive);
    let status = tar.wait().await?;
    if status.success() { Ok(()) } else { Err(PackError::Tar(status)) }
}
