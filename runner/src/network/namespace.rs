//! A thread inside a sandbox's network namespace. Rules can only be loaded from inside, and a
//! namespace belongs to a thread, so this one lives as long as the sandbox's network.

use std::{fs, io, os::fd::OwnedFd, thread};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{NetworkError, cannot, links, load_rules};

/// Work that waits for the thread. Callers wait for their answers, so there is never much.
const MAX_JOBS: usize = 64;

/// Bytes that have passed the namespace's link to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

enum Job {
    Load(String, oneshot::Sender<Result<(), NetworkError>>),
    ReadTraffic(oneshot::Sender<Result<Traffic, NetworkError>>),
    OpenSocket(oneshot::Sender<Result<OwnedFd, NetworkError>>),
    Disconnect(oneshot::Sender<Result<(), NetworkError>>),
}

/// Sends work to the thread. It ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Namespace(mpsc::Sender<Job>);

impl Namespace {
    /// Starts a thread that runs `set_up`, which may change the thread's namespace, and then serves.
    pub async fn start<T: Send + 'static>(
        set_up: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
    ) -> Result<(Self, T), NetworkError> {
        let (result, created) = oneshot::channel();
        let (jobs, waiting) = mpsc::channel(MAX_JOBS);
        let work = move || {
            let created = set_up();
            let is_created = created.is_ok();
            if result.send(created).is_ok() && is_created {
                serve(waiting);
            }
        };
        thread::Builder::new().name("network".to_owned()).spawn(work).map_err(cannot("start a thread"))?;
        let created = created.await.map_err(|_| thread_ended())??;
        Ok((Self(jobs), created))
    }

    /// Loads rules, all of them or none.
    pub async fn load(&self, rules: String) -> Result<(), NetworkError> {
        self.run(|answer| Job::Load(rules, answer)).await
    }

    /// Counts what the guest has sent to the host's network and received from there.
    pub async fn read_traffic(&self) -> Result<Traffic, NetworkError> {
        self.run(Job::ReadTraffic).await
    }

    /// Creates a TCP socket inside the namespace. It does not block.
    pub async fn open_socket(&self) -> Result<OwnedFd, NetworkError> {
        self.run(Job::OpenSocket).await
    }

    /// Takes the namespace's link to the host down, for good.
    pub async fn disconnect(&self) -> Result<(), NetworkError> {
        self.run(Job::Disconnect).await
    }

    async fn run<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, NetworkError>>) -> Job,
    ) -> Result<T, NetworkError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(job(answer)).await.map_err(|_| thread_ended())?;
        answered.await.map_err(|_| thread_ended())?
    }
}

fn thread_ended() -> NetworkError {
    NetworkError::Unavailable("its thread ended".to_owned())
}

fn serve(mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        // A caller that is gone needs no answer.
        match job {
            Job::Load(rules, answer) => drop(answer.send(load_rules(&rules))),
            Job::ReadTraffic(answer) => drop(answer.send(read_traffic().map_err(cannot("count traffic")))),
            Job::OpenSocket(answer) => drop(answer.send(open_socket())),
            Job::Disconnect(answer) => drop(answer.send(disconnect())),
        }
    }
}

fn open_socket() -> Result<OwnedFd, NetworkError> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Inet, SockType::Stream, flags, None)
        .map_err(|errno| cannot("create a socket")(errno.into()))
}

fn disconnect() -> Result<(), NetworkError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(cannot("start the network's async runtime"))?.block_on(links::disconnect())
}

fn read_traffic() -> io::Result<Traffic> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    parse_traffic(&table).ok_or_else(|| io::Error::other("the link to the host is missing"))
}

/// Finds the uplink's line. Its first number counts received bytes, its ninth sent ones.
fn parse_traffic(table: &str) -> Option<Traffic> {
    let numbers = table.lines().find_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        (name.trim() == links::UPLINK).then_some(numbers)
    })?;
    let mut numbers = numbers.split_whitespace().map(str::parse);
    let received_bytes = numbers.next()?.ok()?;
    let sent_bytes = numbers.nth(7)?.ok()?;
    Some(Traffic { sent_bytes, received_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_that_of_the_uplink() {
        let table = "Inter-|   Receive                      |  Transmit\n \
                     face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n \
                     guest: 11 1 0 0 0 0 0 0 12 1 0 0 0 0 0 0\n    \
                     up: 3456 7 0 0 0 0 0 0 789 5 0 0 0 0 0 0\n";
        assert_eq!(parse_traffic(table), Some(Traffic { sent_bytes: 789, received_bytes: 3456 }));
        assert_eq!(parse_traffic("lo: 1"), None);
    }
}
