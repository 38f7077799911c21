//! WebSockets of a workspace: terminals, which reconnect, and programs and connections to ports, which end
//! with their connection.

use std::{future::Future, io, time::Duration};

use http::{HeaderValue, header};
use protocol::{
    TerminalId, WorkspaceId, agent::MAX_MESSAGE_BYTES, exec::ExecRequest, problem, terminal::TerminalSize,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{Error, client::IntoClientRequest as _, error::ProtocolError, protocol::WebSocketConfig},
};

use crate::{api::Api, error::ApiError, tls};

mod connect;
mod exec;
mod port;
mod terminal;

pub use exec::{Exec, ExecEvent, ExecReceiver, ExecSender};
pub use port::PortConnection;
pub use terminal::{InputFull, Terminal, TerminalEvent, TerminalInput};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longest time to open a WebSocket: connection, grant, and the relay to the agent.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// How often the client asks the agent for a sign of life. The web app does the same.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(4500);

/// Longest silence of a connection. The agent answers every heartbeat, so four that are not answered
/// mean a dead connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(18);

/// Why a connection ended that the other end has closed, in words for users.
const CLOSED_BY_PEER: &str = "the workspace or the server has closed it";

/// Read buffer of one WebSocket. The library's default is 128 KiB.
const READ_BUFFER_BYTES: usize = 16 * 1024;

impl Api {
    /// Attaches to a terminal. Fails if the first connection fails; [`Terminal`] reconnects after that.
    pub async fn attach(
        &self,
        workspace: WorkspaceId,
        terminal: TerminalId,
        size: TerminalSize,
    ) -> Result<Terminal, ApiError> {
        Terminal::attach(self.clone(), workspace, terminal, size).await
    }

    /// Starts a program in a workspace.
    pub async fn exec(&self, workspace: WorkspaceId, request: &ExecRequest) -> Result<Exec, ApiError> {
        Exec::start(self, workspace, request).await
    }
}

/// Opens the WebSocket at `rest`, a path below `agent/` with its query.
async fn open(api: &Api, workspace: WorkspaceId, rest: &str) -> Result<Socket, ApiError> {
    let address = api.absolute_url(&format!("/api/v1/workspaces/{workspace}/agent/{rest}"));
    let unreachable = |is_timeout, source: Box<dyn std::error::Error + Send + Sync>| ApiError::Unreachable {
        url: api.url().to_owned(),
        is_timeout,
        source,
    };
    let mut request = address
        .replacen("http", "ws", 1)
        .into_client_request()
        .map_err(|error| unreachable(false, error.into()))?;
    if let Some(token) = api.token() {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|error| ApiError::Setup { source: error.into() })?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    // Boxed, because TLS makes the future large.
    let opening: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async {
        let stream =
            connect::connect(api.url()).await.map_err(|error| Error::Io(std::io::Error::other(error)))?;
        let connector = Connector::Rustls(api.authorities().for_sockets());
        client_async_tls_with_config(request, stream, Some(config), Some(connector)).await
    });
    match timeout(OPEN_TIMEOUT, opening).await {
        Err(elapsed) => Err(unreachable(true, elapsed.into())),
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(response))) => {
            let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            let is_problem = text(header::CONTENT_TYPE.as_str())
                .is_some_and(|kind| kind.starts_with(problem::CONTENT_TYPE));
            let id = text(problem::REQUEST_ID_HEADER).map(str::to_owned);
            let body = response.body().as_deref().unwrap_or_default();
            Err(ApiError::from_response(api.url(), response.status().as_u16(), id, is_problem, body))
        }
        Ok(Err(error)) => match tls::certificate_problem(&error) {
            Some(problem) => Err(ApiError::Untrusted { url: api.url().to_owned(), problem }),
            None => Err(unreachable(false, describe(error))),
        },
    }
}

/// Makes the kernel drop what it has not sent yet when the connection is closed. Otherwise keys that were
/// typed into a dead network would arrive when it is back.
fn discard_unsent(socket: &Socket) {
    let stream = match socket.get_ref() {
        MaybeTlsStream::Plain(stream) => stream,
        MaybeTlsStream::Rustls(stream) => stream.get_ref().0,
        _ => return,
    };
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "cannot discard what was not sent");
    }
}

/// The error of a connection that was open.
fn broken(error: Error) -> ApiError {
    ApiError::broken(describe(error))
}

/// The error of a connection on which nothing has arrived for [`IDLE_TIMEOUT`].
fn silent() -> ApiError {
    ApiError::broken(format!("nothing has arrived for {} seconds", IDLE_TIMEOUT.as_secs()))
}

/// Whether the other end has closed the connection.
fn is_end(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// The cause of an error, in words for users. The library's words are those of its developers.
fn describe(error: Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::SendAfterClosing
            | ProtocolError::ReceivedAfterClosing
            | ProtocolError::HandshakeIncomplete,
        ) => CLOSED_BY_PEER.into(),
        // Which of the two arrives depends on whether the other end had read everything.
        Error::Io(error) if is_end(error.kind()) => CLOSED_BY_PEER.into(),
        Error::Io(error) => error.into(),
        Error::Tls(error) => error.into(),
        Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_) => {
            "what arrived is not from Burrow. A proxy in between may not relay WebSockets".into()
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_connection_has_one_description() {
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof]
        {
            assert_eq!(describe(Error::Io(kind.into())).to_string(), CLOSED_BY_PEER);
        }
        let other = describe(Error::Io(io::ErrorKind::HostUnreachable.into()));
        assert_ne!(other.to_string(), CLOSED_BY_PEER);
    }
}
