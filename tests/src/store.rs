//! An object store that shares no code with ours, and a proxy to it that tests slow down, stall and
//! break.

use std::{future::pending, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

pub use crate::moto::Moto;
use crate::{client, target_directory};

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Reads that the proxy holds while it delays them.
const MAX_DELAYED_READS: usize = 64;

impl Moto {
    /// Starts a server with one bucket. The task runner installs the program.
    pub async fn start(bucket: &str) -> Self {
        let installed = || target_directory().join("moto-venv/bin/moto_server");
        let server = std::env::var_os("BURROW_MOTO_SERVER").map_or_else(installed, PathBuf::from);
        let moto = tokio::task::spawn_blocking(|| Self::listen(server)).await.expect("starts");
        let made = client().put(format!("http://{}/{bucket}", moto.address)).send().await;
        assert!(made.expect("it answers").status().is_success(), "the bucket is made");
        moto
    }
}

/// What the proxy does with traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// Forward it.
    Forward,
    /// Hold it back in both directions. Connections stay open.
    Stall,
    /// Close all connections, also those that are open.
    Break,
}

/// A TCP proxy to one address.
pub struct Proxy {
    /// The address that the proxy listens on.
    pub address: SocketAddr,
    mode: watch::Sender<ProxyMode>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to `there` without delay.
    pub async fn to(there: SocketAddr) -> Self {
        Self::with_delay(there, Duration::ZERO).await
    }

    /// A proxy that delays what is sent to `there`, but not what comes back.
    pub async fn with_delay(there: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (mode, watcher) = watch::channel(ProxyMode::Forward);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                connections.spawn(connection(here, there, delay, watcher.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, mode, task }
    }

    /// Switches the mode, also for open connections.
    pub fn set(&self, mode: ProxyMode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(here: TcpStream, there: SocketAddr, delay: Duration, mode: watch::Receiver<ProxyMode>) {
    let Ok(there) = TcpStream::connect(there).await else { return };
    let ((from_here, to_here), (from_there, to_there)) = (here.into_split(), there.into_split());
    tokio::select! {
        () = forward(from_here, to_there, delay, mode.clone()) => {}
        () = forward(from_there, to_here, Duration::ZERO, mode) => {}
    }
}

/// Copies bytes in one direction until either side closes or the mode is [`ProxyMode::Break`].
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut mode: watch::Receiver<ProxyMode>,
) {
    let (queue, mut delayed) = mpsc::channel(MAX_DELAYED_READS);
    let mut watcher = mode.clone();
    let receive = async move {
        loop {
            let mut bytes = vec![0; READ_BYTES];
            let read = tokio::select! {
                read = from.read(&mut bytes) => read.unwrap_or(0),
                () = wait_for_mode(&mut watcher, |mode| mode == ProxyMode::Break) => 0,
            };
            bytes.truncate(read);
            if read == 0 || queue.send((Instant::now() + delay, bytes)).await.is_err() {
                return;
            }
        }
    };
    let send = async {
        while let Some((due, bytes)) = delayed.recv().await {
            sleep_until(due).await;
            wait_for_mode(&mut mode, |mode| mode != ProxyMode::Stall).await;
            let is_broken = *mode.borrow() == ProxyMode::Break;
            if is_broken || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        // Ends when the last bytes have arrived, or the first that cannot.
        () = send => {}
        () = async { receive.await; pending().await } => {}
    }
}

/// Waits for a mode. Returns at once if the proxy was dropped.
async fn wait_for_mode(mode: &mut watch::Receiver<ProxyMode>, is_wanted: impl Fn(ProxyMode) -> bool) {
    let _ = mode.wait_for(|mode| is_wanted(*mode)).await;
}
