//! The network policies that apply to one workspace, and who may change which. Pure.

use protocol::network::{AllowedName, EffectivePolicy, MAX_NAMES, NetworkMode, NetworkPolicy};

/// All policies of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspacePolicies {
    /// The tenant's, which no other widens.
    pub tenant: NetworkPolicy,
    pub template: NetworkPolicy,
    /// What an owner or teacher has granted instead of the template's.
    pub grant: Option<NetworkPolicy>,
    /// That of the workspace's class, or of the class of the workspace that it is a fork of.
    pub class: Option<NetworkPolicy>,
    /// What the workspace's owner has chosen.
    pub choice: Option<NetworkPolicy>,
}

/// Why names cannot be allowed. The text is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    #[error("Cannot allow {0}: the network policy of your organisation does not. Ask its owner.")]
    Tenant(AllowedName),
    #[error(
        "Cannot allow {0}: the template's network policy does not. Ask the teacher of your class or an \
         owner of your organisation to run `burrow network allow`."
    )]
    Template(AllowedName),
    #[error(
        "Cannot allow {0}: the network policy of the class does not. Ask its teacher, who changes it with \
         `burrow class network set`."
    )]
    Class(AllowedName),
    #[error("Cannot allow more names: a network policy lists at most {MAX_NAMES}. Use a wildcard.")]
    TooMany,
}

impl WorkspacePolicies {
    /// The template's policy, or what was granted instead.
    pub fn base(&self) -> &NetworkPolicy {
        self.grant.as_ref().unwrap_or(&self.template)
    }

    /// What is enforced.
    pub fn effective(&self) -> EffectivePolicy {
        combine([&self.tenant, self.base()].into_iter().chain(&self.class).chain(&self.choice))
    }

    /// Allows names. A caller who `may_grant` extends what is granted; another one only undoes the
    /// owner's own choice.
    pub fn allow(&mut self, names: &[AllowedName], may_grant: bool) -> Result<(), AllowError> {
        for name in names {
            if !covers(&self.tenant, name) {
                return Err(AllowError::Tenant(name.clone()));
            }
            if self.class.as_ref().is_some_and(|class| !covers(class, name)) {
                return Err(AllowError::Class(name.clone()));
            }
            if !covers(self.base(), name) {
                if !may_grant {
                    return Err(AllowError::Template(name.clone()));
                }
                self.grant = Some(extend(self.base(), name)?);
            }
            if let Some(choice) = self.choice.as_ref().filter(|choice| !covers(choice, name)) {
                self.choice = Some(extend(choice, name)?);
            }
        }
        Ok(())
    }
}

/// What several policies allow together.
pub fn combine<'a>(policies: impl IntoIterator<Item = &'a NetworkPolicy>) -> EffectivePolicy {
    policies.into_iter().map(EffectivePolicy::from).fold(EffectivePolicy::Open, EffectivePolicy::combine)
}

fn covers(policy: &NetworkPolicy, name: &AllowedName) -> bool {
    let wanted = EffectivePolicy::Allowlist { names: [name.clone()].into() };
    EffectivePolicy::from(policy).combine(wanted.clone()) == wanted
}

fn extend(policy: &NetworkPolicy, name: &AllowedName) -> Result<NetworkPolicy, AllowError> {
    let mut extended = NetworkPolicy { mode: NetworkMode::Allowlist, ..policy.clone() };
    extended.names.push(name.clone());
    if extended.validate().is_ok() { Ok(extended) } else { Err(AllowError::TooMany) }
}

#[cfg(test)]
mod tests {
    use protocol::network::NetworkPreset;

    use super::*;

    fn allowlist(names: &[&str]) -> NetworkPolicy {
        let names = names.iter().map(|name| name.parse().expect("a name")).collect();
        NetworkPolicy { mode: NetworkMode::Allowlist, names, presets: vec![] }
    }

    fn policies() -> WorkspacePolicies {
        WorkspacePolicies {
            tenant: allowlist(&["*.example.com", "pypi.org", "github.com"]),
            template: allowlist(&["www.example.com", "pypi.org"]),
            grant: None,
            class: None,
            choice: None,
        }
    }

    fn allows(policies: &WorkspacePolicies, hosts: &[&str]) -> Vec<bool> {
        hosts.iter().map(|host| policies.effective().allows(host)).collect()
    }

    #[test]
    fn all_policies_hold_together() {
        let hosts = ["www.example.com", "pypi.org", "github.com", "evil.org"];
        let mut policies = policies();
        assert_eq!(allows(&policies, &hosts), [true, true, false, false]);
        policies.choice = Some(allowlist(&["pypi.org", "evil.org"]));
        assert_eq!(allows(&policies, &hosts), [false, true, false, false]);
        policies.grant = Some(NetworkPolicy::of_mode(NetworkMode::Open));
        policies.choice = None;
        assert_eq!(allows(&policies, &hosts), [true, true, true, false], "the tenant's holds");
        policies.choice = Some(NetworkPolicy::of_mode(NetworkMode::None));
        assert_eq!(policies.effective(), EffectivePolicy::None);
    }

    #[test]
    fn owner_allows_only_what_the_template_allows() {
        let mut policies = policies();
        policies.choice = Some(NetworkPolicy::of_mode(NetworkMode::None));
        policies.allow(&["pypi.org".parse().expect("a name")], false).expect("within the template's");
        assert_eq!(allows(&policies, &["pypi.org", "www.example.com"]), [true, false]);
        let github: AllowedName = "github.com".parse().expect("a name");
        assert_eq!(
            policies.allow(std::slice::from_ref(&github), false),
            Err(AllowError::Template(github.clone()))
        );
        policies.allow(&[github], true).expect("granted");
        assert_eq!(allows(&policies, &["github.com", "pypi.org", "evil.org"]), [true, true, false]);
    }

    #[test]
    fn grant_does_not_widen_the_class_policy() {
        let mut policies = policies();
        policies.class = Some(allowlist(&["pypi.org", "evil.org"]));
        let hosts = ["www.example.com", "pypi.org", "github.com", "evil.org"];
        assert_eq!(allows(&policies, &hosts), [false, true, false, false]);
        let github: AllowedName = "github.com".parse().expect("a name");
        let refused = policies.allow(std::slice::from_ref(&github), true);
        assert_eq!(refused, Err(AllowError::Class(github)));
        policies.grant = Some(NetworkPolicy::of_mode(NetworkMode::Open));
        assert_eq!(allows(&policies, &hosts), [false, true, false, false]);
        policies.class = Some(NetworkPolicy::of_mode(NetworkMode::None));
        assert_eq!(policies.effective(), EffectivePolicy::None);
    }

    #[test]
    fn nobody_widens_the_tenants_policy() {
        let mut policies = policies();
        for name in ["evil.org", "*.github.com", "*.www.example.com"] {
            let name: AllowedName = name.parse().expect("a name");
            let refused = policies.allow(std::slice::from_ref(&name), true);
            assert_eq!(refused, Err(AllowError::Tenant(name)));
        }
    }

    #[test]
    fn granted_names_keep_presets() {
        let mut policies = policies();
        policies.tenant = NetworkPolicy::of_mode(NetworkMode::Open);
        policies.template.presets = vec![NetworkPreset::Git];
        policies.allow(&["x.example.org".parse().expect("a name")], true).expect("granted");
        assert_eq!(allows(&policies, &["x.example.org", "github.com", "pypi.org"]), [true; 3]);
        let before = policies.clone();
        policies.allow(&["github.com".parse().expect("a name")], true).expect("allowed already");
        assert_eq!(policies, before);
    }
}
