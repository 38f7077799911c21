//! The privileged process of a runner.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use protocol::runner::{CONTROLLER_CHANNEL, RunnerSpec};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
    task::spawn_blocking,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    SESSION_USERS, SUPERVISOR_SOCKET,
    host::SandboxHost,
    messages::Answer,
    session::{ARGUMENT, SessionSpec},
    socket,
};
use crate::{run_directory, slot::Slot};

/// How long a session may take to end after it was told to. Ending a sandbox at once takes a moment; the
/// server kills a runner after 15 s, which then cannot remove what exists of the sandbox.
const SESSION_GRACE: Duration = Duration::from_secs(8);

const MIB: u64 = 1024 * 1024;

/// Why a runner failed. A failure of the session has been reported to the controller.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Its directories cannot be created.
    #[error("Cannot prepare the runner's directories: {0}")]
    Directories(io::Error),
    /// The session cannot be started.
    #[error("Cannot start the runner's session: {0}")]
    Start(io::Error),
    /// The session has exited with an error, or was killed.
    #[error("The runner's session failed ({0})")]
    Session(ExitStatus),
}

/// Runs one workspace in a session, until that exits. `shutdown` ends it at once.
pub async fn supervise(
    spec: RunnerSpec,
    channel: OwnedFd,
    shutdown: CancellationToken,
) -> Result<(), SupervisorError> {
    let spec = Arc::new(spec);
    // The session reports that there is none, when it asks for the sandbox.
    let slot = Slot::acquire(spec.slot);
    let number = slot.as_ref().map_or(spec.slot, Slot::number);
    let user = rustix::process::geteuid().is_root().then(|| SESSION_USERS.start() + u32::from(number));
    let _lock = run_directory::create(&spec.run_dir, user, spec.gateway_group)
        .and_then(|lock| user.map_or(Ok(()), |user| give_cache(&spec, user)).map(|()| lock))
        .map_err(SupervisorError::Directories)?;
    let (socket, sessions_end) = UnixStream::pair().map_err(SupervisorError::Start)?;
    let mut session = start_session(channel, sessions_end.into()).map_err(SupervisorError::Start)?;
    let mut input = session.stdin.take().expect("piped");
    let launch = SessionSpec { user, spec: RunnerSpec { policy_key: None, ..(*spec).clone() } };
    let sent = send_spec(&mut input, &launch).await;
    drop(launch);
    sent.map_err(SupervisorError::Start)?;
    let mut host = SandboxHost::new(spec.clone(), slot, user);
    let overdue = async {
        shutdown.cancelled().await;
        drop(input);
        sleep(SESSION_GRACE).await;
    };
    let exited = tokio::select! {
        exited = session.wait() => exited,
        () = overdue => {
            tracing::error!("the runner's session did not end in time: killing it");
            kill(&mut session).await
        }
        Err(error) = serve(&mut host, Arc::new(socket)) => {
            tracing::error!(%error, "cannot understand the runner's session: killing it");
            kill(&mut session).await
        }
    };
    host.remove().await;
    run_directory::remove(&spec.run_dir);
    match exited.map_err(SupervisorError::Start)? {
        status if status.success() => Ok(()),
        status => Err(SupervisorError::Session(status)),
    }
}

fn give_cache(spec: &RunnerSpec, user: u32) -> io::Result<()> {
    volume::give_cache(&spec.cache_dir, user, u64::from(spec.resources.home_mib) * MIB)
}

fn start_session(channel: OwnedFd, socket: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["runner", ARGUMENT]).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    daemon::descriptors::pass_as(&mut command, channel, CONTROLLER_CHANNEL);
    daemon::descriptors::pass_as(&mut command, socket, SUPERVISOR_SOCKET);
    command.spawn()
}

/// One line. The input stays open: its end tells the session to end.
async fn send_spec(input: &mut ChildStdin, launch: &SessionSpec) -> io::Result<()> {
    let mut line = serde_json::to_vec(launch)?;
    line.push(b'\n');
    // It contains the key of the home.
    let line = protocol::Redacted::new(line);
    input.write_all(line.expose()).await?;
    input.flush().await
}

async fn kill(session: &mut Child) -> io::Result<ExitStatus> {
    session.kill().await?;
    session.wait().await
}

/// Answers the session until it closes its socket. Fails if it sends what is no operation.
pub(crate) async fn serve(host: &mut SandboxHost, socket: Arc<UnixStream>) -> io::Result<()> {
    loop {
        let from = socket.clone();
        let (operation, descriptors) = match blocking(move || socket::receive(&from)).await {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(()),
            Err(error) if was_cut(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let answered = host.perform(operation, descriptors).await;
        let (answer, descriptors) =
            answered.unwrap_or_else(|error| (Answer::Failed(error.to_string()), Vec::new()));
        let to = socket.clone();
        let sent = blocking(move || socket::send(&to, &answer, &descriptors)).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "the runner's session has closed its socket");
            return Ok(());
        }
    }
}

/// Whether the session has ended, perhaps in the middle of a message.
fn was_cut(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::Shutdown};

    use super::*;
    use crate::{runtime::microvm::MicrovmHost, supervisor::messages::Operation};

    async fn serve_what_was_sent(supervisors_end: UnixStream) -> io::Result<()> {
        let host = MicrovmHost::without_slot();
        serve(&mut SandboxHost::Microvm(Box::new(host)), Arc::new(supervisors_end)).await
    }

    #[tokio::test]
    async fn hostile_session_is_ended() {
        for message in [&b"\xff\xff\xff\xff"[..], b"\x07\0\0\0garbage", b"\x08\0\0\0\"Reboot\""] {
            let (mut session, supervisor) = UnixStream::pair().expect("a pair");
            session.write_all(message).expect("sent");
            assert!(serve_what_was_sent(supervisor).await.is_err(), "{message:?}");
        }
    }

    #[tokio::test]
    async fn refused_operations_are_answered() {
        let (session, supervisor) = UnixStream::pair().expect("a pair");
        for _ in 0..2 {
            socket::send(&session, &Operation::OpenSocket, &[]).expect("sent");
        }
        session.shutdown(Shutdown::Write).expect("shut down");
        serve_what_was_sent(supervisor).await.expect("served until the end");
        for _ in 0..2 {
            let (answer, descriptors) = socket::receive(&session).expect("received").expect("an answer");
            assert!(matches!(answer, Answer::Failed(_)) && descriptors.is_empty(), "{answer:?}");
        }
    }
}
