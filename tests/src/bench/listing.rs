//! The time until a folder with as many entries as a listing can have is in the browser, compared with
//! `ls -lU`, which also looks at each entry and does not sort.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use burrow_tests::Stack;
use protocol::{WorkspaceId, files::MAX_ENTRIES};

use super::{Goal, Row, directory, id_of, median, stack};

/// Listings of each kind. They alternate, so that both are measured under the same load.
const LISTINGS: usize = 11;
/// The ratio: a listing has more about each entry, as JSON, and passes through agent, front and gateway.
const GOAL: f64 = 4.0;
/// Longer than that, and a user waits.
const GOAL_SECONDS: f64 = 1.0;

/// Measures listings of one folder.
pub async fn measure() -> Vec<Row> {
    let directory = directory();
    let stack = stack("fake", &directory).await;
    stack.run_ok(&["create", "bench"]).await;
    let create = format!("mkdir many && cd many && seq -f file-%g.txt {MAX_ENTRIES} | xargs touch && pwd");
    let many = stack.sh("bench", &create).await;
    let id = id_of(&stack, "bench").await;
    let (mut ours, mut theirs, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..LISTINGS {
        let (time, length) = time_listing(&stack, id).await;
        ours.push(time);
        bytes = length;
        theirs.push(time_ls(Path::new(many.trim())));
    }
    stack.interrupt().await;
    let (ours, theirs) = (median(&ours), median(&theirs));
    let mib = bytes as f64 / 1024.0 / 1024.0;
    vec![
        Row {
            name: "listing of 20,000 entries ÷ ls -lU, p50",
            detail: format!("{ours:.0?} ÷ {theirs:.0?}"),
            value: ours.as_secs_f64() / theirs.as_secs_f64(),
            goal: Goal::AtMost(GOAL),
            unit: "×",
        },
        Row {
            name: "listing of 20,000 entries, p50",
            detail: format!("{mib:.1} MiB of JSON through gateway, front and agent, to the last byte"),
            value: ours.as_secs_f64(),
            goal: Goal::AtMost(GOAL_SECONDS),
            unit: "s",
        },
    ]
}

/// The time of one listing through the API, and its size.
async fn time_listing(stack: &Stack, workspace: WorkspaceId) -> (Duration, usize) {
    let path = format!("/workspaces/{workspace}/agent/files?path=many");
    let request = stack.request(reqwest::Method::GET, &path);
    let begun = Instant::now();
    let response = request.send().await.expect("an answer");
    assert!(response.status().is_success(), "{}", response.status());
    let length = response.bytes().await.expect("a body").len();
    (begun.elapsed(), length)
}

fn time_ls(directory: &Path) -> Duration {
    let begun = Instant::now();
    let listed = Command::new("ls").arg("-lU").arg(directory).output().expect("ls runs").stdout;
    let time = begun.elapsed();
    assert_eq!(listed.iter().filter(|byte| **byte == b'\n').count(), MAX_ENTRIES + 1);
    time
}
