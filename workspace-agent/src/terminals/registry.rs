//! All terminals of the workspace.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use protocol::{
    Code, TerminalId,
    idle::MAX_AWAKE_REASONS,
    terminal::{MAX_TERMINALS, NewTerminal, TerminalInfo},
};

use super::{shell_integration::ShellIntegration, terminal::Terminal};
use crate::{
    error::{ApiError, ApiResult},
    tasks::Tasks,
    user::{DirectoryError, GuestUser},
};

/// Most terminals whose program has ended. They stay in the list so that clients can see how they
/// ended.
const MAX_ENDED: usize = 16;

/// The list of terminals, the oldest first.
#[derive(Default)]
pub struct TerminalRegistry {
    terminals: Mutex<Vec<Arc<Terminal>>>,
    shells: ShellIntegration,
}

impl TerminalRegistry {
    /// Number of terminals, including those that have ended.
    pub fn count(&self) -> usize {
        self.terminals().len()
    }

    /// Describes all terminals.
    pub fn list(&self) -> Vec<TerminalInfo> {
        self.terminals().iter().map(|terminal| terminal.info()).collect()
    }

    /// When a client last typed into one of them. None without terminals.
    pub fn last_input(&self) -> Option<Instant> {
        self.terminals().iter().map(|terminal| terminal.last_input()).max()
    }

    /// The programs that run in the foreground of terminals, by their names, at most
    /// [`MAX_AWAKE_REASONS`].
    pub fn jobs(&self) -> Vec<String> {
        self.terminals().iter().filter_map(|terminal| terminal.job()).take(MAX_AWAKE_REASONS).collect()
    }

    /// Shows a line in all of them.
    pub fn show_notice(&self, text: &str) {
        for terminal in self.terminals().iter() {
            terminal.show_notice(text);
        }
    }

    /// Finds a terminal.
    pub fn find(&self, id: TerminalId) -> ApiResult<Arc<Terminal>> {
        let terminal = self.terminals().iter().find(|terminal| terminal.id == id).cloned();
        terminal.ok_or_else(|| {
            ApiError::new(Code::NotFound, "The terminal does not exist. It may have been closed.")
        })
    }

    /// Starts a program in a new terminal. Blocks while the program starts.
    pub fn create(&self, user: &GuestUser, request: &NewTerminal, tasks: &Tasks) -> ApiResult<Arc<Terminal>> {
        let mut terminals = self.terminals();
        make_room(&mut terminals)?;
        let terminal = Terminal::start(user, &self.shells, request, tasks)
            .map_err(|error| start_error(error, request))?;
        terminals.push(terminal.clone());
        Ok(terminal)
    }

    /// Hangs up a terminal's program and removes the terminal.
    pub fn delete(&self, id: TerminalId) -> ApiResult<()> {
        self.find(id)?.hang_up();
        self.terminals().retain(|terminal| terminal.id != id);
        Ok(())
    }

    fn terminals(&self) -> MutexGuard<'_, Vec<Arc<Terminal>>> {
        self.terminals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_error(error: anyhow::Error, request: &NewTerminal) -> ApiError {
    if let Some(error) = error.downcast_ref::<DirectoryError>() {
        return ApiError::new(Code::Invalid, format!("{error}.")).with_field("directory", error.to_string());
    }
    let program = request.command.as_ref().and_then(|command| command.first());
    match program {
        // Without an error of the kernel, no directory of PATH has such a program.
        Some(program) if error.downcast_ref::<io::Error>().is_none() => {
            let reason = format!("Cannot start {program:?}: it does not exist, or it cannot be executed");
            ApiError::new(Code::Invalid, format!("{reason}.")).with_field("command", reason)
        }
        _ => ApiError::new(Code::Unavailable, format!("Cannot start the program: {error:#}.")),
    }
}

/// Makes room for one more terminal by removing the oldest that have ended.
fn make_room(terminals: &mut Vec<Arc<Terminal>>) -> ApiResult<()> {
    while terminals.iter().filter(|terminal| terminal.has_ended()).count() >= MAX_ENDED
        || terminals.len() >= MAX_TERMINALS
    {
        let oldest = terminals.iter().position(|terminal| terminal.has_ended()).ok_or_else(|| {
            ApiError::new(
                Code::QuotaExceeded,
                format!("Cannot open a terminal: {MAX_TERMINALS} are open. Close one first."),
            )
        })?;
        terminals.remove(oldest);
    }
    Ok(())
}
