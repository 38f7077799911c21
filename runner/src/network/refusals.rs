//! What a workspace tried to reach in vain: a bounded list with counts. Pure.

use protocol::network::{MAX_REFUSED, NetworkRefusal, RefusedName};
use time::OffsetDateTime;

/// The refused names, in the order of their last refusal. The oldest makes room for a new one.
#[derive(Debug, Default)]
pub struct Refusals(Vec<RefusedName>);

impl Refusals {
    /// Counts a refusal.
    pub fn record(&mut self, now: OffsetDateTime, name: &str, reason: NetworkRefusal) {
        let known = self.0.iter().position(|refused| refused.name == name);
        let count = known.map_or(0, |index| self.0.remove(index).count);
        if self.0.len() >= MAX_REFUSED {
            self.0.remove(0);
        }
        self.0.push(RefusedName {
            name: name.to_owned(),
            reason,
            count: count.saturating_add(1),
            last_at: now,
        });
    }

    /// Removes the names that are allowed now.
    pub fn remove_allowed(&mut self, is_allowed: impl Fn(&str) -> bool) {
        self.0.retain(|refused| refused.reason != NetworkRefusal::NotAllowed || !is_allowed(&refused.name));
    }

    /// The list, the last refused name first.
    pub fn list(&self) -> Vec<RefusedName> {
        self.0.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_counted_and_bounded() {
        let (mut refusals, now) = (Refusals::default(), OffsetDateTime::UNIX_EPOCH);
        refusals.record(now, "evil.example", NetworkRefusal::NotAllowed);
        for number in 0..MAX_REFUSED - 1 {
            refusals.record(now, &format!("h{number}.example"), NetworkRefusal::NotAllowed);
        }
        refusals.record(now, "evil.example", NetworkRefusal::NotAllowed);
        refusals.record(now, "more.example", NetworkRefusal::PrivateAddress);
        let list = refusals.list();
        assert_eq!(list.len(), MAX_REFUSED);
        assert_eq!((list[0].name.as_str(), list[0].count), ("more.example", 1));
        assert_eq!((list[1].name.as_str(), list[1].count), ("evil.example", 2));
        assert!(!list.iter().any(|refused| refused.name == "h0.example"), "the oldest is gone");
        refusals.remove_allowed(|name| name == "evil.example");
        assert_eq!(refusals.list().len(), MAX_REFUSED - 1);
    }
}
