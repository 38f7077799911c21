//! The hash chain of the audit log. Pure: the database writes the chain, and the server and
//! `burrow audit verify` recompute it with this module.
//!
//! The hash of an entry is SHA-256 of the hash before it and of all fields, each with its length. So a
//! change of an entry, a missing, inserted or moved one does not fit to what follows. A chain does not tell
//! that its end was cut off, or that all of it was written again: anchors in the object store tell that.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{ManifestId, TenantId, api::audit::AuditEntry};

/// The format of the hashed text.
const FORMAT: &str = "burrow-audit-1";

/// The hash of an entry. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryHash(ManifestId);

impl EntryHash {
    /// What stands before the first entry.
    pub const ZERO: Self = Self::from_bytes([0; 32]);

    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(ManifestId(bytes))
    }
}

impl std::fmt::Display for EntryHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Computes the hash that an entry must have.
pub fn hash_entry(entry: &AuditEntry) -> EntryHash {
    let mut text = FORMAT.to_owned();
    push_field(&mut text, Some(&entry.tenant.to_string()));
    push_field(&mut text, Some(&entry.seq.to_string()));
    // Microseconds: the database keeps no more.
    push_field(&mut text, Some(&(entry.at.unix_timestamp_nanos() / 1000).to_string()));
    push_field(&mut text, entry.actor.map(|actor| actor.to_string()).as_deref());
    push_field(&mut text, entry.session.map(|session| session.to_string()).as_deref());
    push_field(&mut text, entry.request.as_deref());
    push_field(&mut text, entry.address.as_deref());
    push_field(&mut text, Some(&entry.action));
    push_field(&mut text, Some(&entry.subject));
    push_field(&mut text, Some(entry.outcome.as_str()));
    let mut detail = String::new();
    push_json(&mut detail, &entry.detail);
    push_field(&mut text, Some(&detail));
    let mut hasher = Sha256::new();
    hasher.update(entry.previous.0.0);
    hasher.update(text);
    EntryHash::from_bytes(hasher.finalize().into())
}

/// Appends a field with its length, so that no two lists of fields have one text.
fn push_field(text: &mut String, value: Option<&str>) {
    match value {
        Some(value) => write!(text, "{}:{value}", value.len()).expect("a string"),
        None => text.push('-'),
    }
}

/// Appends a value as Postgres prints a `jsonb`: shorter keys first, one space after separators.
fn push_json(text: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
            text.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                push_json(text, &Value::String(key.clone()));
                text.push_str(": ");
                push_json(text, value);
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                push_json(text, value);
            }
            text.push(']');
        }
        plain => write!(text, "{plain}").expect("a string"),
    }
}

/// What is wrong with an entry, or between it and the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Another number was expected: entries were removed, added or moved.
    #[error("entry {found} follows where {expected} should be")]
    Order {
        /// The number that should be next.
        expected: u64,
        /// The number that is there.
        found: u64,
    },
    /// The entry does not continue the one before it.
    #[error("entry {seq} does not continue the one before it")]
    Broken {
        /// The entry.
        seq: u64,
    },
    /// The entry's content has another hash.
    #[error("entry {seq} was changed")]
    Changed {
        /// The entry.
        seq: u64,
    },
}

/// Verifies entries in their order.
///
/// ```text
/// let mut chain = ChainVerifier::new(tenant, 0, EntryHash::ZERO);
/// for entry in entries { faults.extend(chain.check(&entry)) }
/// chain.head() == (last_seq, last_hash)
/// ```
#[derive(Clone, Debug)]
pub struct ChainVerifier {
    tenant: TenantId,
    seq: u64,
    hash: EntryHash,
}

impl ChainVerifier {
    /// Begins after the entry with this number and hash: of a checkpoint, or zero.
    pub fn new(tenant: TenantId, seq: u64, hash: EntryHash) -> Self {
        Self { tenant, seq, hash }
    }

    /// The last number and hash.
    pub fn head(&self) -> (u64, EntryHash) {
        (self.seq, self.hash)
    }

    /// Checks the next entry. The check continues after a wrong entry, too.
    pub fn check(&mut self, entry: &AuditEntry) -> Result<(), ChainFault> {
        let expected = self.seq.saturating_add(1);
        let (before, seq) = (self.hash, entry.seq);
        (self.seq, self.hash) = (entry.seq, entry.hash);
        if seq != expected {
            return Err(ChainFault::Order { expected, found: seq });
        }
        if entry.tenant != self.tenant || hash_entry(entry) != entry.hash {
            return Err(ChainFault::Changed { seq });
        }
        if entry.previous != before {
            return Err(ChainFault::Broken { seq });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::{SessionId, UserId, api::audit::AuditOutcome};

    const TENANT: TenantId = TenantId(uuid::Uuid::from_u128(7));

    fn chain(length: u64) -> Vec<AuditEntry> {
        let mut previous = EntryHash::ZERO;
        (1..=length)
            .map(|seq| {
                let mut entry = AuditEntry {
                    tenant: TENANT,
                    seq,
                    at: OffsetDateTime::UNIX_EPOCH + Duration::microseconds(seq.cast_signed() * 1_000_003),
                    actor: seq.is_multiple_of(3).then(UserId::random),
                    actor_email: None,
                    session: seq.is_multiple_of(2).then(SessionId::random),
                    request: seq.is_multiple_of(2).then(|| format!("request-{seq}")),
                    address: seq.is_multiple_of(5).then(|| "198.51.100.7".to_owned()),
                    action: "workspace.start".to_owned(),
                    subject: format!("w{seq}"),
                    outcome: AuditOutcome::Allowed,
                    detail: json!({ "n": seq, "name": "a\"b" }),
                    previous,
                    hash: EntryHash::ZERO,
                };
                entry.hash = hash_entry(&entry);
                previous = entry.hash;
                entry
            })
            .collect()
    }

    /// Whether a log whose head is known is found intact.
    fn is_intact(entries: &[AuditEntry], head: (u64, EntryHash)) -> bool {
        let mut verifier = ChainVerifier::new(TENANT, 0, EntryHash::ZERO);
        entries.iter().all(|entry| verifier.check(entry).is_ok()) && verifier.head() == head
    }

    /// One change of one field. The hash is computed again if the forger does so.
    fn change(entry: &mut AuditEntry, field: usize, rehash: bool) {
        match field {
            0 => entry.at += Duration::microseconds(1),
            1 => entry.actor = Some(UserId::random()),
            2 => entry.session = Some(SessionId::random()),
            3 => entry.request = Some("other".to_owned()),
            4 => entry.address = Some("203.0.113.9".to_owned()),
            5 => entry.action.push('x'),
            6 => entry.subject.push('x'),
            7 => entry.outcome = AuditOutcome::Refused,
            8 => entry.detail = json!({ "n": 0 }),
            9 => entry.previous = EntryHash::from_bytes([9; 32]),
            10 => entry.seq += 1,
            _ => entry.hash = EntryHash::from_bytes([9; 32]),
        }
        if rehash {
            entry.hash = hash_entry(entry);
        }
    }

    proptest! {
        #[test]
        fn every_single_change_is_found(
            length in 1u64..12, at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
            kind in 0usize..5, field in 0usize..12, rehash: bool,
        ) {
            let entries = chain(length);
            let last = entries.last().expect("at least one");
            let head = (last.seq, last.hash);
            prop_assert!(is_intact(&entries, head));
            let (at, to) = (at.index(entries.len()), to.index(entries.len()));
            let mut forged = entries.clone();
            match kind {
                0 => change(&mut forged[at], field, rehash && field != 11),
                1 => drop(forged.remove(at)),
                2 => forged.insert(to, entries[at].clone()),
                3 => {
                    let moved = forged.remove(at);
                    forged.insert(to, moved);
                }
                _ => {
                    let mut added = entries[at].clone();
                    added.seq = to as u64 + 1;
                    added.previous = if to == 0 { EntryHash::ZERO } else { entries[to - 1].hash };
                    added.hash = hash_entry(&added);
                    forged.insert(to, added);
                }
            }
            prop_assume!(forged != entries);
            prop_assert!(!is_intact(&forged, head));
        }

        #[test]
        fn fields_do_not_run_together(
            left in "[a-z0-9:-]{0,6}", right in "[a-z0-9:-]{0,6}", cut in 0usize..6,
        ) {
            let both = format!("{left}{right}");
            let cut = cut.min(both.len());
            let mut one = chain(1).remove(0);
            let mut other = one.clone();
            (one.action, one.subject) = (left.clone(), right.clone());
            (other.action, other.subject) = (both[..cut].to_owned(), both[cut..].to_owned());
            prop_assert_eq!(
                hash_entry(&one) == hash_entry(&other),
                (&one.action, &one.subject) == (&other.action, &other.subject)
            );
        }
    }

    #[test]
    fn verifier_names_the_fault() {
        let mut entries = chain(4);
        entries[1].action = "other".to_owned();
        entries.remove(2);
        let mut verifier = ChainVerifier::new(TENANT, 0, EntryHash::ZERO);
        let faults: Vec<_> = entries.iter().filter_map(|entry| verifier.check(entry).err()).collect();
        assert_eq!(faults, [ChainFault::Changed { seq: 2 }, ChainFault::Order { expected: 3, found: 4 }]);
    }

    #[test]
    fn other_tenants_entries_do_not_fit() {
        let mut verifier = ChainVerifier::new(TenantId(uuid::Uuid::from_u128(8)), 0, EntryHash::ZERO);
        assert_eq!(verifier.check(&chain(1)[0]), Err(ChainFault::Changed { seq: 1 }));
    }

    #[test]
    fn json_is_printed_as_by_postgres() {
        let mut text = String::new();
        push_json(
            &mut text,
            &json!({
                "bb": [1, null, "ü\n\u{1}"], "a": { "z": true }, "c": {}, "ab": [],
            }),
        );
        assert_eq!(text, r#"{"a": {"z": true}, "c": {}, "ab": [], "bb": [1, null, "ü\n\u0001"]}"#);
    }
}
