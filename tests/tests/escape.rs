//! Tries to leave a guest, as its user and as root, and compares each outcome with a table.
//!
//! The probes are `tests/guest/escape/probes.py`; the table beside it has the outcome for the user and for
//! root, and why something works. A new probe, and anything that works which did not before, fails the
//! test.

use std::{collections::BTreeMap, net::TcpListener};

use burrow_tests::{Stack, StackOptions, guests_enabled, short_directory};

const PROBES: &str = include_str!("../guest/escape/probes.py");
const EXPECTED: &str = include_str!("../guest/escape/microvm.txt");

/// The outcome of each probe.
type Outcomes<'a> = BTreeMap<&'a str, &'a str>;

/// Addresses of this host that a guest must not reach: all but loopback, of version 4.
fn host_addresses() -> Vec<String> {
    let output = std::process::Command::new("hostname").arg("-I").output().expect("it runs");
    let output = String::from_utf8(output.stdout).expect("text");
    output.split_whitespace().filter(|address| !address.contains(':')).map(str::to_owned).take(1).collect()
}

async fn probe(stack: &Stack, prefix: &[&str], arguments: &[String]) -> String {
    let mut command = vec!["exec", "-i", "box", "--"];
    command.extend(prefix);
    command.extend(["python3", "-"]);
    command.extend(arguments.iter().map(String::as_str));
    let output = stack.run_with_input(&command, Some(PROBES.as_bytes())).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn parse(output: &str) -> Outcomes<'_> {
    output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(outcome, name)| (name.trim(), outcome))
        .collect()
}

/// The table's rows: outcome for the user, outcome for root, name, and a comment after `#`.
fn expected() -> (Outcomes<'static>, Outcomes<'static>) {
    let rows = EXPECTED.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|row| {
        let row = row.split_once(" # ").map_or(row, |(row, _)| row);
        let (user, rest) = row.split_once(' ').expect("an outcome");
        let (root, name) = rest.trim_start().split_once(' ').expect("another outcome");
        ((name.trim(), user), (name.trim(), root))
    })
    .unzip()
}

#[tokio::test]
async fn guest_cannot_leave_its_microvm() {
    if !guests_enabled() {
        return;
    }
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("microvm", &place.path().join("d"))).await;
    stack.run_ok(&["create", "box"]).await;
    let addresses = host_addresses();
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    for address in &addresses {
        // Otherwise nobody could connect, and a refusal would prove nothing.
        std::net::TcpStream::connect((address.as_str(), port)).expect("the host reaches itself");
    }
    let mut arguments = vec![port.to_string()];
    arguments.extend(addresses);
    let user = probe(&stack, &[], &arguments).await;
    let root = probe(&stack, &["sudo"], &arguments).await;
    let (user, root) = (parse(&user), parse(&root));
    assert!(user.len() >= 100, "{} probes", user.len());
    let (user_expected, root_expected) = expected();
    let differing = |found: &Outcomes<'_>, expected: &Outcomes<'_>| {
        let names = found.keys().chain(expected.keys());
        let differs = names.filter(|name| found.get(*name) != expected.get(*name));
        differs.map(|name| format!("{name}: {:?}", found.get(name))).collect::<Vec<_>>()
    };
    assert_eq!(differing(&user, &user_expected), Vec::<String>::new(), "as the user");
    assert_eq!(differing(&root, &root_expected), Vec::<String>::new(), "as root");
    stack.interrupt().await;
}
