//! The text of a refusal: which limit, what is used of it, what to do, and who can raise it. Pure.

use std::fmt;

use protocol::api::{budget::BudgetResource, user::Role};

use super::decide::{Excess, Level};

/// Names of running workspaces in a refusal.
const MAX_NAMES: usize = 5;

/// A request that a budget does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRefusal {
    pub excess: Excess,
    /// The role of who made the request.
    pub caller: Role,
    /// Names of the caller's own workspaces that run or wait, the oldest first. None if it is about those of
    /// somebody else, of which the caller may not see all.
    pub running: Option<Vec<String>>,
}

impl std::error::Error for BudgetRefusal {}

impl fmt::Display for BudgetRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, remedy) = (self.cause(), self.remedy());
        write!(formatter, "{what}. {remedy}{}", self.who_can_raise())
    }
}

impl BudgetRefusal {
    fn cause(&self) -> String {
        let Excess { level, resource, wanted, used, limit } = self.excess;
        let whose = whose(level);
        let [wanted, used_text, limit_text] = [wanted, used, limit].map(|amount| format(resource, amount));
        let start = "Cannot start the workspace:";
        let running = "that run or wait have";
        match resource {
            BudgetResource::Running => {
                format!("{start} {}, and {limit} may run at once", self.describe_running())
            }
            BudgetResource::Vcpus => {
                format!(
                    "{start} it has {wanted}, and the workspaces of {whose} {running} {used} of {limit_text}"
                )
            }
            BudgetResource::Memory => format!(
                "{start} it has {wanted} of memory, and the workspaces of {whose} {running} {used_text} of \
                 {limit_text}"
            ),
            BudgetResource::Scratch => format!(
                "{start} its scratch disk has {wanted}, and those of the workspaces of {whose} {running} \
                 {used_text} of {limit_text}"
            ),
            BudgetResource::Starts => format!(
                "{start} the workspaces of {whose} were started {used} times in the last minute, and \
                 {limit} starts are the limit"
            ),
            BudgetResource::Workspaces => {
                format!("Cannot create the workspace: there are {used} of {limit} workspaces of {whose}")
            }
            BudgetResource::Homes => format!(
                "Cannot reserve {wanted} for the home: the homes of {whose} have {used_text} of {limit_text}"
            ),
            BudgetResource::Egress => format!(
                "{start} the workspaces of {whose} have sent {used_text} of {limit_text} to the network this \
                 month"
            ),
            BudgetResource::History => {
                let of = match level {
                    Level::Home => "this home".to_owned(),
                    _ => format!("the homes of {whose}"),
                };
                format!(
                    "Cannot keep another snapshot: the requested and named ones of {of} have stored \
                     {used_text} of {limit_text}"
                )
            }
        }
    }

    /// The workspaces that run or wait. Other callers than their owner learn no names.
    fn describe_running(&self) -> String {
        let Excess { level, used, .. } = self.excess;
        match (&self.running, level) {
            (Some(names), Level::User) => {
                let mut listed: Vec<_> =
                    names.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
                if names.len() > MAX_NAMES {
                    listed.push("…".to_owned());
                }
                format!("{used} of your workspaces run or wait ({})", listed.join(", "))
            }
            (None, Level::User) => format!("{used} other workspaces of its owner run or wait"),
            _ => format!("{used} workspaces of {} run or wait", whose(level)),
        }
    }

    fn remedy(&self) -> &'static str {
        match self.excess.resource {
            BudgetResource::Running
            | BudgetResource::Vcpus
            | BudgetResource::Memory
            | BudgetResource::Scratch => "Stop one of them first",
            BudgetResource::Starts => "Try again in a minute",
            BudgetResource::Workspaces | BudgetResource::Homes => "Delete a workspace that is not needed",
            BudgetResource::History => "Delete some of them first",
            BudgetResource::Egress => "Wait for the first day of the next month (UTC)",
        }
    }

    /// The end of the sentence that says who can raise the limit.
    fn who_can_raise(&self) -> &'static str {
        match (self.excess.level, self.caller) {
            (Level::Home | Level::Tenant, _) => ", or ask the operator of this server for more",
            (Level::User | Level::Class, Role::Owner) => ", or raise the limit with `burrow budget set`",
            (Level::User | Level::Class, _) => ", or ask an owner of your organisation for more",
        }
    }
}

fn whose(level: Level) -> &'static str {
    match level {
        Level::Home | Level::User => "its owner",
        Level::Class => "its class",
        Level::Tenant => "this organisation",
    }
}

/// An amount with its unit.
fn format(resource: BudgetResource, amount: u64) -> String {
    match resource {
        BudgetResource::Vcpus if amount == 1 => "1 vCPU".to_owned(),
        BudgetResource::Vcpus => format!("{amount} vCPUs"),
        _ if resource.is_bytes() => format_bytes(amount),
        _ => amount.to_string(),
    }
}

/// A size in GiB with one decimal where it is not whole.
pub fn format_bytes(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib < 1024 {
        format!("{mib} MiB")
    } else if mib.is_multiple_of(1024) {
        format!("{} GiB", mib / 1024)
    } else {
        format!("{:.1} GiB", mib as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn refusal(level: Level, resource: BudgetResource, amounts: [u64; 3]) -> BudgetRefusal {
        let [wanted, used, limit] = amounts;
        let excess = Excess { level, resource, wanted, used, limit };
        BudgetRefusal { excess, caller: Role::Member, running: None }
    }

    #[test]
    fn refusal_names_limit_use_and_who_raises_it() {
        for (refusal, expected) in [
            (
                refusal(Level::User, BudgetResource::Scratch, [8 * GIB, 4 * GIB, 10 * GIB]),
                "Cannot start the workspace: its scratch disk has 8 GiB, and those of the workspaces of its \
                 owner that run or wait have 4 GiB of 10 GiB. Stop one of them first, or ask an owner of \
                 your organisation for more",
            ),
            (
                refusal(Level::Class, BudgetResource::Vcpus, [2, 3, 4]),
                "Cannot start the workspace: it has 2 vCPUs, and the workspaces of its class that run or \
                 wait have 3 of 4 vCPUs. Stop one of them first, or ask an owner of your organisation for \
                 more",
            ),
            (
                refusal(Level::Tenant, BudgetResource::Running, [1, 7, 7]),
                "Cannot start the workspace: 7 workspaces of this organisation run or wait, and 7 may run \
                 at once. Stop one of them first, or ask the operator of this server for more",
            ),
            (
                refusal(Level::User, BudgetResource::Starts, [1, 20, 20]),
                "Cannot start the workspace: the workspaces of its owner were started 20 times in the last \
                 minute, and 20 starts are the limit. Try again in a minute, or ask an owner of your \
                 organisation for more",
            ),
            (
                refusal(Level::User, BudgetResource::Homes, [4097 << 20, 6 * GIB, 10 * GIB]),
                "Cannot reserve 4.0 GiB for the home: the homes of its owner have 6 GiB of 10 GiB. Delete a \
                 workspace that is not needed, or ask an owner of your organisation for more",
            ),
            (
                refusal(Level::User, BudgetResource::Egress, [1, 11 * GIB, 10 * GIB]),
                "Cannot start the workspace: the workspaces of its owner have sent 11 GiB of 10 GiB to the \
                 network this month. Wait for the first day of the next month (UTC), or ask an owner of your \
                 organisation for more",
            ),
            (
                refusal(Level::Home, BudgetResource::History, [1, 2 * GIB, 2 * GIB]),
                "Cannot keep another snapshot: the requested and named ones of this home have stored 2 GiB \
                 of 2 GiB. Delete some of them first, or ask the operator of this server for more",
            ),
        ] {
            assert_eq!(refusal.to_string(), expected);
        }
    }

    #[test]
    fn owner_of_workspaces_learns_their_names() {
        let other = refusal(Level::User, BudgetResource::Running, [1, 2, 2]);
        assert!(!other.to_string().contains('`'), "a teacher learns no names: {other}");
        let own = BudgetRefusal { running: Some(vec!["a".to_owned(), "b".to_owned()]), ..other };
        assert!(
            own.to_string().contains("2 of your workspaces run or wait (`a`, `b`), and 2 may run at once"),
            "{own}"
        );
        let owner = BudgetRefusal { caller: Role::Owner, ..own };
        assert!(owner.to_string().contains("`burrow budget set`"), "{owner}");
    }
}
