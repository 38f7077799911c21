//! Seals on the network policies of one runner. The controller seals what it sends, and the runner's
//! supervisor checks it: what lies between them, the session that talks to the guest, has no key.

use serde::{Deserialize, Serialize};

use crate::{Redacted, runner::NetworkSpec};

/// Length of a key.
pub const POLICY_KEY_BYTES: usize = 32;
/// Begins what is sealed, so that a seal is good for nothing else.
const CONTEXT: &[u8] = b"burrow 2026 network policy of a runner\n";

/// The key that seals the policies of one runner, from its launch to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyKey(Redacted<[u8; POLICY_KEY_BYTES]>);

/// A message authentication code of a policy and its revision, as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicySeal(String);

impl PolicyKey {
    /// A key of random bytes.
    pub fn new(random: [u8; POLICY_KEY_BYTES]) -> Self {
        Self(Redacted::new(random))
    }

    /// The policy with a seal of this key.
    #[must_use]
    pub fn seal(&self, network: NetworkSpec) -> NetworkSpec {
        let seal = PolicySeal(self.authenticate(&network).to_hex().to_string());
        NetworkSpec { seal: Some(seal), ..network }
    }

    /// Whether the policy has a seal of this key, for its revision.
    pub fn has_sealed(&self, network: &NetworkSpec) -> bool {
        let seal = network.seal.as_ref().and_then(|seal| blake3::Hash::from_hex(&seal.0).ok());
        // Hashes are compared in constant time.
        seal.is_some_and(|seal| seal == self.authenticate(network))
    }

    fn authenticate(&self, network: &NetworkSpec) -> blake3::Hash {
        let sealed = serde_json::to_vec(&(network.revision, &network.policy)).expect("plain data");
        blake3::Hasher::new_keyed(self.0.expose()).update(CONTEXT).update(&sealed).finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::EffectivePolicy;

    fn allowlist(names: &[&str]) -> EffectivePolicy {
        EffectivePolicy::Allowlist { names: names.iter().map(|name| name.parse().expect("a name")).collect() }
    }

    #[test]
    fn seal_holds_for_one_policy_and_revision() {
        let (key, other) = (PolicyKey::new([1; 32]), PolicyKey::new([2; 32]));
        let network = NetworkSpec { revision: 7, policy: allowlist(&["pypi.org"]), seal: None };
        assert!(!key.has_sealed(&network), "it has no seal");
        let sealed = key.seal(network);
        let text = serde_json::to_string(&sealed).expect("plain data");
        let received: NetworkSpec = serde_json::from_str(&text).expect("it arrives");
        assert!(key.has_sealed(&received));
        assert!(!other.has_sealed(&received));
        for changed in [
            NetworkSpec { revision: 8, ..received.clone() },
            NetworkSpec { policy: EffectivePolicy::Open, ..received.clone() },
            NetworkSpec { policy: allowlist(&["pypi.org", "evil.example"]), ..received.clone() },
            NetworkSpec { seal: Some(PolicySeal("00".repeat(32))), ..received.clone() },
            NetworkSpec { seal: Some(PolicySeal("not digits".to_owned())), ..received },
        ] {
            assert!(!key.has_sealed(&changed), "{changed:?}");
        }
    }

    #[test]
    fn key_is_not_printed() {
        assert_eq!(format!("{:?}", PolicyKey::new([1; 32])), "PolicyKey([redacted])");
    }
}
