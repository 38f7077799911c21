//! `burrow attach`: connects the user's terminal to one in the workspace, the same one that the
//! browser shows.

mod session;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use clap::Args;
use client::socket::Terminal;
use protocol::{
    TerminalId, WorkspaceId,
    api::workspace::Workspace,
    terminal::{ExitStatus as RemoteExit, NewTerminal, TerminalInfo, TerminalSize},
    workspace::Phase,
};
use tokio::time::Instant;

use self::session::{Session, SessionEnd};
use super::workspace::{self, WorkspaceArgument};
use crate::{
    context::Context,
    output::{CommandError, ErrorKind, ExitStatus},
    server::Server,
};

/// Used when the size of the user's terminal is not known.
const DEFAULT_SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };
/// A shell that ends within this time may have been ended by a start file.
const BROKEN_START: Duration = Duration::from_secs(2);

/// Attach to a terminal of a workspace
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow attach demo
  burrow attach demo --new
  burrow attach demo --plain-shell
  burrow attach demo --terminal 0199f0aa

Attaches to the most recent terminal, which the browser shows too, or opens a new one. At the
beginning of a line, ~. detaches and ~? lists the other escapes. The shell keeps running.

A lost connection is noticed within 20 seconds, and continues where it was. Keys that were typed
while it was lost for more than three seconds are dropped, with a notice.

Programs in the workspace may copy text to your clipboard (OSC 52), with a notice. They can never
read your clipboard.")]
pub struct Attach {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// Identifier of the terminal, or its beginning (see `burrow terminals`)
    #[arg(long, env = "BURROW_TERMINAL", value_name = "ID", conflicts_with = "new")]
    pub terminal: Option<String>,
    /// Open a new terminal
    #[arg(long, env = "BURROW_NEW")]
    pub new: bool,
    /// Open a new terminal whose shell reads no start files, if one of them ends or hangs the shell
    #[arg(long, env = "BURROW_PLAIN_SHELL", conflicts_with = "terminal")]
    pub plain_shell: bool,
    /// Do not let programs in the workspace copy to the clipboard; they can never read it
    #[arg(long, env = "BURROW_NO_CLIPBOARD")]
    pub no_clipboard: bool,
    /// Fail if the workspace is stopped, instead of starting it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
}

impl Attach {
    /// Attaches until the shell exits or the user detaches. Returns the exit status of the shell.
    pub async fn run(self, context: &Context) -> Result<ExitStatus, CommandError> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            let what = "Cannot attach: standard input and output must be a terminal";
            return Err(CommandError::new(ErrorKind::Usage, what)
                .hint("for scripts: burrow exec WORKSPACE -- PROGRAM"));
        }
        let server = context.server().map_err(connection_error)?;
        let (workspace, info, terminal) =
            open_terminal(context, &server, &self).await.map_err(connection_error)?;
        context.output.say(&format!("Attached to {} (~? for help)", workspace.name));
        let begun = Instant::now();
        let end = Session::begin(terminal, self.no_clipboard).map_err(connection_error)?.run().await;
        let again = format!("burrow attach {} --terminal {}", workspace.name, info.id);
        match end {
            SessionEnd::Exited(status) => {
                if begun.elapsed() < BROKEN_START && !self.plain_shell {
                    context.output.say(&format!(
                        "The shell ended at once. If a start file such as ~/.bashrc ends it: \
                         burrow attach {} --plain-shell",
                        workspace.name
                    ));
                }
                Ok(ExitStatus(status))
            }
            SessionEnd::Detached => {
                context.output.say(&format!("Detached. The shell keeps running. To return: {again}"));
                Ok(ExitStatus(0))
            }
            SessionEnd::Signalled(number) => Ok(ExitStatus(128 + number)),
            SessionEnd::Failed(error) => {
                let hint = advise_after_failure(&server, &workspace, again).await;
                Err(connection_error(error).hint(hint))
            }
        }
    }
}

/// How to continue after a lost connection. A terminal ends with its workspace, so after a stop its
/// identifier is of no use.
async fn advise_after_failure(server: &Server, workspace: &Workspace, again: String) -> String {
    match server.workspace(workspace.id).await {
        Ok(now) if now.phase == Phase::Running && now.epoch == workspace.epoch => again,
        Ok(now) => format!(
            "{}: its terminals have ended. To start a new one: burrow attach {}",
            workspace::state(&now),
            workspace.name
        ),
        Err(_) => again,
    }
}

/// Finds the workspace, starts it if needed, and opens the terminal.
async fn open_terminal(
    context: &Context,
    server: &Server,
    attach: &Attach,
) -> Result<(Workspace, TerminalInfo, Terminal), CommandError> {
    // A terminal of a workspace that is stopped has ended. Starting it would only find that out.
    if let Some(terminal) = &attach.terminal {
        let workspace = workspace::find(server, &attach.target.workspace).await?;
        if workspace.phase != Phase::Running {
            let what = format!(
                "Cannot attach to terminal `{terminal}`: workspace {} is not running, and its \
                 terminals have ended",
                workspace.name
            );
            return Err(CommandError::new(ErrorKind::NotFound, what)
                .hint(format!("burrow attach {}", attach.target.workspace)));
        }
    }
    let workspace =
        workspace::ensure_running(context, server, &attach.target.workspace, !attach.no_start).await?;
    let info = choose_terminal(server, workspace.id, attach).await?;
    let terminal = server.attach(workspace.id, info.id, size()).await?;
    Ok((workspace, info, terminal))
}

/// Gives an error of ours the one exit status that remote programs do not use, because theirs is
/// passed through.
fn connection_error(error: CommandError) -> CommandError {
    error.with_kind(ErrorKind::Connection)
}

/// The terminal to attach to: a new one, the one that `--terminal` names, or the most recent that
/// is alive.
async fn choose_terminal(
    server: &Server,
    workspace: WorkspaceId,
    attach: &Attach,
) -> Result<TerminalInfo, CommandError> {
    let new = NewTerminal { size: Some(size()), plain_shell: attach.plain_shell, ..NewTerminal::default() };
    if attach.new || attach.plain_shell {
        return Ok(server.create_terminal(workspace, &new).await?);
    }
    let terminals = server.terminals(workspace).await?.terminals;
    let Some(wanted) = &attach.terminal else {
        let alive = terminals.into_iter().filter(|terminal| terminal.exit.is_none());
        return match alive.max_by_key(|terminal| terminal.created_at) {
            Some(latest) => Ok(latest),
            None => Ok(server.create_terminal(workspace, &new).await?),
        };
    };
    let mut matching = terminals.into_iter().filter(|terminal| is_beginning_of(wanted, terminal.id));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(CommandError::new(ErrorKind::NotFound, format!("Cannot find terminal `{wanted}`"))
            .hint(format!("burrow terminals {}", attach.target.workspace))),
        (Some(_), Some(_)) => {
            Err(CommandError::new(ErrorKind::Usage, format!("Several terminals begin with `{wanted}`"))
                .hint(format!("burrow terminals {}", attach.target.workspace)))
        }
    }
}

/// Whether `text` is the beginning of this identifier.
fn is_beginning_of(text: &str, id: TerminalId) -> bool {
    !text.is_empty() && id.to_string().starts_with(&text.to_ascii_lowercase())
}

fn size() -> TerminalSize {
    match crossterm::terminal::size() {
        Ok((cols, rows)) if cols > 0 && rows > 0 => TerminalSize { cols, rows }.clamped(),
        _ => DEFAULT_SIZE,
    }
}

/// The exit status of a remote program. A guest may report any number, but a status has eight bits.
pub fn exit_status(exit: RemoteExit) -> u8 {
    u8::try_from(exit.status() & 0xff).unwrap_or(u8::MAX)
}
