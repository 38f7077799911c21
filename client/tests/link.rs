//! The link against a real axum server over a pair of streams.

use axum::{
    Router,
    extract::ws::{Message, WebSocketUpgrade},
    routing::{any, get},
};
use burrow_client::link::{Link, SocketError, empty};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::io::DuplexStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

fn serve(stream: DuplexStream) {
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/no", any(|| async { StatusCode::FORBIDDEN }))
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
    tokio::spawn(async move {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.enable_connect_protocol();
        drop(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)).await);
    });
}

async fn link() -> Link {
    let (near, far) = tokio::io::duplex(64 * 1024);
    serve(far);
    Link::over(near).await.expect("both speak HTTP/2")
}

#[tokio::test]
async fn requests_and_sockets_share_a_link() {
    let link = link().await;
    let raw = link.websocket("/echo?x=1", HeaderMap::new()).await.expect("accepted");
    let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
    let request = Request::get("/hello").body(empty()).expect("valid");
    let response = link.request(request).await.expect("answers");
    assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "hello");
    for message in [Message::Text("é".into()), Message::Binary(vec![0, 255].into())] {
        let message = match message {
            Message::Text(text) => tokio_tungstenite::tungstenite::Message::text(text.as_str()),
            Message::Binary(bytes) => tokio_tungstenite::tungstenite::Message::binary(bytes),
            _ => unreachable!("two kinds are sent"),
        };
        socket.send(message.clone()).await.expect("open");
        assert_eq!(socket.next().await.expect("open").expect("valid"), message);
    }
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_no_stream() {
    let refusal = link().await.websocket("/no", HeaderMap::new()).await.expect_err("refused");
    assert!(matches!(refusal, SocketError::Refused(response) if response.status() == StatusCode::FORBIDDEN));
}

#[tokio::test]
async fn a_dead_peer_is_noticed() {
    let (near, far) = tokio::io::duplex(1024);
    let connected = Link::over(near).await;
    drop(far);
    if let Ok(link) = connected {
        let request = Request::get("/hello").body(empty()).expect("valid");
        link.request(request).await.expect_err("nobody answers");
        assert!(link.is_closed());
    }
}
