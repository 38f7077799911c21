//! A link against a real axum server, over a pair of in-memory streams.

use std::{future::pending, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::ws::{Message, WebSocketUpgrade},
    routing::{any, get},
};
use burrow_transport::{KeepAlive, Link, WebSocketError, body, serve_link};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::service::TowerToHyperService;
use tokio::{io::DuplexStream, runtime::Handle, sync::Notify, task::yield_now, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, protocol::Role},
};

fn serve(stream: DuplexStream) {
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/forbidden", any(|| async { StatusCode::FORBIDDEN }))
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
    drop(link);
    let none_left = async {
        while Handle::current().metrics().num_alive_tasks() > 0 {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), none_left).await.expect("no task is left");
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
