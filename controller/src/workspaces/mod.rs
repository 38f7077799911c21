//! Workspaces: their life from create to delete, whose turn it is to run, and the runners that run them. Knows no HTTP.

pub mod admission;
pub mod create;
pub mod deleted;
pub mod fork;
pub mod grants;
pub mod reconciler;
pub mod repair_requests;
pub mod reports;
pub mod view;
