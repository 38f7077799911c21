//! Budgets: what a user, a class and a tenant may use.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Something that a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetResource {
    /// Workspaces that run or wait to run.
    Running,
    /// Virtual CPUs of workspaces that run or wait to run.
    Vcpus,
    /// Memory of workspaces that run or wait to run, in bytes.
    Memory,
    /// Scratch disks of workspaces that run or wait to run, in bytes, full or not.
    Scratch,
    /// Starts in one minute.
    Starts,
    /// Workspaces that exist.
    Workspaces,
    /// Sizes of homes, in bytes, full or not.
    Homes,
    /// What requested and named snapshots have stored, in bytes.
    History,
    /// Bytes that workspaces have sent to the network in this month, in UTC. A start is refused when they are
    /// used up; what runs continues.
    Egress,
}

impl BudgetResource {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 9] = [
        Self::Running,
        Self::Vcpus,
        Self::Memory,
        Self::Scratch,
        Self::Starts,
        Self::Workspaces,
        Self::Homes,
        Self::History,
        Self::Egress,
    ];

    /// Its name in the API, in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Vcpus => "vcpus",
            Self::Memory => "memory",
            Self::Scratch => "scratch",
            Self::Starts => "starts",
            Self::Workspaces => "workspaces",
            Self::Homes => "homes",
            Self::History => "history",
            Self::Egress => "egress",
        }
    }

    /// Whether amounts of it are bytes, and not a count.
    pub fn is_bytes(self) -> bool {
        matches!(self, Self::Memory | Self::Scratch | Self::Homes | Self::History | Self::Egress)
    }
}

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BudgetLevel {
    /// All workspaces of the organisation.
    Tenant,
    /// The workspaces of a class together.
    Class,
    /// The workspaces of one user.
    User,
}

/// The budget of the organisation, a class or a user, with what is used of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"level": "user", "id": "0197a3b0-1c2d-7e3f-8a4b-5c6d7e8f9011",
    "name": "anna@example.org", "items": [{"resource": "running", "used": 2, "limit": 5, "is_default": false},
    {"resource": "homes", "used": 4_294_967_296_u64, "limit": 68_719_476_736_u64, "is_default": true}]}))]
pub struct Budget {
    /// Whose budget it is.
    pub level: BudgetLevel,
    /// Identifies the organisation, class or user.
    pub id: Uuid,
    /// Name of the organisation or class, or the user's email address.
    pub name: String,
    /// One for each resource.
    pub items: Vec<BudgetItem>,
    /// Of an organisation: its weight in the queue of starts. One with twice the weight gets twice the
    /// share of a full host.
    #[serde(default)]
    pub queue_weight: Option<u32>,
}

/// What is used of one resource, and what may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetItem {
    /// The resource.
    pub resource: BudgetResource,
    /// What is used now.
    pub used: u64,
    /// What may be used. Absent: no limit.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Whether the limit is the server's default, because nobody has set another.
    pub is_default: bool,
}

/// The budgets that the caller may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetList {
    /// The organisation's, then classes and users by name.
    pub budgets: Vec<Budget>,
}

/// Changes a budget. Resources that are not named keep their limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"limits": [{"resource": "running", "limit": 5}, {"resource": "memory"}],
    "defaults": ["homes"]}))]
pub struct EditBudget {
    /// New limits.
    #[serde(default)]
    pub limits: Vec<NewLimit>,
    /// Resources that have the server's default again.
    #[serde(default)]
    pub defaults: Vec<BudgetResource>,
}

/// A new limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewLimit {
    /// The resource.
    pub resource: BudgetResource,
    /// What may be used, at most 2^53. Absent or null: no limit.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Largest weight of an organisation in the queue.
pub const MAX_QUEUE_WEIGHT: u32 = 100;

/// Largest limit: the largest integer that every JSON parser reads exactly.
pub const MAX_LIMIT: u64 = 1 << 53;
