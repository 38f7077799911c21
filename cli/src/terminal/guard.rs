//! Raw mode with a way back. The guard restores on drop; the panic hook restores before a panic's words are printed, so that
//! they can be read. Signals are the caller's: it leaves its loop on them and drops the guard.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, Once, PoisonError},
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::modes::Modes;

/// What is to be restored: at most one terminal is ours. Global, because the panic hook has no other way to it.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);
static HOOK: Once = Once::new();

struct Saved {
    terminal: OwnedFd,
    settings: Termios,
    /// What the remote programs have switched on in it.
    modes: Modes,
}

/// Raw mode for as long as it lives.
#[derive(Debug)]
pub struct RawTerminal(());

#[derive(Debug, thiserror::Error)]
pub enum RawError {
    #[error("standard input is not a terminal")]
    NotATerminal,
    #[error("the terminal is in raw mode already")]
    Nested,
    #[error("the terminal's settings cannot be changed")]
    Io(#[from] io::Error),
}

impl RawTerminal {
    /// Standard input becomes raw.
    pub fn enter() -> Result<Self, RawError> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Err(RawError::NotATerminal);
        }
        Self::enter_on(stdin.as_fd().try_clone_to_owned()?)
    }

    /// `terminal` becomes raw.
    pub fn enter_on(terminal: OwnedFd) -> Result<Self, RawError> {
        HOOK.call_once(restore_before_panic_is_told);
        let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.is_some() {
            return Err(RawError::Nested);
        }
        let settings = tcgetattr(&terminal).map_err(io::Error::from)?;
        let mut raw = settings.clone();
        raw.make_raw();
        // Kept first: whatever happens after the change finds the way back.
        let saved = saved.insert(Saved { terminal, settings, modes: Modes::default() });
        if let Err(errno) = tcsetattr(&saved.terminal, OptionalActions::Drain, &raw) {
            drop(SAVED.lock().map(|mut saved| saved.take()));
            return Err(io::Error::from(errno).into());
        }
        Ok(Self(()))
    }

    /// Remembers what remote output switches on, to switch it off at the end.
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

/// Gives the terminal back as it was. May be called at any time, any number of times.
pub fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Saved { terminal, settings, modes }) = saved {
        let reset = modes.reset();
        let mut file = std::fs::File::from(terminal);
        // A terminal that is gone (SIGHUP) needs nothing.
        let _ = file.write_all(&reset);
        let _ = tcsetattr(&file, OptionalActions::Now, &settings);
    }
}

fn restore_before_panic_is_told() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        tell(panic);
    }));
}
