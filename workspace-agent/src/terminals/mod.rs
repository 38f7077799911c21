//! Terminals: PTYs that outlive their viewers. The routes and the list.

mod attach;
mod ring;
mod screen;
mod sequence;
mod terminal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json,
    extract::{Path, Query, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use protocol::{
    Code, TerminalId,
    terminal::{AttachQuery, MAX_TERMINALS, NewTerminal, TerminalInfo, TerminalList},
};
use terminal::Terminal;

use crate::{
    app::{App, may_write},
    problem::{Answer, Refusal},
    socket,
};

/// Most ended terminals that stay in the list, for whoever wants to read how they ended.
const MAX_ENDED: usize = 16;

#[derive(Default)]
pub struct Terminals(Mutex<Vec<Arc<Terminal>>>);

impl Terminals {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<Terminal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: TerminalId) -> Answer<Arc<Terminal>> {
        let found = self.list().iter().find(|terminal| terminal.id == id).cloned();
        found.ok_or_else(|| {
            Refusal::new(Code::NotFound, "There is no such terminal; it may have been closed.")
        })
    }

    pub fn count(&self) -> usize {
        self.list().len()
    }

    /// Makes room for one more, at the cost of the oldest that have ended.
    fn make_room(list: &mut Vec<Arc<Terminal>>) -> Answer<()> {
        while list.iter().filter(|terminal| terminal.has_ended()).count() >= MAX_ENDED
            || list.len() >= MAX_TERMINALS
        {
            let oldest = list.iter().position(|terminal| terminal.has_ended()).ok_or_else(|| {
                Refusal::new(
                    Code::QuotaExceeded,
                    format!("{MAX_TERMINALS} terminals are open: close one first."),
                )
            })?;
            list.remove(oldest);
        }
        Ok(())
    }
}

pub async fn list(State(app): State<Arc<App>>) -> Json<TerminalList> {
    Json(TerminalList { terminals: app.terminals.list().iter().map(|terminal| terminal.info()).collect() })
}

pub async fn create(
    State(app): State<Arc<App>>,
    body: Option<Json<NewTerminal>>,
) -> Answer<(StatusCode, Json<TerminalInfo>)> {
    app.require_ready()?;
    let request = body.map(|Json(request)| request).unwrap_or_default();
    let created_at = crate::now_millis();
    let starting = tokio::task::spawn_blocking(move || {
        let mut list = app.terminals.list();
        Terminals::make_room(&mut list)?;
        let terminal = Terminal::start(&app.person, &request, created_at).map_err(|error| {
            Refusal::new(Code::Unavailable, format!("The program did not start: {error:#}."))
        })?;
        list.push(terminal.clone());
        Ok::<_, Refusal>(terminal)
    });
    let terminal =
        starting.await.map_err(|_| Refusal::new(Code::Internal, "Starting the terminal failed."))??;
    Ok((StatusCode::CREATED, Json(terminal.info())))
}

pub async fn show(State(app): State<Arc<App>>, Path(id): Path<TerminalId>) -> Answer<Json<TerminalInfo>> {
    Ok(Json(app.terminals.find(id)?.info()))
}

pub async fn delete(State(app): State<Arc<App>>, Path(id): Path<TerminalId>) -> Answer<StatusCode> {
    let terminal = app.terminals.find(id)?;
    terminal.hang_up();
    app.terminals.list().retain(|terminal| terminal.id != id);
    Ok(StatusCode::NO_CONTENT)
}

pub async fn attach(
    State(app): State<Arc<App>>,
    Path(id): Path<TerminalId>,
    Query(mut attach): Query<AttachQuery>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Answer<Response> {
    if !attach.is_valid() {
        return Err(Refusal::new(Code::Invalid, "`client` must be 1 to 64 letters, digits or hyphens."));
    }
    // Whoever only watches sees the terminal as it is.
    if !may_write(&headers) {
        (attach.cols, attach.rows) = (None, None);
    }
    let terminal = app.terminals.find(id)?;
    Ok(socket::accept(upgrade, move |socket| attach::serve(terminal, attach, socket)))
}

/// See [`crate::fuzzing`].
pub fn fuzz(output: &[u8]) {
    screen::fuzz(output);
}
