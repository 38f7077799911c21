//! Network policies of workspaces, classes, templates and the tenant.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::network::{AllowedName, EffectivePolicy, NetworkBounds, NetworkPolicy, RefusedName};

/// Where a workspace may connect, why, and what it tried in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"tenant": {"mode": "open"},
    "base": {"mode": "allowlist", "names": [], "presets": ["git"]}, "is_granted": false, "class": null,
    "choice": null, "effective": {"mode": "allowlist", "names": ["github.com"]}, "may_grant": false,
    "refused": [{"name": "example.com", "reason": "not_allowed", "count": 3,
    "last_at": "2026-03-02T09:20:31Z"}], "sent_bytes": 4096, "received_bytes": 1_048_576,
    "bounds": {"packets_per_second": 40000, "mbit_per_second": 400, "private_networks": []}}))]
pub struct WorkspaceNetwork {
    /// The tenant's policy, which no other widens.
    pub tenant: NetworkPolicy,
    /// The template's policy, or what was granted to this workspace instead.
    pub base: NetworkPolicy,
    /// Whether `base` was granted to this workspace.
    pub is_granted: bool,
    /// The policy of the workspace's class, or of the class of the workspace that it is a fork of.
    #[serde(default)]
    pub class: Option<NetworkPolicy>,
    /// What the workspace's owner chose. It only narrows.
    #[serde(default)]
    pub choice: Option<NetworkPolicy>,
    /// What all of them allow together. This is enforced.
    pub effective: EffectivePolicy,
    /// Whether the caller may change `base`: teachers of its class and owners of the tenant may.
    pub may_grant: bool,
    /// What was refused since the last start, the last first; at most 50.
    pub refused: Vec<RefusedName>,
    /// Bytes sent since the last start, if they were reported.
    #[serde(default)]
    pub sent_bytes: Option<u64>,
    /// Bytes received since the last start, if they were reported.
    #[serde(default)]
    pub received_bytes: Option<u64>,
    /// What the operator of the host has set for all workspaces.
    #[serde(default)]
    pub bounds: NetworkBounds,
}

/// Where the workspaces of a class may connect, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"tenant": {"mode": "open"}, "template": {"mode": "open"},
    "policy": {"mode": "allowlist", "names": ["github.com"]},
    "effective": {"mode": "allowlist", "names": ["github.com"]}}))]
pub struct ClassNetwork {
    /// The tenant's policy, which no other widens.
    pub tenant: NetworkPolicy,
    /// The policy of the class's template. A workspace can be granted something else instead.
    pub template: NetworkPolicy,
    /// The policy of the class.
    pub policy: NetworkPolicy,
    /// What all of them allow together.
    pub effective: EffectivePolicy,
}

/// A new network policy for a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"policy": {"mode": "none"}}))]
pub struct EditWorkspaceNetwork {
    /// The policy. `null` removes what was granted or chosen, so that the template's holds.
    pub policy: Option<NetworkPolicy>,
}

/// Names to allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"names": ["example.com"]}))]
pub struct AllowNames {
    /// At least one.
    #[schema(min_items = 1, max_items = 200)]
    pub names: Vec<AllowedName>,
}
