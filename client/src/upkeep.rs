//! What an installation does for its store: checking a home's objects, thinning out, collecting what nothing refers to.

use std::time::Duration;

use protocol::{WorkspaceId, api::snapshot::Retention};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{api::Api, error::ApiError};

/// Longest time for reading every object of a home, or listing all of a store.
const UPKEEP_TIMEOUT: Duration = Duration::from_hours(1);

/// `POST /api/v1/workspaces/{id}/check`: reads every object that the home's snapshots name, and verifies it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Of all snapshots. Absent: of the newest.
    #[serde(default)]
    pub all: bool,
    /// Put right what another copy can put right.
    #[serde(default)]
    pub repair: bool,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub snapshots: u32,
    pub objects: u64,
    pub bytes: u64,
    /// By object.
    #[serde(default)]
    pub damaged: Vec<Damage>,
}

/// An object that is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    pub object: String,
    /// A sentence: missing, cut short, altered.
    pub message: String,
    /// It is sound again.
    #[serde(default)]
    pub repaired: bool,
}

/// What `POST /api/v1/admin/collect` has done: objects that nothing refers to go at the second sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    pub deleted_objects: u64,
    pub deleted_bytes: u64,
    /// Seen for the first time, or not for long enough yet.
    pub waiting_objects: u64,
    pub waiting_bytes: u64,
}

impl Api {
    pub async fn check_home(&self, workspace: WorkspaceId, request: &Check) -> Result<Checked, ApiError> {
        let request = self.request(Method::POST, &format!("/workspaces/{workspace}/check")).json(request);
        self.json_within(UPKEEP_TIMEOUT, request).await
    }

    pub async fn retention(&self) -> Result<Retention, ApiError> {
        self.get("/retention").await
    }

    pub async fn set_retention(&self, retention: &Retention) -> Result<Retention, ApiError> {
        self.json(self.request(Method::PUT, "/retention").json(retention)).await
    }

    pub async fn collect(&self) -> Result<Collected, ApiError> {
        let request = self.request(Method::POST, "/admin/collect").json(&serde_json::json!({}));
        self.json_within(UPKEEP_TIMEOUT, request).await
    }
}
