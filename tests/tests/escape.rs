//! Tries to leave a sandbox of each tier, and compares each outcome with the tier's table.
//!
//! The probes are in `tests/guest/escape`: `probes.py` for every tier, `kernel.py` where the sandbox has no
//! kernel of its own. A table has the outcome for each user, and why something works. A new probe, and
//! anything that works which did not before, fails the test.

use std::{collections::BTreeMap, net::TcpListener};

use burrow_tests::{Stack, StackOptions, guests_enabled, short_directory};

const PROBES: &str = include_str!("../guest/escape/probes.py");
const KERNEL_PROBES: &str = include_str!("../guest/escape/kernel.py");

/// What is tried in a tier.
struct Suite {
    template: &'static str,
    /// Whether the kernel is always the same. With others, what it has and what it refuses is the same.
    has_own_kernel: bool,
    /// The rows: an outcome for each of `users`, the probe's name, and a comment after `#`.
    table: &'static str,
    /// The command that runs a program as a user, and who that is.
    users: &'static [(&'static [&'static str], &'static str)],
}

const USER: (&[&str], &str) = (&[], "as the user");

/// The outcome of each probe.
type Outcomes<'a> = BTreeMap<&'a str, &'a str>;

/// Addresses of this host that a sandbox must not reach: all but loopback, of version 4.
fn host_addresses() -> Vec<String> {
    let output = std::process::Command::new("hostname").arg("-I").output().expect("it runs");
    let output = String::from_utf8(output.stdout).expect("text");
    output.split_whitespace().filter(|address| !address.contains(':')).map(str::to_owned).take(1).collect()
}

impl Suite {
    fn probes(&self) -> String {
        [PROBES, if self.has_own_kernel { "" } else { KERNEL_PROBES }, "run_all()\n"].join("\n")
    }

    async fn run(&self, stack: &Stack, prefix: &[&str], arguments: &[String]) -> String {
        let mut command = vec!["exec", "-i", "box", "--"];
        command.extend(prefix);
        command.extend(["python3", "-"]);
        command.extend(arguments.iter().map(String::as_str));
        let output = stack.run_with_input(&command, Some(self.probes().as_bytes())).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What the table says of the user in this column.
    fn expected(&self, column: usize) -> Outcomes<'static> {
        let rows = self.table.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        rows.map(|row| {
            let mut rest = row.split_once(" # ").map_or(row, |(row, _)| row);
            let outcomes = self.users.iter().map(|_| {
                let (outcome, others) = rest.split_once(' ').expect("an outcome");
                rest = others.trim();
                outcome
            });
            let outcomes: Vec<_> = outcomes.collect();
            (rest, outcomes[column])
        })
        .collect()
    }

    fn is_same(&self, found: Option<&&str>, expected: Option<&&str>) -> bool {
        let not_done = |outcome: Option<&&str>| outcome.is_some_and(|outcome| *outcome != "done");
        found == expected || (!self.has_own_kernel && not_done(found) && not_done(expected))
    }

    /// Runs the probes as each user in a workspace of the tier, on a server of its own.
    async fn check_alone(&self) {
        let place = short_directory();
        let tier: &[&str] = if self.has_own_kernel { &[] } else { &["--allow-tier", self.template] };
        let stack = Stack::start(StackOptions::new("microvm", &place.path().join("d")).with(tier)).await;
        self.check(&stack).await;
        stack.interrupt().await;
    }

    async fn check(&self, stack: &Stack) {
        stack.run_ok(&["create", "box", "--template", self.template]).await;
        let addresses = host_addresses();
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        for address in &addresses {
            // Otherwise nobody could connect, and a refusal would prove nothing.
            std::net::TcpStream::connect((address.as_str(), port)).expect("the host reaches itself");
        }
        let mut arguments = vec![port.to_string()];
        arguments.extend(addresses);
        for (column, (prefix, name)) in self.users.iter().enumerate() {
            let output = self.run(stack, prefix, &arguments).await;
            let (found, expected) = (parse(&output), self.expected(column));
            assert!(found.len() >= 100, "{} probes", found.len());
            let names = found.keys().chain(expected.keys());
            let differing = names.filter(|name| !self.is_same(found.get(*name), expected.get(*name)));
            let differing: Vec<_> = differing.map(|name| format!("{name}: {:?}", found.get(name))).collect();
            assert_eq!(differing, Vec::<String>::new(), "{name} of `{}`\n{output}", self.template);
        }
    }
}

fn parse(output: &str) -> Outcomes<'_> {
    output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(outcome, name)| (name.trim(), outcome))
        .collect()
}

#[tokio::test]
async fn guest_cannot_leave_its_microvm() {
    if !guests_enabled() {
        return;
    }
    let suite = Suite {
        template: "base",
        has_own_kernel: true,
        table: include_str!("../guest/escape/microvm.txt"),
        users: &[USER, (&["sudo"], "as root")],
    };
    suite.check_alone().await;
}

#[tokio::test]
async fn program_cannot_leave_its_container() {
    if !guests_enabled() {
        return;
    }
    if let Err(reason) = runner::check_containers() {
        return eprintln!("skipped, no container is started: {reason}");
    }
    let suite = Suite {
        template: "container",
        has_own_kernel: false,
        table: include_str!("../guest/escape/container.txt"),
        users: &[USER],
    };
    suite.check_alone().await;
}

#[tokio::test]
async fn program_cannot_leave_its_gvisor_sandbox() {
    if !guests_enabled() {
        return;
    }
    if let Err(reason) = runner::gvisor::check_available(None).await {
        return eprintln!("skipped, no sandbox of gVisor is started: {reason}");
    }
    let suite = Suite {
        template: "gvisor",
        has_own_kernel: false,
        table: include_str!("../guest/escape/gvisor.txt"),
        // gVisor's kernel lets everybody become root of a namespace of its own.
        users: &[USER, (&["unshare", "--user", "--map-root-user"], "as root of a user namespace")],
    };
    suite.check_alone().await;
}
