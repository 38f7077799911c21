//! WebSockets of a workspace: terminals, which outlive their connection, and programs, which do not.

use std::{future::Future, time::Duration};

use http::{HeaderValue, header};
use protocol::{WorkspaceId, agent::MAX_MESSAGE_BYTES, problem};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Error, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

use crate::{api::Api, error::ApiError};

mod exec;
mod terminal;

pub use exec::{Exec, ExecEvent, ExecReceiver, ExecSender};
pub use terminal::{InputFull, Terminal, TerminalEvent, TerminalInput};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connecting, the grant, and the way into the machine.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// Agents and we say something, if only a ping, far more often. A longer silence is a dead connection.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(75);
/// The library's default is 128 KiB for a socket.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Opens `rest` (below `agent/`, with its query).
async fn open(api: &Api, workspace: WorkspaceId, rest: &str) -> Result<Socket, ApiError> {
    let address = api.absolute(&format!("/api/v1/workspaces/{workspace}/agent/{rest}"));
    let unreachable = |late, source: Box<dyn std::error::Error + Send + Sync>| ApiError::Unreachable {
        url: api.url().to_owned(),
        late,
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
    // Keys must not wait for one another: no Nagle. On the heap: TLS makes the future large.
    let opening: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
        Box::pin(connect_async_with_config(request, Some(config), true));
    match timeout(OPEN_TIMEOUT, opening).await {
        Err(late) => Err(unreachable(true, late.into())),
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(answer))) => {
            let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
            let is_problem = text(header::CONTENT_TYPE.as_str())
                .is_some_and(|kind| kind.starts_with(problem::CONTENT_TYPE));
            let id = text(problem::REQUEST_ID_HEADER).map(str::to_owned);
            let body = answer.body().as_deref().unwrap_or_default();
            Err(ApiError::of_answer(api.url(), answer.status().as_u16(), id, is_problem, body))
        }
        Ok(Err(error)) => Err(unreachable(false, error.into())),
    }
}
