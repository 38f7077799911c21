//! Running one program without a terminal.

use std::sync::Arc;

use axum::{
    extract::{State, WebSocketUpgrade},
    response::Response,
};

use crate::{error::ApiResult, exec, socket, state::AgentState};

/// Run a program
///
/// Opens a WebSocket that runs one program without a terminal. The client's first message is text,
/// a JSON `ExecRequest` of at most 1 MiB. All other messages are binary; the first byte is the tag.
///
/// From the client:
/// - `0` standard input: at most 64 KiB of bytes.
/// - `1` end of standard input.
/// - `2` signal: its number in one byte, sent to the program's process group.
///
/// From the server:
/// - `1` standard output: bytes.
/// - `2` standard error: bytes.
/// - `3` end: JSON `ExecEnd`. The last message.
/// - `4` input accepted: big-endian `u64`, how many bytes of standard input the program has taken.
///   Send at most 256 KiB beyond it: until then, signals never wait behind input.
///
/// After the program has ended, the output of processes that it left running is passed on until they
/// close it, or until nothing arrives for `output_timeout_ms` (by default 10 s). Then the end has
/// `output_cut`. `PATH` is that of the user's login shell.
///
/// If the client disconnects, the program gets SIGHUP, and SIGKILL after 5 seconds. Close codes:
/// 1000 after the program has ended, 1007 if the first message is not an exec request. Requires
/// write access.
#[utoipa::path(
    get,
    path = "/exec",
    tag = "exec",
    responses(
        (status = 101, description = "The connection is now a WebSocket."),
        (status = 400, description = "`bad_request`: not a WebSocket upgrade."),
    ),
)]
pub async fn exec_program(
    State(state): State<Arc<AgentState>>,
    upgrade: WebSocketUpgrade,
) -> ApiResult<Response> {
    state.require_ready()?;
    let (user, login_path, running) = (state.user.clone(), state.login_path.clone(), state.clone());
    let serve = move |socket| async move {
        let (_use, _exec) = (running.activity.begin(), running.execs.begin());
        exec::serve(&user, &login_path, socket).await;
    };
    Ok(socket::accept(upgrade, state.tasks(), serve))
}
