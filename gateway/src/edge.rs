//! What the gateway knows, and the way of each request through it: origin, then the part that serves it, then the headers
//! that every answer carries.

use std::{net::IpAddr, path::Path, sync::Arc};

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use protocol::{Code, RequestId};

use crate::{
    Limits, assets,
    body::{check_length, downward, upward},
    controller::{Controller, PassError},
    headers,
    links::Links,
    origin::Origins,
    path::Target,
    refusal::{Outcome, Refusal},
    sessions::Sessions,
    websocket,
};

/// Largest request to the controller: a roster.
const MAX_API_BODY_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug)]
pub struct Edge {
    pub controller: Controller,
    pub links: Links,
    pub sessions: Arc<Sessions>,
    pub limits: Limits,
    pub tasks: daemon::Tasks,
    origins: Origins,
}

impl Edge {
    pub fn new(controller: &Path, origins: Vec<String>, limits: Limits, tasks: daemon::Tasks) -> Self {
        Self {
            controller: Controller::new(controller),
            links: Links::default(),
            sessions: Sessions::new(limits.streams_per_session),
            limits,
            tasks,
            origins: Origins::new(origins),
        }
    }

    /// Answers a request, whatever it is.
    pub async fn serve(&self, request: Request<Incoming>, peer: IpAddr) -> Response {
        let id = RequestId::random();
        // Without the query: it may hold names of files.
        let what = format!("{} {}", request.method(), request.uri().path());
        let outcome = self.dispatch(request, id, peer).await;
        let mut response = outcome.unwrap_or_else(|refusal| refusal.answer(id, &what));
        headers::secure(response.headers_mut(), id);
        response
    }

    async fn dispatch(&self, request: Request<Incoming>, id: RequestId, peer: IpAddr) -> Outcome<Response> {
        let path = request.uri().path().to_owned();
        let target = Target::of(&path);
        if let Target::Agent { .. } | Target::Api = target {
            self.origins.check(request.method(), request.headers(), websocket::is_wanted(&request))?;
        }
        match target {
            Target::Agent { workspace, rest } => self.relay(request, id, workspace, rest).await,
            Target::Api => self.pass_to_controller(request, id, peer).await,
            Target::App => assets::serve(request.method(), &path, request.headers()),
            Target::Nothing => Err(Refusal::not_found()),
        }
    }

    async fn pass_to_controller(
        &self,
        request: Request<Incoming>,
        id: RequestId,
        peer: IpAddr,
    ) -> Outcome<Response> {
        if websocket::is_wanted(&request) {
            return Err(Refusal::new(Code::BadRequest, "There is no WebSocket at this address."));
        }
        check_length(request.headers(), MAX_API_BODY_BYTES)?;
        let (parts, body) = request.into_parts();
        let secure = self.origins.is_secure(headers::host(&parts));
        let (body, fault) = upward(body, MAX_API_BODY_BYTES, self.limits.body_silence);
        let mut passed = Request::new(body);
        *passed.headers_mut() = headers::to_controller(&parts, peer, id, secure);
        *passed.method_mut() = parts.method;
        *passed.uri_mut() = parts.uri;
        let answer = self.controller.pass(passed).await.map_err(|error| {
            fault.refusal(MAX_API_BODY_BYTES).unwrap_or_else(|| refused(&error)).because(chain(&error))
        })?;
        let (parts, body) = answer.into_parts();
        if parts.status.is_informational() {
            return Err(Refusal::controller_unavailable().because(parts.status));
        }
        let mut response = Response::new(downward(body, self.limits.answer_silence, None));
        *response.status_mut() = parts.status;
        *response.headers_mut() = headers::from_controller(parts.headers);
        Ok(response)
    }

    /// Asks again and again about the live streams, and ends the revoked. At the gateway's end, ends all.
    pub async fn watch_sessions(self: Arc<Self>) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(self.limits.recheck);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shutdown = self.tasks.shutdown().clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = async { ticks.tick().await; self.recheck().await } => {}
            }
        }
        self.sessions.end();
        Ok(())
    }

    async fn recheck(&self) {
        self.links.sweep();
        let live = self.sessions.live();
        if live.is_empty() {
            return;
        }
        match self.controller.verdict(live).await {
            Ok(revoked) if revoked.is_empty() => {}
            Ok(revoked) => {
                let streams = self.sessions.revoke(&revoked);
                tracing::info!(streams, "revoked");
            }
            Err(refusal) => tracing::warn!(?refusal, "live streams could not be checked; trying again"),
        }
    }
}

fn refused(error: &PassError) -> Refusal {
    match error {
        PassError::Deadline => {
            Refusal::new(Code::Timeout, "The controller did not answer in time. Try again.")
        }
        _ => Refusal::controller_unavailable(),
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
