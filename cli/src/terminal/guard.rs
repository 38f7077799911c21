//! Raw mode that is always restored.
//!
//! The guard restores the terminal when it is dropped. A panic hook restores it before the panic
//! message is printed, so that the message is readable. Signals are up to the caller, which must
//! leave its loop on them and drop the guard.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, Once, PoisonError},
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::modes::Modes;

/// The state to restore. There is at most one raw terminal. Global, because the panic hook cannot
/// reach it otherwise.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);
static HOOK: Once = Once::new();

struct Saved {
    terminal: OwnedFd,
    settings: Termios,
    /// The modes that remote programs have switched on.
    modes: Modes,
}

/// The user's terminal in raw mode. Dropping it restores the terminal.
#[derive(Debug)]
pub struct RawTerminal(());

/// Why a terminal cannot be put into raw mode.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// Standard input is a file or a pipe.
    #[error("standard input is not a terminal")]
    NotATerminal,
    /// Another [`RawTerminal`] of this process exists. Only one can restore the terminal.
    #[error("the terminal is already in raw mode")]
    Nested,
    /// The system refused to change the terminal.
    #[error("cannot change the settings of the terminal")]
    Io(#[from] io::Error),
}

impl RawTerminal {
    /// Puts standard input into raw mode.
    pub fn enter() -> Result<Self, RawError> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Err(RawError::NotATerminal);
        }
        Self::enter_on(stdin.as_fd().try_clone_to_owned()?)
    }

    /// Puts `terminal` into raw mode.
    pub fn enter_on(terminal: OwnedFd) -> Result<Self, RawError> {
        HOOK.call_once(install_panic_hook);
        let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.is_some() {
            return Err(RawError::Nested);
        }
        let settings = tcgetattr(&terminal).map_err(io::Error::from)?;
        let mut raw = settings.clone();
        raw.make_raw();
        // Save the settings first: a panic right after the change can then restore them.
        let saved = saved.insert(Saved { terminal, settings, modes: Modes::default() });
        if let Err(errno) = tcsetattr(&saved.terminal, OptionalActions::Drain, &raw) {
            drop(SAVED.lock().map(|mut saved| saved.take()));
            return Err(io::Error::from(errno).into());
        }
        Ok(Self(()))
    }

    /// Follows the modes that remote output switches on, so that the end can switch them off.
    pub fn observe(&self, output: &[u8]) {
        if let Some(saved) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            saved.modes.observe(output);
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal. May be called at any time and any number of times.
pub fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Saved { terminal, settings, modes }) = saved {
        let reset = modes.reset();
        let mut file = std::fs::File::from(terminal);
        // A terminal that was closed (SIGHUP) does not need it.
        let _ = file.write_all(&reset);
        let _ = tcsetattr(&file, OptionalActions::Now, &settings);
    }
}

fn install_panic_hook() {
    let print_panic = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        print_panic(panic);
    }));
}
