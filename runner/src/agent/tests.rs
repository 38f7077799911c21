//! An agent that lies: a hostile guest answers the runner with anything. Each lie ends in an error, soon.

use std::time::Instant;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};
use transport::preamble::accept_preamble;

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` and `:status: 103` in HPACK.
const STATUS_200: &[u8] = &[0x88];
const STATUS_103: &[u8] = &[0x08, 3, b'1', b'0', b'3'];
/// The first stream of a client.
const STREAM: u32 = 1;
/// The timeout of the request, and time for a busy host.
const LIE_TIMEOUT: Duration = Duration::from_secs(30);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that is not in any table.
fn header() -> Vec<u8> {
    let mut header = vec![0x10, 4];
    header.extend(b"lies");
    header.push(100);
    header.extend([b'x'; 100]);
    header
}

/// What a lying agent sends: once, and then for ever.
struct Lie {
    has_preamble: bool,
    first: Vec<u8>,
    repeated: Vec<u8>,
}

/// A lie of an agent that speaks HTTP/2.
fn http(first: &[Vec<u8>], repeated: Vec<u8>) -> Lie {
    let first = [frame(SETTINGS, 0, 0, &[]), first.concat()].concat();
    Lie { has_preamble: true, first, repeated }
}

fn lies() -> Vec<(&'static str, Lie)> {
    let head = frame(HEADERS, END_HEADERS, STREAM, STATUS_200);
    let garbage = vec![0xa5; 4096];
    vec![
        ("garbage", Lie { has_preamble: false, first: vec![], repeated: garbage.clone() }),
        ("garbage after the preamble", Lie { has_preamble: true, first: vec![], repeated: garbage }),
        ("no answer", http(&[], vec![])),
        (
            "endless headers",
            http(&[frame(HEADERS, 0, STREAM, STATUS_200)], frame(CONTINUATION, 0, STREAM, &header())),
        ),
        ("endless informational responses", http(&[], frame(HEADERS, END_HEADERS, STREAM, STATUS_103))),
        ("an endless body", http(std::slice::from_ref(&head), frame(DATA, 0, STREAM, &[b' '; 8192]))),
        ("an endless body of nothing", http(std::slice::from_ref(&head), frame(DATA, 0, STREAM, &[]))),
        (
            "thousands of streams",
            http(&[], frame(PUSH, END_HEADERS, STREAM, &[&[0, 0, 0, 2], STATUS_200].concat())),
        ),
        ("data of streams that do not exist", http(&[], frame(DATA, 0, 4001, &[0; 64]))),
        ("a flood of settings", http(&[], frame(SETTINGS, 0, 0, &[]))),
        ("a flood of pings", http(&[], frame(PING, 0, 0, &[7; 8]))),
        ("a flood of resets", http(&[], frame(RESET, 0, STREAM, &[0, 0, 0, 8]))),
        (
            "an answer that is none",
            http(&[head, frame(DATA, END_STREAM, STREAM, b"{\"version\": [[[[")], vec![]),
        ),
    ]
}

/// Tells a lie. Reads what the client sends, and drops it.
async fn tell(mut stream: UnixStream, lie: &Lie) {
    if lie.has_preamble && accept_preamble(&mut stream).await.is_err() {
        return;
    }
    let (mut from, mut to) = stream.split();
    let mut buffer = [0; 4096];
    // The request must have arrived before its answer: preface and headers.
    if lie.has_preamble && from.read(&mut buffer).await.is_err() {
        return;
    }
    let write = async {
        let mut next = &lie.first;
        while to.write_all(next).await.is_ok() {
            next = &lie.repeated;
            if next.is_empty() {
                std::future::pending::<()>().await;
            }
        }
    };
    let read = async { while matches!(from.read(&mut buffer).await, Ok(1..)) {} };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}

/// Asks a lying agent for its health. Returns the error, and after how long.
async fn ask(lie: Lie) -> (AgentError, Duration) {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).expect("a listener");
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            tell(stream, &lie).await;
        }
    });
    let (agent, start) = (Agent::new(socket), Instant::now());
    let error = agent.health().await.expect_err("no lie is believed");
    serving.abort();
    (error, start.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_end_in_errors() {
    for (name, lie) in lies() {
        let (error, elapsed) = ask(lie).await;
        println!("{name}: {error} ({elapsed:?})");
        assert!(elapsed < LIE_TIMEOUT, "{name}: {elapsed:?}");
    }
}
