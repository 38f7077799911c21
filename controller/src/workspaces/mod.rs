//! Workspaces: create, view, delete and undelete them, decide whose turn it is to run, and talk
//! with the runners that run them. Knows no HTTP.

pub mod access_log;
pub mod admission;
pub mod agent_client;
pub mod cache_janitor;
mod clock_gap;
pub mod create;
pub mod deleted;
pub mod grants;
pub mod idempotency;
pub mod idle;
pub mod limits;
pub mod network;
pub mod network_policies;
pub mod placement;
pub mod ports;
pub mod previews;
pub mod queue_estimate;
pub mod reconciler;
pub mod repair_requests;
pub mod repairs;
pub mod reports;
pub mod requested_snapshots;
pub mod restores;
pub mod runs;
pub mod scrub;
pub mod snapshot_requests;
pub mod templates;
pub mod view;
