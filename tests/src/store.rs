//! A store that shares no code with ours, and the line to it, which a test makes slow, cuts and mends.

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

/// What is carried at once.
const PIECE_BYTES: usize = 64 * 1024;
/// What a line holds while it delays.
const PIECES_UNDER_WAY: usize = 64;

impl Moto {
    /// Starts it with one bucket. The task runner installs it.
    pub async fn start(bucket: &str) -> Self {
        let installed = || target_directory().join("moto-venv/bin/moto_server");
        let server = std::env::var_os("BURROW_MOTO_SERVER").map_or_else(installed, PathBuf::from);
        let moto = tokio::task::spawn_blocking(|| Self::listen(server)).await.expect("starts");
        let made = client().put(format!("http://{}/{bucket}", moto.address)).send().await;
        assert!(made.expect("it answers").status().is_success(), "the bucket is made");
        moto
    }
}

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Passes,
    /// It waits on the way, both ways; connections stay open.
    Stalls,
    /// Connections are closed, those that are open too.
    Breaks,
}

/// A line to an address, at an address of its own.
pub struct Line {
    pub address: SocketAddr,
    flow: watch::Sender<Flow>,
    carrying: JoinHandle<()>,
}

impl Line {
    pub async fn to(there: SocketAddr) -> Self {
        Self::with_delay(there, Duration::ZERO).await
    }

    /// What is sent there arrives so much later; what comes back does not.
    pub async fn with_delay(there: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (flow, seen) = watch::channel(Flow::Passes);
        let carrying = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((here, _)) = listener.accept().await {
                connections.spawn(connection(here, there, delay, seen.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, flow, carrying }
    }

    pub fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn connection(here: TcpStream, there: SocketAddr, delay: Duration, flow: watch::Receiver<Flow>) {
    let Ok(there) = TcpStream::connect(there).await else { return };
    let ((from_here, to_here), (from_there, to_there)) = (here.into_split(), there.into_split());
    tokio::select! {
        () = carry(from_here, to_there, delay, flow.clone()) => {}
        () = carry(from_there, to_here, Duration::ZERO, flow) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut flow: watch::Receiver<Flow>,
) {
    let (arriving, mut under_way) = mpsc::channel(PIECES_UNDER_WAY);
    let mut seen = flow.clone();
    let taking = async move {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = tokio::select! {
                read = from.read(&mut piece) => read.unwrap_or(0),
                () = is(&mut seen, |flow| flow == Flow::Breaks) => 0,
            };
            piece.truncate(read);
            if read == 0 || arriving.send((Instant::now() + delay, piece)).await.is_err() {
                return;
            }
        }
    };
    let giving = async {
        while let Some((due, piece)) = under_way.recv().await {
            sleep_until(due).await;
            is(&mut flow, |flow| flow != Flow::Stalls).await;
            let breaks = *flow.borrow() == Flow::Breaks;
            if breaks || to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        // With the last piece's arrival, or the first that does not arrive.
        () = giving => {}
        () = async { taking.await; pending().await } => {}
    }
}

/// Waits for it; a line that is gone is as one that breaks.
async fn is(flow: &mut watch::Receiver<Flow>, wanted: impl Fn(Flow) -> bool) {
    let _ = flow.wait_for(|flow| wanted(*flow)).await;
}
