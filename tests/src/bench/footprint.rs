//! The bytes that a snapshot uploads for a change, and the memory of the processes.

use burrow_tests::{Stack, processes::role_of};
use serde_json::Value;

use super::{Goal, Row, directory, id_of, stack};

/// Random data, which cannot be compressed.
const WRITTEN_MIB: f64 = 64.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Measures the upload of a snapshot and the memory of the processes.
pub async fn measure() -> Vec<Row> {
    let directory = directory();
    let stack = stack("microvm", &directory).await;
    let controller = resident_mib(stack.pid());
    let gateway = resident_mib(role_of(stack.pid(), "gateway").expect("a gateway"));
    stack.run_ok(&["create", "bench"]).await;
    stack.sh("bench", "true").await;
    let supervisor = role_of(stack.pid(), "runner").expect("a runner");
    let session = role_of(supervisor, "runner").expect("a session");
    let runner = [supervisor, session].map(proportional_mib);
    stack.run_ok(&["stop", "bench"]).await;
    let before = uploaded_bytes(&stack).await;
    stack.sh("bench", &format!("head -c {WRITTEN_MIB}M /dev/urandom > ~/random; sync")).await;
    stack.run_ok(&["stop", "bench"]).await;
    let sent = (uploaded_bytes(&stack).await - before) / MIB;
    stack.interrupt().await;
    vec![
        Row {
            name: "snapshot: bytes uploaded ÷ bytes changed",
            detail: format!("{sent:.1} MiB ÷ {WRITTEN_MIB} MiB of random data in one file"),
            value: sent / WRITTEN_MIB,
            goal: Goal::AtMost(1.1),
            unit: "×",
        },
        Row {
            name: "memory of a runner without its VMM",
            detail: format!(
                "proportional, while one workspace runs: supervisor {:.0} MiB + session {:.0} MiB",
                runner[0], runner[1]
            ),
            value: runner[0] + runner[1],
            goal: Goal::AtMost(30.0),
            unit: "MiB",
        },
        Row {
            name: "memory of controller and gateway, idle",
            detail: format!("resident: {controller:.0} MiB + {gateway:.0} MiB"),
            value: controller + gateway,
            goal: Goal::AtMost(120.0),
            unit: "MiB",
        },
    ]
}

/// Bytes that all snapshots so far have uploaded.
async fn uploaded_bytes(stack: &Stack) -> f64 {
    let id = id_of(stack, "bench").await;
    let (_, list) = stack.get(&format!("/workspaces/{id}/snapshots")).await;
    let snapshots = list["snapshots"].as_array().expect("a list");
    snapshots.iter().filter_map(|one: &Value| one["uploaded_bytes"].as_f64()).sum()
}

fn resident_mib(pid: u32) -> f64 {
    read_mib(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// What is shared with other processes, such as the code, counts in equal parts.
fn proportional_mib(pid: u32) -> f64 {
    read_mib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn read_mib(path: &str, field: &str) -> f64 {
    let status = std::fs::read_to_string(path).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a size");
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib / 1024.0
}
