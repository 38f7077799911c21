//! A link against a real axum server, over a pair of in-memory streams.

use std::{
    future::pending,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::ws::{Message, WebSocketUpgrade},
    response::Response,
    routing::{any, get},
};
use burrow_transport::{KeepAlive, Link, LinkError, StreamLimit, WebSocketError, body, serve_link, settings};
use futures_util::{SinkExt as _, StreamExt as _, future::poll_immediate};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper_util::service::TowerToHyperService;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    runtime::Handle,
    sync::Notify,
    task::yield_now,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, protocol::Role},
};

/// Longest wait for what happens at once. Shorter than any wait of a link itself.
const WAIT: Duration = Duration::from_secs(4);

fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/forbidden", any(|| async { StatusCode::FORBIDDEN }))
        .route("/stuck", get(pending::<StatusCode>))
        .route("/flood", any(flood))
        .route(
            "/echo",
            any(|upgrade: WebSocketUpgrade| async {
                upgrade.on_upgrade(|mut socket| async move {
                    while let Some(Ok(message)) = socket.recv().await {
                        if let Message::Binary(_) | Message::Text(_) = message {
                            socket.send(message).await.expect("the client reads");
                        }
                    }
                })
            }),
        );
    tokio::spawn(serve_link(stream, TowerToHyperService::new(app), KeepAlive::Ping));
}

/// Sends messages of the size in the query until the client is gone.
async fn flood(uri: Uri, upgrade: WebSocketUpgrade) -> Response {
    let bytes: usize = uri.query().expect("a size").parse().expect("a number");
    upgrade.on_upgrade(move |mut socket| async move {
        while socket.send(Message::Binary(vec![7; bytes].into())).await.is_ok() {}
    })
}

async fn connect() -> Link {
    let (near, far) = tokio::io::duplex(64 * 1024);
    serve(far);
    Link::handshake(near).await.expect("both speak HTTP/2")
}

#[tokio::test]
async fn link_carries_requests_and_websockets() {
    let link = connect().await;
    let raw = link.open_websocket("/echo?x=1", HeaderMap::new()).await.expect("accepted");
    let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    let request = Request::get("/hello").body(body::empty()).expect("valid");
    let response = link.request(request).await.expect("a response");
    assert_eq!(response.into_body().collect().await.expect("complete").to_bytes(), "hello");
    for message in [tungstenite::Message::text("é"), tungstenite::Message::binary(vec![0, 255])] {
        socket.send(message.clone()).await.expect("open");
        assert_eq!(socket.next().await.expect("open").expect("valid"), message);
    }
}

#[tokio::test]
async fn refused_websocket_returns_response() {
    let link = connect().await;
    let error = link.open_websocket("/forbidden", HeaderMap::new()).await.expect_err("refused");
    assert!(matches!(error, WebSocketError::Refused(response) if response.status() == StatusCode::FORBIDDEN));
}

async fn assert_hello(link: &Link) {
    let request = Request::get("/hello").body(body::empty()).expect("valid");
    let answered = async {
        let response = link.request(request).await.expect("a response");
        response.into_body().collect().await.expect("complete").to_bytes()
    };
    assert_eq!(timeout(WAIT, answered).await.expect("at once"), "hello");
}

#[tokio::test]
async fn full_link_refuses_at_once() {
    let link = connect().await;
    let mut sockets = Vec::new();
    for _ in 0..settings::MAX_WEBSOCKETS {
        sockets.push(link.open_websocket("/echo", HeaderMap::new()).await.expect("a place"));
    }
    let refused = timeout(WAIT, link.open_websocket("/echo", HeaderMap::new())).await.expect("at once");
    assert!(matches!(refused, Err(WebSocketError::Link(LinkError::Full(StreamLimit::WebSockets)))));
    // Requests have places of their own.
    assert_hello(&link).await;
    let stuck = || Request::get("/stuck").body(body::empty()).expect("valid");
    let mut requests = Vec::new();
    for _ in 0..settings::MAX_REQUESTS {
        let mut request = Box::pin(link.request(stuck()));
        assert!(poll_immediate(&mut request).await.is_none());
        requests.push(request);
    }
    let refused = timeout(WAIT, link.request(stuck())).await.expect("at once").expect_err("full");
    assert!(matches!(refused, LinkError::Full(StreamLimit::Requests)), "{refused:?}");
    // So have those of the link's owner.
    let reserved = Request::get("/hello").body(body::empty()).expect("valid");
    link.request_reserved(reserved, WAIT).await.expect("a place");
    // What ends frees its place.
    drop(requests);
    sockets.pop();
    assert_hello(&link).await;
    link.open_websocket("/echo", HeaderMap::new()).await.expect("a place");
}

#[tokio::test]
async fn stalled_streams_leave_room_for_others() {
    let link = connect().await;
    let mut stalled = Vec::new();
    // Large messages fill windows. Small ones use the library's budget for small frames.
    for query in ["50000"; 32].into_iter().chain(["1"; 12]) {
        let path = format!("/flood?{query}");
        stalled.push(link.open_websocket(&path, HeaderMap::new()).await.expect("accepted"));
        assert_hello(&link).await;
    }
    let raw = link.open_websocket("/echo", HeaderMap::new()).await.expect("accepted");
    let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    for number in 0..2000_u32 {
        socket.send(tungstenite::Message::binary(number.to_be_bytes().to_vec())).await.expect("open");
        let answer = timeout(WAIT, socket.next()).await.expect("in time").expect("open").expect("valid");
        assert_eq!(answer.into_data(), number.to_be_bytes().as_slice());
    }
}

/// A stream whose writes are counted.
struct CountedStream(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// As a document sends a change to many readers, or many terminals have output.
#[tokio::test]
async fn messages_of_many_streams_are_few_writes() {
    const STREAMS: usize = 50;
    const ROUNDS: usize = 20;
    let (near, far) = tokio::io::duplex(256 * 1024);
    let (writes, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    serve(CountedStream(far, answers.clone()));
    let link = Link::handshake(CountedStream(near, writes.clone())).await.expect("both speak HTTP/2");
    let mut sockets = Vec::new();
    for _ in 0..STREAMS {
        let raw = link.open_websocket("/echo", HeaderMap::new()).await.expect("accepted");
        sockets.push(WebSocketStream::from_raw_socket(raw, Role::Client, None).await);
    }
    let before = (writes.load(Ordering::Relaxed), answers.load(Ordering::Relaxed));
    for _ in 0..ROUNDS {
        for socket in &mut sockets {
            socket.send(tungstenite::Message::binary(vec![7; 500])).await.expect("open");
        }
        for socket in &mut sockets {
            let answer = timeout(WAIT, socket.next()).await.expect("in time").expect("open");
            assert_eq!(answer.expect("valid").len(), 500);
        }
    }
    let counted = (writes.load(Ordering::Relaxed) - before.0, answers.load(Ordering::Relaxed) - before.1);
    println!("{} messages each way: {counted:?} writes", STREAMS * ROUNDS);
    assert!(counted.0 <= 2 * ROUNDS && counted.1 <= 2 * ROUNDS, "{counted:?} writes in {ROUNDS} rounds");
}

/// What is collected for a slow socket is bounded, so a flood does not hold up what others say.
#[tokio::test]
async fn stream_passes_flood_of_others() {
    const FLOODS: usize = 8;
    let link = connect().await;
    let flooded = Arc::new(AtomicUsize::new(0));
    for _ in 0..FLOODS {
        let raw = link.open_websocket("/flood?4000", HeaderMap::new()).await.expect("accepted");
        let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
        let flooded = flooded.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                flooded.fetch_add(message.len(), Ordering::Relaxed);
                yield_now().await;
            }
        });
    }
    let raw = link.open_websocket("/echo", HeaderMap::new()).await.expect("accepted");
    let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    let mut most = 0;
    for _ in 0..200 {
        let before = flooded.load(Ordering::Relaxed);
        socket.send(tungstenite::Message::binary(vec![1; 10])).await.expect("open");
        timeout(WAIT, socket.next()).await.expect("in time").expect("open").expect("valid");
        most = most.max(flooded.load(Ordering::Relaxed) - before);
    }
    println!("at most {most} bytes of {FLOODS} floods pass before an answer");
    // The window of each flood, twice: what is on its way, and what is sent while the message is.
    let bound = 2 * FLOODS * settings::STREAM_WINDOW as usize;
    assert!(most <= bound, "{most} bytes");
    assert!(flooded.load(Ordering::Relaxed) > 1 << 20, "the floods go on");
}

#[tokio::test]
async fn cancelled_requests_leave_others_alone() {
    let link = connect().await;
    let raw = link.open_websocket("/echo", HeaderMap::new()).await.expect("accepted");
    let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    for _ in 0..30 {
        let mut burst = tokio::task::JoinSet::new();
        for _ in 0..settings::MAX_REQUESTS {
            let link = link.clone();
            let stuck = Request::get("/stuck").body(body::empty()).expect("valid");
            burst.spawn(async move { link.request(stuck).await.map(drop) });
        }
        yield_now().await;
        burst.shutdown().await;
    }
    socket.send(tungstenite::Message::text("still here")).await.expect("open");
    let answer = timeout(WAIT, socket.next()).await.expect("in time").expect("open").expect("valid");
    assert_eq!(answer.into_data(), "still here");
}

#[tokio::test]
async fn server_leaves_no_task_after_its_link() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let started = Arc::new(Notify::new());
    let handler_started = started.clone();
    let stuck = async move || {
        handler_started.notify_one();
        pending::<StatusCode>().await
    };
    let app = Router::new().route("/stuck", get(stuck));
    let server = tokio::spawn(serve_link(far, TowerToHyperService::new(app), KeepAlive::Ping));
    let link = Link::handshake(near).await.expect("both speak HTTP/2");
    let request = Request::get("/stuck").body(body::empty()).expect("valid");
    tokio::select! {
        answer = link.request(request) => panic!("{answer:?}"),
        () = started.notified() => {}
    }
    server.abort();
    // The client's tasks end with the link.
    drop(link);
    assert_no_task_is_left().await;
}

async fn assert_no_task_is_left() {
    let none_left = async {
        while Handle::current().metrics().num_alive_tasks() > 0 {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), none_left).await.expect("no task is left");
}

#[tokio::test]
async fn streams_outlive_the_clones_of_their_link() {
    let link = connect().await;
    let raw = link.open_websocket("/echo", HeaderMap::new()).await.expect("accepted");
    let request = Request::get("/hello").body(body::empty()).expect("valid");
    let response = link.request(request).await.expect("a response");
    drop(link);
    assert_eq!(response.into_body().collect().await.expect("complete").to_bytes(), "hello");
    let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    socket.send(tungstenite::Message::text("still here")).await.expect("open");
    let answer = timeout(WAIT, socket.next()).await.expect("in time").expect("open").expect("valid");
    assert_eq!(answer.into_data(), "still here");
    drop(socket);
    assert_no_task_is_left().await;
}

/// The peer stops reading, so nothing that waits to be sent is ever sent.
#[tokio::test]
async fn client_leaves_no_task_with_stalled_peer() {
    let (near, mut far) = tokio::io::duplex(1024);
    let (mut relay, server_end) = tokio::io::duplex(1024);
    serve(server_end);
    let link = {
        let copying = tokio::io::copy_bidirectional(&mut far, &mut relay);
        let handshake = Link::handshake(near);
        tokio::select! {
            link = handshake => link.expect("both speak HTTP/2"),
            copied = copying => panic!("{copied:?}"),
        }
    };
    // From here on nobody copies. The peer's tasks end; its end of the connection stays open.
    drop(relay);
    let upload = Request::post("/stuck").body(body::full(vec![0; 1 << 20])).expect("valid");
    let mut request = Box::pin(link.request(upload));
    assert!(poll_immediate(&mut request).await.is_none());
    yield_now().await;
    drop(request);
    drop(link);
    assert_no_task_is_left().await;
    drop(far);
}

#[tokio::test]
async fn link_to_dead_peer_is_closed() {
    let (near, far) = tokio::io::duplex(1024);
    let connected = Link::handshake(near).await;
    drop(far);
    if let Ok(link) = connected {
        let request = Request::get("/hello").body(body::empty()).expect("valid");
        link.request(request).await.expect_err("no peer");
        assert!(link.is_closed());
    }
}
