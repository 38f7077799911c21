//! Clients that open connections and do nothing, or read nothing, through a running gateway.

use std::time::Duration;

use axum::body::Body;
use burrow_gateway::Limits;
use http_body_util::BodyExt as _;
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use crate::harness::{Harness, in_time, limits};

mod harness;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn connect(harness: &Harness) -> TcpStream {
    in_time(TcpStream::connect(harness.address())).await.expect("connected")
}

/// Waits until the gateway closes the connection.
async fn closed(mut stream: TcpStream) {
    // The end may be an error: a reset.
    let _ = in_time(stream.read_to_end(&mut Vec::new())).await;
}

/// Sends a request and returns the first line of the response.
async fn status_line(mut stream: TcpStream) -> String {
    let request = b"GET /favicon.ico HTTP/1.1\r\nhost: burrow.test\r\nconnection: close\r\n\r\n";
    in_time(stream.write_all(request)).await.expect("sent");
    let mut response = Vec::new();
    in_time(stream.read_to_end(&mut response)).await.expect("a response");
    String::from_utf8_lossy(&response).lines().next().unwrap_or_default().to_owned()
}

/// An HTTP/2 client that accepts `window` bytes of each stream at first, and the task of its connection.
async fn http2_client(harness: &Harness, window: u32) -> (http2::SendRequest<Body>, JoinHandle<()>) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let opened = in_time(builder.handshake(TokioIo::new(connect(harness).await))).await;
    let (sender, connection) = opened.expect("opened");
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    (sender, task)
}

fn get(url: String) -> Request<Body> {
    Request::get(url).header("authorization", "Bearer anna").body(Body::empty()).expect("valid")
}

#[tokio::test]
async fn stalled_http2_response_is_reset() {
    let mut harness = Harness::new();
    let (mut sender, _connection) = http2_client(&harness, 0).await;
    let sent = sender.send_request(get(harness.agent_url("files/content?path=endless")));
    let mut response = in_time(sent).await.expect("a response");
    in_time(harness.seen.recv()).await.expect("seen");
    let frame = in_time(response.body_mut().frame()).await.expect("not the end of the file");
    assert!(frame.is_err(), "the response was cut");
    // The connection still serves.
    let sent = sender.send_request(get(harness.url("/favicon.ico")));
    assert_eq!(in_time(sent).await.expect("a response").status(), 404);
}

/// An HTTP/2 client at another address of the loopback network.
async fn http2_client_at(harness: &Harness, address: &str, window: u32) -> http2::SendRequest<Body> {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{address}:0").parse().expect("an address")).expect("bound");
    let stream = in_time(socket.connect(harness.address())).await.expect("connected");
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = in_time(builder.handshake(TokioIo::new(stream))).await.expect("opened");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    sender
}

#[tokio::test]
async fn stalled_responses_have_a_budget() {
    const BUDGET: usize = 4 * 1024 * 1024;
    let harness = Harness::with_limits(Limits {
        max_buffered_bytes: BUDGET,
        max_streams_per_session: 1000,
        write_timeout: Duration::from_secs(60),
        ..limits()
    });
    let mut stalled = http2_client_at(&harness, "127.0.0.2", 0).await;
    let mut responses = Vec::new();
    let refused = loop {
        let sent = stalled.send_request(get(harness.url("/api/v1/headers")));
        let response = in_time(sent).await.expect("a response");
        assert!(harness.gateway.buffered_bytes() <= BUDGET / 2, "one address has half of the budget");
        if response.status() != 200 {
            break response;
        }
        responses.push(response);
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(responses.len() >= 10, "{}", responses.len());
    let mut other = http2_client_at(&harness, "127.0.0.3", 65_535).await;
    let sent = other.send_request(get(harness.url("/api/v1/headers")));
    assert_eq!(in_time(sent).await.expect("a response").status(), 200);
    // What was reserved is free again when the client gives up.
    drop((stalled, responses, refused));
    in_time(async {
        while harness.gateway.buffered_bytes() > BUDGET / 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let harness =
        Harness::with_limits(Limits { request_head_timeout: Duration::from_millis(300), ..limits() });
    let starts: [&[u8]; 5] =
        [b"", b"P", b"PRI * HTTP/2.0\r\n", HTTP2_PREFACE, b"GET / HTTP/1.1\r\nhost: burrow.test\r\n"];
    for start in starts {
        let mut stream = connect(&harness).await;
        in_time(stream.write_all(start)).await.expect("sent");
        closed(stream).await;
    }
}

#[tokio::test]
async fn idle_http2_connection_is_closed() {
    let harness =
        Harness::with_limits(Limits { connection_idle_timeout: Duration::from_millis(200), ..limits() });
    let (mut sender, connection) = http2_client(&harness, 65_535).await;
    let sent = sender.send_request(get(harness.agent_url("files?path=")));
    in_time(in_time(sent).await.expect("a response").into_body().collect()).await.expect("complete");
    in_time(connection).await.expect("closed by the gateway");
}

#[tokio::test]
async fn silent_connections_lock_nobody_out() {
    // One address may have two silent connections.
    let harness = Harness::with_limits(Limits { max_connections: 32, ..limits() });
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(connect(&harness).await);
    }
    assert_eq!(status_line(connect(&harness).await).await, "HTTP/1.1 404 Not Found");
    let (newest, oldest) = (silent.pop().expect("one"), silent.swap_remove(0));
    closed(oldest).await;
    assert_eq!(status_line(newest).await, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn one_address_has_half_of_all_connections() {
    let harness = Harness::with_limits(Limits { max_connections: 16, ..limits() });
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (mut sender, connection) = http2_client(&harness, 65_535).await;
        let sent = sender.send_request(get(harness.url("/favicon.ico")));
        assert_eq!(in_time(sent).await.expect("a response").status(), 404);
        clients.push((sender, connection));
    }
    assert_eq!(status_line(connect(&harness).await).await, "HTTP/1.1 429 Too Many Requests");
    clients.truncate(4);
    // The gateway notices a closed connection a moment later.
    in_time(async { while status_line(connect(&harness).await).await != "HTTP/1.1 404 Not Found" {} }).await;
}
