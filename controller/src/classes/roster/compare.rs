//! Compares a roster with the class that it is for. Pure.
//!
//! A list that is sent again has corrections. A row with the address of a member corrects the name. A row
//! with the name of a member whose address is not in the list corrects the address, if the list is clearly
//! the one of this class again or the addresses differ by a slip: otherwise two students of the same name
//! would become one.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::Entry;

/// Most letters by which a mistyped address differs.
const MAX_SLIP: usize = 2;

/// A member of the class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMember {
    pub member: Uuid,
    pub name: String,
    pub email: String,
    /// Whether a roster may correct the address: the account is not in use, and in no other class.
    pub can_readdress: bool,
}

/// What a row means for the class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Add,
    Keep,
    /// The member has another name.
    Rename {
        member: Uuid,
        from: String,
    },
    /// The member has another address, and perhaps another spelling of the name.
    Readdress {
        member: Uuid,
        from: String,
    },
    /// Why the row cannot be applied.
    Refuse(String),
}

/// The comparison of a roster with a class.
#[derive(Debug)]
pub struct Comparison {
    /// One for each entry, in their order.
    pub changes: Vec<Change>,
    /// Members that the roster does not have.
    pub missing: Vec<KnownMember>,
}

/// Compares the students of a roster with the members of the class.
pub fn compare(entries: &[Entry], members: &[KnownMember]) -> Comparison {
    let by_email: HashMap<String, &KnownMember> =
        members.iter().map(|member| (member.email.to_lowercase(), member)).collect();
    let listed: HashSet<String> = entries.iter().map(|entry| entry.email.to_lowercase()).collect();
    let mut missing: Vec<KnownMember> =
        members.iter().filter(|member| !listed.contains(&member.email.to_lowercase())).cloned().collect();
    // At least half of the class is in the list.
    let is_sent_again = members.len() > missing.len() && (members.len() - missing.len()) * 2 >= members.len();
    let is_new = |entry: &&Entry| !by_email.contains_key(&entry.email.to_lowercase());
    let mut new_names: HashMap<String, usize> = HashMap::new();
    for entry in entries.iter().filter(is_new).filter(|entry| entry.is_named) {
        *new_names.entry(entry.name.to_lowercase()).or_default() += 1;
    }
    let mut changes = Vec::with_capacity(entries.len());
    for entry in entries {
        let change = match by_email.get(&entry.email.to_lowercase()) {
            Some(known) if !entry.is_named || known.name == entry.name => Change::Keep,
            Some(known) => Change::Rename { member: known.member, from: known.name.clone() },
            None if new_names.get(&entry.name.to_lowercase()) == Some(&1) => {
                readdress(entry, &mut missing, is_sent_again)
            }
            None => Change::Add,
        };
        changes.push(change);
    }
    // A list of new students says nothing about the others.
    if missing.len() == members.len() {
        missing.clear();
    }
    Comparison { changes, missing }
}

/// The change for a student whose name is that of exactly one missing member.
fn readdress(entry: &Entry, missing: &mut Vec<KnownMember>, is_sent_again: bool) -> Change {
    let is_same = |member: &KnownMember| member.name.to_lowercase() == entry.name.to_lowercase();
    let mut same = missing.iter().enumerate().filter(|(_, member)| is_same(member));
    let (Some((index, member)), None) = (same.next(), same.next()) else { return Change::Add };
    if !is_sent_again
        && strsim::levenshtein(&member.email.to_lowercase(), &entry.email.to_lowercase()) > MAX_SLIP
    {
        return Change::Add;
    }
    if !member.can_readdress {
        return Change::Refuse(format!(
            "{} is in the class with the address {} and uses that account. If it is the same student, the \
             address is changed in the account; if it is another one, remove that member first",
            member.name, member.email
        ));
    }
    let known = missing.remove(index);
    Change::Readdress { member: known.member, from: known.email }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, email: &str) -> Entry {
        Entry { line: 1, row: String::new(), name: name.into(), is_named: true, email: email.into() }
    }

    fn member(number: u128, name: &str, email: &str, joined: bool) -> KnownMember {
        let can_readdress = !joined;
        KnownMember { member: Uuid::from_u128(number), name: name.into(), email: email.into(), can_readdress }
    }

    #[test]
    fn second_week_shows_what_differs() {
        let members = [
            member(1, "Ada Lindqvist", "ada@x.org", true),
            member(2, "Bruno Okafor", "bruno@x.org", false),
            member(3, "Chiara Rossi", "chiara.rosi@x.org", false),
            member(4, "Eve", "eve@x.org", false),
        ];
        let entries = [
            entry("Ada Lindqvist-Berg", "ada@x.org"),
            entry("Bruno Okafor", "BRUNO@x.org"),
            entry("Chiara Rossi", "chiara.rossi@x.org"),
            entry("Dai Vernon", "dai@x.org"),
        ];
        let Comparison { changes, missing } = compare(&entries, &members);
        assert_eq!(
            changes,
            [
                Change::Rename { member: Uuid::from_u128(1), from: "Ada Lindqvist".into() },
                Change::Keep,
                Change::Readdress { member: Uuid::from_u128(3), from: "chiara.rosi@x.org".into() },
                Change::Add,
            ]
        );
        assert_eq!(missing, [members[3].clone()]);
    }

    #[test]
    fn students_of_one_name_stay_two() {
        let members = [member(1, "Jo Beck", "jo@x.org", false), member(2, "Ada", "ada@x.org", false)];
        let more = compare(&[entry("Jo Beck", "other@x.org")], &members);
        assert_eq!((more.changes, more.missing), (vec![Change::Add], vec![]), "a list of new students");
        let both = [entry("Jo Beck", "jo@x.org"), entry("Jo Beck", "other@x.org"), entry("Ada", "ada@x.org")];
        assert_eq!(compare(&both, &members).changes, [Change::Keep, Change::Add, Change::Keep]);
    }

    #[test]
    fn address_of_account_in_use_stays() {
        let members = [member(1, "Jo Beck", "jo@x.org", true), member(2, "Ada", "ada@x.org", false)];
        let again = compare(&[entry("Jo Beck", "jo.beck@x.org"), entry("Ada", "ada@x.org")], &members);
        assert!(matches!(&again.changes[0], Change::Refuse(_)), "{:?}", again.changes);
    }

    #[test]
    fn list_without_names_renames_nobody() {
        let members = [member(1, "Ada", "ada@x.org", false)];
        let entries = [Entry { is_named: false, ..entry("ada", "ada@x.org") }];
        assert_eq!(compare(&entries, &members).changes, [Change::Keep]);
    }
}
