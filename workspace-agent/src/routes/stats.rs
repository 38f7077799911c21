//! Figures for the status bar.

use std::sync::Arc;

use axum::{Json, extract::State};
use protocol::agent::Stats;

use crate::{state::AgentState, stats::read_stats};

/// Get a workspace's load
///
/// Returns load, memory, space of the home, and the numbers of terminals and documents. A figure
/// that the guest cannot provide is 0.
#[utoipa::path(
    get,
    path = "/stats",
    tag = "workspaces",
    responses((
        status = 200,
        description = "Current figures.",
        body = Stats,
        example = json!({
            "load_1m": 0.25,
            "memory_used_bytes": 268_435_456,
            "memory_total_bytes": 2_147_483_648_u64,
            "home_used_bytes": 10_485_760,
            "home_total_bytes": 1_073_741_824,
            "uptime_seconds": 3600,
            "terminals": 2,
            "documents": 1
        }),
    )),
)]
pub async fn get_workspace_stats(State(state): State<Arc<AgentState>>) -> Json<Stats> {
    Json(read_stats(&state.home, state.terminals.count(), state.documents.count()))
}
