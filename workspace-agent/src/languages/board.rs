//! What all clients see of the language servers: their states, and the diagnostics of files.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use protocol::languages::{FileDiagnostics, LanguageEvent, LanguageServer, MAX_DIAGNOSTICS, Severity};
use tokio::sync::broadcast;

/// Most events that wait for one client. A client that lags behind gets the whole state again.
const MAX_QUEUED_EVENTS: usize = 256;

/// The present state, and those who follow it.
pub struct Board {
    state: Mutex<State>,
    events: broadcast::Sender<LanguageEvent>,
}

#[derive(Default)]
struct State {
    /// By language.
    servers: BTreeMap<&'static str, LanguageServer>,
    /// By language and path.
    diagnostics: BTreeMap<(&'static str, String), FileDiagnostics>,
    /// Diagnostics of all files.
    count: usize,
}

impl State {
    fn servers(&self) -> LanguageEvent {
        LanguageEvent::Servers { servers: self.servers.values().cloned().collect() }
    }
}

impl Default for Board {
    fn default() -> Self {
        Self { state: Mutex::default(), events: broadcast::Sender::new(MAX_QUEUED_EVENTS) }
    }
}

impl Board {
    /// The present state as events, and the events that follow.
    pub fn subscribe(&self) -> (Vec<LanguageEvent>, broadcast::Receiver<LanguageEvent>) {
        let state = self.state();
        let mut snapshot = vec![LanguageEvent::Reset, state.servers()];
        snapshot.extend(state.diagnostics.values().cloned().map(LanguageEvent::Diagnostics));
        (snapshot, self.events.subscribe())
    }

    /// The states of all servers.
    pub fn servers(&self) -> LanguageEvent {
        self.state().servers()
    }

    /// Replaces the state of the server of a language.
    pub fn set_server(&self, language: &'static str, server: LanguageServer) {
        let mut state = self.state();
        if state.servers.get(language) != Some(&server) {
            state.servers.insert(language, server);
            let event = state.servers();
            self.send(event);
        }
    }

    /// Replaces the diagnostics of a file. Those that would be too many are left out.
    pub fn set_diagnostics(&self, language: &'static str, mut file: FileDiagnostics) {
        let mut state = self.state();
        let key = (language, file.path.clone());
        let before = state.diagnostics.remove(&key);
        state.count -= before.as_ref().map_or(0, |before| before.diagnostics.len());
        let room = MAX_DIAGNOSTICS - state.count;
        if file.diagnostics.len() > room {
            file.diagnostics.truncate(room);
            file.truncated = true;
        }
        let is_empty = file.diagnostics.is_empty() && !file.truncated;
        if is_empty && before.is_none() {
            return;
        }
        if !is_empty {
            state.count += file.diagnostics.len();
            state.diagnostics.insert(key, file.clone());
        }
        self.send(LanguageEvent::Diagnostics(file));
    }

    /// Forgets all diagnostics of a server that has ended.
    pub fn clear_diagnostics(&self, language: &'static str) {
        let mut state = self.state();
        let paths: Vec<String> = state
            .diagnostics
            .keys()
            .filter(|(of, _)| *of == language)
            .map(|(_, path)| path.clone())
            .collect();
        for path in paths {
            let removed = state.diagnostics.remove(&(language, path.clone()));
            state.count -= removed.map_or(0, |removed| removed.diagnostics.len());
            self.send(LanguageEvent::Diagnostics(FileDiagnostics {
                path,
                language: language.to_owned(),
                ..FileDiagnostics::default()
            }));
        }
    }

    /// Passes on what a server says.
    pub fn show_message(&self, server: &str, severity: Severity, text: String) {
        self.send(LanguageEvent::Message { server: server.to_owned(), severity, text });
    }

    fn send(&self, event: LanguageEvent) {
        // Fails if nobody follows, which needs no action.
        let _ = self.events.send(event);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use protocol::languages::{Diagnostic, TextRange};

    use super::*;

    fn file(path: &str, count: usize) -> FileDiagnostics {
        let diagnostic = Diagnostic {
            range: TextRange::default(),
            severity: Severity::Error,
            message: "x".to_owned(),
            source: None,
            code: None,
            unnecessary: false,
            deprecated: false,
        };
        FileDiagnostics {
            path: path.to_owned(),
            language: "python".to_owned(),
            diagnostics: vec![diagnostic; count],
            ..FileDiagnostics::default()
        }
    }

    fn counts(board: &Board) -> Vec<(String, usize, bool)> {
        let events = board.subscribe().0.into_iter();
        events
            .filter_map(|event| match event {
                LanguageEvent::Diagnostics(file) => Some((file.path, file.diagnostics.len(), file.truncated)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn diagnostics_are_limited_together() {
        let board = Board::default();
        for name in ["a", "b"] {
            board.set_diagnostics("python", file(name, MAX_DIAGNOSTICS - 1));
        }
        assert_eq!(counts(&board), [("a".to_owned(), MAX_DIAGNOSTICS - 1, false), ("b".to_owned(), 1, true)]);
        board.set_diagnostics("python", file("a", 0));
        board.set_diagnostics("python", file("b", 3));
        assert_eq!(counts(&board), [("b".to_owned(), 3, false)]);
        board.clear_diagnostics("go");
        assert_eq!(counts(&board).len(), 1);
        board.clear_diagnostics("python");
        assert!(counts(&board).is_empty());
        board.set_diagnostics("python", file("a", MAX_DIAGNOSTICS));
        assert_eq!(counts(&board), [("a".to_owned(), MAX_DIAGNOSTICS, false)]);
    }
}
