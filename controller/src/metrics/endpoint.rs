//! The address that Prometheus reads.

use std::{future::IntoFuture as _, net::TcpListener, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tower_http::timeout::TimeoutLayer;

use super::{RECORDER, gauges};
use crate::core::App;

/// The content type of the format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// A scrape that takes longer is of no use to anybody.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Scrapes at the same time. Each is a query.
const MAX_SCRAPES: usize = 4;

/// Serves the metrics until the shutdown.
pub async fn serve(app: App, listener: TcpListener) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let shutdown = app.tasks.shutdown().clone();
    let router = Router::new()
        .route("/metrics", get(scrape))
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(MAX_SCRAPES))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, TIMEOUT))
        .with_state(app);
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    Ok(server.into_future().await?)
}

async fn scrape(State(app): State<App>) -> Response {
    if let Err(error) = gauges::update(&app).await {
        tracing::warn!(%error, "cannot read the metrics from the database");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], RECORDER.render()).into_response()
}
