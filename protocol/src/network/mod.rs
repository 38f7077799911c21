//! Network policies: where a workspace may connect. Pure.
//!
//! A [`NetworkPolicy`] is what a user writes: a mode, names and presets. Several of them apply to one
//! workspace: the tenant's, the template's (or what a teacher granted instead), and the owner's own
//! choice. [`EffectivePolicy::combine`] is what all of them allow together, so none can widen another.
//! Only the effective policy reaches a runner.
//!
//! Everything that cannot be read is `none`: a damaged policy opens nothing.

mod bounds;
mod name;
mod preset;
mod seal;

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

pub use self::{
    bounds::{
        DEFAULT_MBIT_PER_SECOND, DEFAULT_PACKETS_PER_SECOND, NetworkBounds, PRIVATE_NETWORKS, PrivateNetwork,
        PrivateNetworkError, SANDBOX_LINKS, UNREACHABLE_NETWORKS,
    },
    name::{AllowedName, AllowedNameError},
    preset::NetworkPreset,
    seal::{POLICY_KEY_BYTES, PolicyKey, PolicySeal},
};

/// How many names one policy may list, presets not counted.
pub const MAX_NAMES: usize = 200;
/// How many refused names a runner reports.
pub const MAX_REFUSED: usize = 50;

/// What kind of connections a policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// All public addresses.
    Open,
    /// Only the addresses of allowed names.
    Allowlist,
    /// Nothing.
    None,
}

/// A network policy as a user writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"mode": "allowlist", "names": ["*.example.com"], "presets": ["registries"]}))]
pub struct NetworkPolicy {
    /// What it allows.
    pub mode: NetworkMode,
    /// With `allowlist`: the allowed names, at most 200. `*.example.com` covers one label.
    #[serde(default)]
    pub names: Vec<AllowedName>,
    /// With `allowlist`: lists of names that Burrow maintains.
    #[serde(default)]
    pub presets: Vec<NetworkPreset>,
}

/// Why a network policy is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkPolicyError {
    /// Names or presets without `allowlist`.
    #[error("Names and presets need the mode allowlist")]
    NamesWithoutAllowlist,
    /// More than [`MAX_NAMES`].
    #[error("A network policy lists at most {MAX_NAMES} names")]
    TooManyNames,
}

impl NetworkPolicy {
    /// A policy without names.
    pub fn of_mode(mode: NetworkMode) -> Self {
        Self { mode, names: Vec::new(), presets: Vec::new() }
    }

    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), NetworkPolicyError> {
        let has_names = !self.names.is_empty() || !self.presets.is_empty();
        if has_names && self.mode != NetworkMode::Allowlist {
            Err(NetworkPolicyError::NamesWithoutAllowlist)
        } else if self.names.len() > MAX_NAMES {
            Err(NetworkPolicyError::TooManyNames)
        } else {
            Ok(())
        }
    }

    /// Reads a stored policy. One that is damaged allows nothing.
    pub fn from_stored(stored: serde_json::Value) -> Self {
        let policy = serde_json::from_value(stored).ok();
        policy.filter(|policy: &Self| policy.validate().is_ok()).unwrap_or(Self::of_mode(NetworkMode::None))
    }
}

/// What is enforced: the policies of tenant, template and workspace together, with presets resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum EffectivePolicy {
    /// All public addresses.
    Open,
    /// Only the addresses of allowed names.
    Allowlist {
        /// The names.
        names: BTreeSet<AllowedName>,
    },
    /// Nothing.
    None,
}

impl EffectivePolicy {
    /// What two policies allow together. Neither can widen the other.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::Open, policy) | (policy, Self::Open) => policy,
            (Self::Allowlist { names: left }, Self::Allowlist { names: right }) => {
                let common =
                    left.iter().flat_map(|left| right.iter().map(move |right| left.intersect(right)));
                Self::Allowlist { names: common.flatten().collect() }
            }
        }
    }

    /// Whether connections to a host of this name are allowed. With `open`, all are.
    pub fn allows(&self, host: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Allowlist { names } => names.iter().any(|name| name.covers(host)),
            Self::None => false,
        }
    }

    /// Reads a policy from a message. One that cannot be read is `none`.
    pub fn deserialize_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(serde_json::from_value(value).unwrap_or(Self::None))
    }
}

impl From<&NetworkPolicy> for EffectivePolicy {
    fn from(policy: &NetworkPolicy) -> Self {
        match policy.mode {
            NetworkMode::Open => Self::Open,
            NetworkMode::None => Self::None,
            NetworkMode::Allowlist => {
                let presets = policy.presets.iter().flat_map(|preset| preset.names());
                Self::Allowlist { names: policy.names.iter().cloned().chain(presets).collect() }
            }
        }
    }
}

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkRefusal {
    /// The policy does not allow the name.
    NotAllowed,
    /// The name is allowed, but its addresses are private.
    PrivateAddress,
    /// The name is allowed, but the connection was to an address that does not belong to it.
    WrongAddress,
    /// A connection for HTTPS or HTTP did not say which name it wants. The address is reported instead.
    MissingName,
}

/// A name that the workspace tried to reach in vain. The guest chose it: show it as plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedName {
    /// The name, in lower case.
    pub name: String,
    /// Why it was refused, the last time.
    pub reason: NetworkRefusal,
    /// How often.
    pub count: u64,
    /// When it was refused last.
    #[serde(with = "time::serde::rfc3339")]
    pub last_at: OffsetDateTime,
}

#[cfg(test)]
mod tests;
