//! What a session may ask of its supervisor. Nothing here contains a path, a program or an argument: the
//! supervisor takes those from the specification.

use std::{net::IpAddr, os::fd::RawFd};

use serde::{Deserialize, Serialize};

use crate::{
    network::{RulesChange, Traffic},
    runtime::Accelerator,
};

/// An operation, of which there is one at a time.
#[derive(Debug, Serialize, Deserialize)]
pub enum Operation {
    /// Creates the network and the cgroup. Answered with [`Answer::Prepared`]. Once, and first.
    Prepare,
    /// Looks for a prototype of the guest. Answered with [`Answer::Prototype`].
    FindPrototype,
    /// Makes the prototype, or waits until another runner has. Answered with [`Answer::Prototype`].
    MakePrototype,
    /// Removes a prototype that does not work.
    RemovePrototype,
    /// Starts the VMM, instead of one that was started before. One descriptor: a connection to the export of
    /// the home. Answered with [`Answer::Launched`].
    Launch(LaunchKind),
    /// Mounts what a container consists of, but its home. Answered with one descriptor: the FUSE device on
    /// which the session serves the home. Once.
    MountParts,
    /// Creates, checks or enlarges the home's file system, which the session serves, mounts it, and starts
    /// the container. Answered with [`Answer::Started`]. Once.
    StartContainer(HomeContent),
    /// Ends the agent of a container, and so all of its programs, and waits for that for a while.
    EndContainer,
    /// Writes what programs have written to a container's home to the session. Answered with one descriptor:
    /// a pipe with the outcome.
    SyncHome,
    /// Enlarges the file system of a container's home. Answered as [`Operation::SyncHome`].
    GrowHome {
        /// What it should have.
        home_bytes: u64,
    },
    /// Kills the VMM, or all programs of the container, if it runs, and waits for its end.
    Kill,
    /// Unmounts a container's home, and removes the cgroup and the network. The last operation.
    Remove,
    /// Changes the rules of the sandbox's network.
    ChangeRules(RulesChange),
    /// Counts bytes on the sandbox's link to the host. Answered with [`Answer::Traffic`].
    ReadTraffic,
    /// Creates a TCP socket in the sandbox's network. Answered with one descriptor.
    OpenSocket,
    /// Takes the sandbox's link to the host down, for good.
    Disconnect,
}

/// What the session has found in the volume of a container's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HomeContent {
    /// Nothing yet.
    Blank,
    /// A file system.
    FileSystem {
        /// Its size.
        bytes: u64,
    },
}

/// Where a guest begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchKind {
    /// It boots.
    Boot,
    /// It waits for the state of the prototype, which is open in the VMM.
    Prototype,
}

/// The end of an operation.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is done. Descriptors as the operation says.
    Done,
    /// Descriptors: those of [`crate::network::Sockets`], if there is a network.
    Prepared(Prepared),
    /// Whether there is a prototype.
    Prototype(PrototypeState),
    /// Descriptors: the VMM's standard output and error, and a pipe with its exit status.
    Launched {
        /// The number that the prototype's state has in the VMM.
        state: Option<RawFd>,
    },
    /// Descriptors: the standard error of the OCI runtime, a pipe with its exit status, and the channel to
    /// the agent.
    Started,
    Traffic(Traffic),
    /// Why it failed: a sentence without its full stop.
    Failed(String),
}

/// What was created for the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// `None`: it is no virtual machine.
    pub accelerator: Option<Accelerator>,
    /// The name servers that the guest may use; `None`: it has no network.
    pub nameservers: Option<Vec<IpAddr>>,
}

/// Whether a guest can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrototypeState {
    /// There is a prototype.
    Ready,
    /// It can be made.
    Missing,
    /// It cannot be made.
    Unavailable,
}
