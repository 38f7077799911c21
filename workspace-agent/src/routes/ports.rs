//! Ports that programs listen on, and connections to them.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State, WebSocketUpgrade},
    response::Response,
};
use hyper_util::rt::TokioIo;
use protocol::{
    Code,
    ports::{PortList, parse_port},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
    time::timeout,
};
use transport::{
    log_cut,
    splice::{SpliceEnd, splice},
};

use crate::{
    error::{ApiError, ApiResult},
    ports::{self, PortWatch},
    socket::{self, CLOSE_NORMAL, CloseReason, Disconnected, Incoming, Socket, SocketReceiver, SocketSender},
    state::AgentState,
};

/// Most bytes of one message of a connection.
const MAX_CHUNK_BYTES: usize = 16 * 1024;
/// How long a stream may take from our answer to its upgrade.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// List open ports
///
/// Returns the TCP ports that programs listen on, if the loopback interface reaches them.
#[utoipa::path(
    get,
    path = "/ports",
    tag = "ports",
    responses((status = 200, description = "The ports, in ascending order.", body = PortList)),
)]
pub async fn list_ports() -> ApiResult<Json<PortList>> {
    Ok(Json(ports::list().await?))
}

/// Watch open ports
///
/// Opens a WebSocket that sends a JSON `PortList`: the ports at present, again within about a second of each
/// change, and as the answer to every message of the client, which may be empty.
#[utoipa::path(
    get,
    path = "/ports/watch",
    tag = "ports",
    responses(
        (status = 101, description = "The connection is now a WebSocket."),
        (status = 400, description = "`bad_request`: not a WebSocket upgrade."),
    ),
)]
pub async fn watch_ports(State(state): State<Arc<AgentState>>, upgrade: WebSocketUpgrade) -> Response {
    socket::accept(upgrade, state.tasks(), |mut socket| async move {
        // The client has disconnected, so the result has no reader.
        let _ = send_changes(&mut socket).await;
    })
}

async fn send_changes(socket: &mut Socket) -> Result<(), Disconnected> {
    let mut watch = PortWatch::new();
    let mut ports = PortList::default();
    loop {
        tokio::select! {
            message = socket.receive() => {
                message.ok_or(Disconnected)?;
            }
            changed = watch.next() => match changed {
                Ok(changed) => ports = changed,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the tables of sockets");
                    return Err(Disconnected);
                }
            },
        }
        socket.send_json(&ports).await?;
    }
}

/// Connect to a port
///
/// Opens a WebSocket for one TCP connection to a port on the workspace's loopback interface: 127.0.0.1, else
/// ::1. Binary messages are its bytes, in both directions. An empty message says that its sender sends
/// nothing more. The server closes the WebSocket with 1000 when the connection has ended. Requires write
/// access.
#[utoipa::path(
    get,
    path = "/ports/{port}/connect",
    tag = "ports",
    params(("port" = u16, Path, description = "The port.")),
    responses(
        (status = 101, description = "The connection is now a WebSocket."),
        (status = 400, description = "`bad_request`: not a WebSocket upgrade."),
        (status = 404, description = "`not_found`: nothing listens on the port, or no such workspace."),
    ),
)]
pub async fn connect_port(
    State(state): State<Arc<AgentState>>,
    Path(port): Path<String>,
    upgrade: WebSocketUpgrade,
) -> ApiResult<Response> {
    let stream = connect(&state, &port).await?;
    Ok(socket::accept(upgrade, state.tasks(), |socket| async move {
        let (sender, receiver) = socket.split();
        copy_connection(sender, receiver, stream).await;
    }))
}

/// Connects a preview to a port. The stream's bytes are those of the connection. Only the gateway can open
/// it, with a grant for the port.
pub async fn stream_port(
    State(state): State<Arc<AgentState>>,
    Path(port): Path<String>,
    mut request: Request,
) -> ApiResult<Response> {
    let stream = connect(&state, &port).await?;
    let on_upgrade = hyper::upgrade::on(&mut request);
    state.tasks().spawn(async move {
        let client = match timeout(UPGRADE_TIMEOUT, on_upgrade).await {
            Ok(Ok(client)) => TokioIo::new(client),
            Ok(Err(error)) => return tracing::debug!(%error, "the client has left during the upgrade"),
            Err(_) => return tracing::debug!("a stream did not open in time"),
        };
        if let SpliceEnd::Failed(error) = splice(client, stream, pending(), None).await {
            log_cut(&error, "a connection to a port was cut");
        }
    });
    Ok(Response::new(Body::empty()))
}

/// Connects to a port. That counts as a use of the workspace. An attempt does not, because pages that wait
/// for a program repeat it, and an open connection does not, because pages in the background keep theirs.
async fn connect(state: &AgentState, port: &str) -> ApiResult<TcpStream> {
    let port = parse_port(port).ok_or_else(|| ApiError::new(Code::NotFound, "There is no such port."))?;
    let stream = ports::connect(port).await.map_err(|error| {
        ApiError::new(Code::NotFound, format!("Cannot connect to port {port} of the workspace: {error}."))
    })?;
    state.activity.record();
    Ok(stream)
}

/// Copies both directions until both have ended, or the peer has left.
async fn copy_connection(mut sender: SocketSender, receiver: SocketReceiver, stream: TcpStream) {
    let (from_program, to_program) = tokio::io::split(stream);
    let has_ended = {
        let mut output = pin!(send_output(&mut sender, from_program));
        let mut input = pin!(receive_input(receiver, to_program));
        tokio::select! {
            sent = &mut output => sent.is_ok() && input.await,
            has_ended = &mut input => has_ended && output.await.is_ok(),
        }
    };
    if has_ended {
        sender.close(CloseReason { code: CLOSE_NORMAL, reason: "the connection has ended" }).await;
    }
}

/// Sends what the program sends, and an empty message at its end.
async fn send_output(sender: &mut SocketSender, mut from: ReadHalf<TcpStream>) -> Result<(), Disconnected> {
    let mut chunk = vec![0; MAX_CHUNK_BYTES];
    loop {
        // A broken connection has ended, too.
        let length = from.read(&mut chunk).await.unwrap_or(0);
        sender.send_binary(chunk[..length].to_vec()).await?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// Passes on what the client sends, until it sends nothing more or the program takes nothing more. False: the
/// client has left.
async fn receive_input(mut receiver: SocketReceiver, mut to: WriteHalf<TcpStream>) -> bool {
    while let Some(message) = receiver.receive().await {
        let Incoming::Binary(bytes) = message else { continue };
        if bytes.is_empty() {
            // A connection that is broken already has ended, too.
            let _ = to.shutdown().await;
            return true;
        }
        if to.write_all(&bytes).await.is_err() {
            return true;
        }
    }
    false
}
