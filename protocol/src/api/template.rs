//! Templates: what a new workspace is created from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    network::NetworkPolicy,
    workspace::{Resources, Tier},
};

/// An image with a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "base", "title": "Debian 12",
    "description": "Compilers, Python, Node and editors.",
    "image": "base", "tier": "microvm", "resources": {"vcpus": 2, "memory_mib": 1024, "home_mib": 10_240,
    "scratch_mib": 8192, "pids": 4096}, "network": {"mode": "open", "names": [], "presets": []}}))]
pub struct Template {
    /// 1 to 63 of `[a-z0-9-]`; `base` always exists.
    pub name: String,
    /// Shown in the dialog for new workspaces.
    pub title: String,
    /// One or two sentences.
    pub description: String,
    /// The image that workspaces boot.
    pub image: String,
    /// How strongly workspaces are isolated.
    pub tier: Tier,
    /// Size of a workspace.
    pub resources: Resources,
    /// Where its workspaces may connect, unless something else is granted to one of them.
    pub network: NetworkPolicy,
}

/// The templates of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateList {
    /// Sorted by name.
    pub templates: Vec<Template>,
}
