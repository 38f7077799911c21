//! Usage: what workspaces have used on the days of a period.

use serde::{Deserialize, Serialize};
use time::Date;
use utoipa::ToSchema;

time::serde::format_description!(iso_date, Date, "[year]-[month]-[day]");

/// Longest period of one report, in days. Usage is kept a little longer.
pub const MAX_USAGE_DAYS: i64 = 400;

/// Most rows of one report. Those that ran longest are listed.
pub const MAX_USAGE_ROWS: usize = 10_000;

/// What the rows of a report are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UsageGroup {
    /// One row for each workspace, also those that are deleted.
    #[default]
    Workspace,
    /// One row for each owner of workspaces.
    User,
    /// One row for each class, and one for the workspaces of no class.
    Class,
    /// One row for each day of the period, in UTC.
    Day,
}

impl UsageGroup {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::User => "user",
            Self::Class => "class",
            Self::Day => "day",
        }
    }
}

/// Amounts that were used. At most 2^53 - 1 each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageAmounts {
    /// Time for which workspaces had a runner, together.
    pub machine_seconds: u64,
    /// The same, times their virtual CPUs.
    pub vcpu_seconds: u64,
    /// Sizes of homes, times the days for which they existed.
    pub home_byte_days: u64,
    /// What homes took in the object store, times the days.
    pub stored_byte_days: u64,
    /// Bytes that workspaces have sent to the network.
    pub sent_bytes: u64,
    /// Bytes that workspaces have received from the network.
    pub received_bytes: u64,
}

/// What one workspace, user, class or day has used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// Identifies the workspace, user or class; or the day, such as `2026-03-02`. Empty for the workspaces of
    /// no class.
    pub key: String,
    /// Name of the workspace or class, email address of the user, or the day.
    pub name: String,
    /// Of a workspace: the email address of its owner.
    #[serde(default)]
    pub owner: Option<String>,
    /// What it has used.
    pub amounts: UsageAmounts,
}

/// What was used in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"from": "2026-03-02", "to": "2026-03-08", "by": "user", "total": {
    "machine_seconds": 7200, "vcpu_seconds": 14_400, "home_byte_days": 30_064_771_072_u64,
    "stored_byte_days": 1_073_741_824, "sent_bytes": 52_428_800, "received_bytes": 734_003_200}, "rows": [{
    "key": "0197a3b0-1c2d-7e3f-8a4b-5c6d7e8f9011", "name": "anna@example.org", "owner": null, "amounts": {
    "machine_seconds": 7200, "vcpu_seconds": 14_400, "home_byte_days": 30_064_771_072_u64,
    "stored_byte_days": 1_073_741_824, "sent_bytes": 52_428_800, "received_bytes": 734_003_200}}],
    "is_truncated": false}))]
pub struct UsageReport {
    /// The first day, in UTC.
    #[serde(with = "iso_date")]
    pub from: Date,
    /// The last day, in UTC.
    #[serde(with = "iso_date")]
    pub to: Date,
    /// What the rows are for.
    pub by: UsageGroup,
    /// All that was used. Each amount is rounded once, so it may differ a little from the sum of the rows.
    pub total: UsageAmounts,
    /// Days in their order; others by the time of their machines, the longest first.
    pub rows: Vec<UsageRow>,
    /// Whether there are more rows than one report lists. `total` contains them.
    pub is_truncated: bool,
}
