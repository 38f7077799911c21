//! The session's end of its supervisor.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    SUPERVISOR_SOCKET,
    messages::{Answer, HomeContent, LaunchKind, Operation, Prepared, PrototypeState},
    outcome, socket,
};
use crate::network::{RulesChange, Sockets, Traffic};

/// Calls that wait for their turn. Callers wait for answers, so there are never many.
const MAX_CALLS: usize = 64;

/// Why an operation failed: a sentence without its full stop.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OperationError(String);

impl OperationError {
    pub(super) fn new(reason: String) -> Self {
        Self(reason)
    }

    /// The supervisor has ended.
    pub(super) fn ended() -> Self {
        Self("The privileged process of this runner has ended".to_owned())
    }
}

type Result<T> = std::result::Result<T, OperationError>;

/// Sends operations to the supervisor, one at a time. Clones share the socket.
#[derive(Clone, Debug)]
pub struct Supervisor(mpsc::Sender<Call>);

/// An answer with its descriptors; `None`: the supervisor has closed the socket.
type Received = std::io::Result<Option<(Answer, Vec<OwnedFd>)>>;

#[derive(Debug)]
struct Call {
    operation: Operation,
    descriptors: Vec<OwnedFd>,
    answer: oneshot::Sender<Received>,
}

/// A container that was started.
pub struct StartedContainer {
    /// The standard error of the OCI runtime, and of the agent.
    pub errors: OwnedFd,
    /// The pipe with the exit status.
    pub exit: OwnedFd,
    /// The channel to the agent.
    pub channel: UnixStream,
}

/// A VMM that was started.
pub struct LaunchedVmm {
    /// See [`Answer::Launched`].
    pub state: Option<i32>,
    /// Its standard output, its standard error, and the pipe with its exit status.
    pub descriptors: [OwnedFd; 3],
}

impl Supervisor {
    /// The supervisor behind the inherited socket. Call it once.
    pub fn inherited() -> std::io::Result<Self> {
        Self::over(daemon::descriptors::take_inherited(SUPERVISOR_SOCKET)?.into())
    }

    /// The supervisor at the other end of a socket.
    pub fn over(socket: UnixStream) -> std::io::Result<Self> {
        let (calls, waiting) = mpsc::channel(MAX_CALLS);
        thread::Builder::new().name("supervisor".to_owned()).spawn(move || exchange(&socket, waiting))?;
        Ok(Self(calls))
    }

    /// See [`Operation::Prepare`].
    pub async fn prepare(&self) -> Result<(Prepared, Option<Sockets>)> {
        match self.call(Operation::Prepare, vec![]).await? {
            (Answer::Prepared(prepared), descriptors) => {
                let sockets = <[OwnedFd; 3]>::try_from(descriptors).ok().map(Sockets::from_descriptors);
                if sockets.is_some() == prepared.nameservers.is_some() {
                    return Ok((prepared, sockets));
                }
                Err(unexpected())
            }
            _ => Err(unexpected()),
        }
    }

    /// See [`Operation::FindPrototype`].
    pub async fn find_prototype(&self) -> Result<PrototypeState> {
        self.ask_for_prototype(Operation::FindPrototype).await
    }

    /// See [`Operation::MakePrototype`].
    pub async fn make_prototype(&self) -> Result<PrototypeState> {
        self.ask_for_prototype(Operation::MakePrototype).await
    }

    async fn ask_for_prototype(&self, operation: Operation) -> Result<PrototypeState> {
        match self.call(operation, vec![]).await? {
            (Answer::Prototype(state), _) => Ok(state),
            _ => Err(unexpected()),
        }
    }

    /// See [`Operation::RemovePrototype`].
    pub async fn remove_prototype(&self) -> Result<()> {
        self.call(Operation::RemovePrototype, vec![]).await.map(drop)
    }

    /// See [`Operation::Launch`].
    pub async fn launch(&self, kind: LaunchKind, home: OwnedFd) -> Result<LaunchedVmm> {
        match self.call(Operation::Launch(kind), vec![home]).await? {
            (Answer::Launched { state }, descriptors) => {
                let descriptors = descriptors.try_into().map_err(|_| unexpected())?;
                Ok(LaunchedVmm { state, descriptors })
            }
            _ => Err(unexpected()),
        }
    }

    /// See [`Operation::MountParts`].
    pub async fn mount_parts(&self) -> Result<OwnedFd> {
        self.ask_for_descriptor(Operation::MountParts).await
    }

    /// See [`Operation::StartContainer`].
    pub async fn start_container(&self, home: HomeContent) -> Result<StartedContainer> {
        let (answer, descriptors) = self.call(Operation::StartContainer(home), vec![]).await?;
        match (answer, <[OwnedFd; 3]>::try_from(descriptors)) {
            (Answer::Started, Ok([errors, exit, channel])) => {
                Ok(StartedContainer { errors, exit, channel: channel.into() })
            }
            _ => Err(unexpected()),
        }
    }

    /// See [`Operation::EndContainer`].
    pub async fn end_container(&self) -> Result<()> {
        self.call(Operation::EndContainer, vec![]).await.map(drop)
    }

    /// See [`Operation::SyncHome`].
    pub async fn sync_home(&self) -> Result<()> {
        outcome::read(self.ask_for_descriptor(Operation::SyncHome).await?).await
    }

    /// See [`Operation::GrowHome`].
    pub async fn grow_home(&self, home_bytes: u64) -> Result<()> {
        outcome::read(self.ask_for_descriptor(Operation::GrowHome { home_bytes }).await?).await
    }

    /// See [`Operation::Kill`].
    pub async fn kill(&self) -> Result<()> {
        self.call(Operation::Kill, vec![]).await.map(drop)
    }

    /// Like [`Self::kill`], without waiting.
    pub fn request_kill(&self) {
        let (answer, _) = oneshot::channel();
        // A full queue or a supervisor that has ended: it kills the VMM at the session's end.
        let _ = self.0.try_send(Call { operation: Operation::Kill, descriptors: vec![], answer });
    }

    /// See [`Operation::Remove`].
    pub async fn remove(&self) -> Result<()> {
        self.call(Operation::Remove, vec![]).await.map(drop)
    }

    /// See [`Operation::ChangeRules`].
    pub async fn change_rules(&self, change: RulesChange) -> Result<()> {
        self.call(Operation::ChangeRules(change), vec![]).await.map(drop)
    }

    /// See [`Operation::ReadTraffic`].
    pub async fn read_traffic(&self) -> Result<Traffic> {
        match self.call(Operation::ReadTraffic, vec![]).await? {
            (Answer::Traffic(traffic), _) => Ok(traffic),
            _ => Err(unexpected()),
        }
    }

    /// See [`Operation::OpenSocket`].
    pub async fn open_socket(&self) -> Result<OwnedFd> {
        self.ask_for_descriptor(Operation::OpenSocket).await
    }

    /// See [`Operation::Disconnect`].
    pub async fn disconnect(&self) -> Result<()> {
        self.call(Operation::Disconnect, vec![]).await.map(drop)
    }

    async fn ask_for_descriptor(&self, operation: Operation) -> Result<OwnedFd> {
        let (_, descriptors) = self.call(operation, vec![]).await?;
        descriptors.into_iter().next().ok_or_else(unexpected)
    }

    async fn call(&self, operation: Operation, descriptors: Vec<OwnedFd>) -> Result<(Answer, Vec<OwnedFd>)> {
        let ended = OperationError::ended;
        let (answer, answered) = oneshot::channel();
        self.0.send(Call { operation, descriptors, answer }).await.map_err(|_| ended())?;
        match answered.await.map_err(|_| ended())? {
            Ok(Some((Answer::Failed(reason), _))) => Err(OperationError(reason)),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(ended()),
            Err(error) => Err(OperationError(format!("Cannot ask the privileged process: {error}"))),
        }
    }
}

fn unexpected() -> OperationError {
    OperationError("The privileged process of this runner answered something else".to_owned())
}

/// Ends with the last [`Supervisor`], or the socket.
fn exchange(socket: &UnixStream, mut calls: mpsc::Receiver<Call>) {
    while let Some(Call { operation, descriptors, answer }) = calls.blocking_recv() {
        let sent = socket::send(socket, &operation, &descriptors);
        drop(descriptors);
        // A caller that is gone needs no answer, but the next one must not get it.
        let _ = answer.send(sent.and_then(|()| socket::receive(socket)));
    }
}
