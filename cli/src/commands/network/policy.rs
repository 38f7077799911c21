//! Network policies on the command line: the options that make one, and how one is shown.

use clap::{Args, ValueEnum};
use protocol::network::{
    AllowedName, EffectivePolicy, NetworkBounds, NetworkMode, NetworkPolicy, NetworkPreset,
};

use crate::output::{CommandError, ErrorKind};

/// Names of an allow-list that one line shows.
const MAX_NAMES_SHOWN: usize = 4;

/// The options that make a network policy.
#[derive(Debug, Args)]
pub struct PolicyOptions {
    /// What to allow
    #[arg(long, env = "BURROW_MODE", value_enum)]
    pub mode: Option<ModeArgument>,
    /// With allowlist: a host to allow, such as example.com or *.example.com
    #[arg(long, env = "BURROW_DOMAIN", value_name = "NAME", value_delimiter = ',', requires = "mode")]
    pub domain: Vec<AllowedName>,
    /// With allowlist: a list of names to allow
    #[arg(long, env = "BURROW_PRESET", value_enum, value_delimiter = ',', requires = "mode")]
    pub preset: Vec<PresetArgument>,
}

/// The mode of a policy, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArgument {
    /// All public addresses
    Open,
    /// Only the given names and presets
    Allowlist,
    /// Nothing
    None,
}

/// A preset, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PresetArgument {
    /// PyPI, npm, crates.io, Debian, Go, Maven
    Registries,
    /// Downloads of VS Code Server and JetBrains Gateway
    Editors,
    /// GitHub, GitLab, Bitbucket
    Git,
}

impl PolicyOptions {
    /// The policy, or none if no mode is given.
    pub fn policy(self) -> Result<Option<NetworkPolicy>, CommandError> {
        let Some(mode) = self.mode else { return Ok(None) };
        let presets = self.preset.into_iter().map(NetworkPreset::from).collect();
        let policy = NetworkPolicy { mode: mode.into(), names: self.domain, presets };
        policy.validate().map_err(|error| CommandError::new(ErrorKind::Usage, error.to_string()))?;
        Ok(Some(policy))
    }

    /// The policy. A missing mode is an error.
    pub fn required(self) -> Result<NetworkPolicy, CommandError> {
        self.policy()?.ok_or_else(|| {
            CommandError::new(ErrorKind::Usage, "Cannot set the network policy: --mode is missing")
                .hint("--mode open, --mode allowlist or --mode none; or --reset")
        })
    }
}

impl From<ModeArgument> for NetworkMode {
    fn from(mode: ModeArgument) -> Self {
        match mode {
            ModeArgument::Open => Self::Open,
            ModeArgument::Allowlist => Self::Allowlist,
            ModeArgument::None => Self::None,
        }
    }
}

impl From<PresetArgument> for NetworkPreset {
    fn from(preset: PresetArgument) -> Self {
        match preset {
            PresetArgument::Registries => Self::Registries,
            PresetArgument::Editors => Self::Editors,
            PresetArgument::Git => Self::Git,
        }
    }
}

/// "only git, example.com and 3 more".
pub fn policy_text(policy: &NetworkPolicy) -> String {
    match policy.mode {
        NetworkMode::Open => "all public addresses".to_owned(),
        NetworkMode::None => "nothing".to_owned(),
        NetworkMode::Allowlist => {
            let presets = policy.presets.iter().map(|preset| preset.as_str());
            names_text(presets.chain(policy.names.iter().map(AllowedName::as_str)))
        }
    }
}

/// Like [`policy_text`], for what is enforced.
pub fn effective_text(policy: &EffectivePolicy) -> String {
    match policy {
        EffectivePolicy::Open => "all public addresses".to_owned(),
        EffectivePolicy::None => "nothing".to_owned(),
        EffectivePolicy::Allowlist { names } => names_text(names.iter().map(AllowedName::as_str)),
    }
}

/// "400 Mbit/s, 40000 packets/s, also 10.1.0.0/16".
pub fn bounds_text(bounds: &NetworkBounds) -> String {
    let mbit = bounds.mbit_per_second.map(|mbit| format!("{mbit} Mbit/s"));
    let packets = bounds.packets_per_second.map(|packets| format!("{packets} packets/s"));
    let private = bounds.private_networks.iter().map(|network| format!("also {network}"));
    let parts: Vec<_> = mbit.into_iter().chain(packets).chain(private).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn names_text<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let shown = names[..names.len().min(MAX_NAMES_SHOWN)].join(", ");
    match names.len().saturating_sub(MAX_NAMES_SHOWN) {
        0 => format!("only {shown}"),
        more => format!("only {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_a_short_text() {
        assert_eq!(bounds_text(&NetworkBounds::default()), "400 Mbit/s, 40000 packets/s");
        let private_networks = vec!["10.1.0.0/16".parse().expect("private")];
        let bounds = NetworkBounds { packets_per_second: None, mbit_per_second: Some(1), private_networks };
        assert_eq!(bounds_text(&bounds), "1 Mbit/s, also 10.1.0.0/16");
        let none =
            NetworkBounds { packets_per_second: None, mbit_per_second: None, private_networks: vec![] };
        assert_eq!(bounds_text(&none), "none");
    }

    #[test]
    fn policies_are_short_texts() {
        let policy = |names: &[&str], presets| NetworkPolicy {
            mode: NetworkMode::Allowlist,
            names: names.iter().map(|name| name.parse().expect("a name")).collect(),
            presets,
        };
        for (policy, expected) in [
            (NetworkPolicy::of_mode(NetworkMode::Open), "all public addresses"),
            (NetworkPolicy::of_mode(NetworkMode::None), "nothing"),
            (policy(&[], vec![]), "nothing"),
            (policy(&["*.a.org"], vec![NetworkPreset::Git]), "only git, *.a.org"),
            (
                policy(&["a.org", "b.org", "c.org", "d.org", "e.org"], vec![]),
                "only a.org, b.org, c.org, d.org and 1 more",
            ),
        ] {
            assert_eq!(policy_text(&policy), expected);
        }
    }
}
