//! `cargo xtask bench`: compares Burrow with another program or a physical limit, in one run, as
//! ratios. Times alone cannot be compared between computers.
//!
//! Each row has a goal and `ok` or `MISS`. The exit status says whether all goals are met.
//! Arguments select rows by name: start, echo, listing, snapshot, memory, volume, remote. `--quick` measures
//! less data.

use std::process::ExitCode;

#[path = "../bench/mod.rs"]
mod bench;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = &arguments[..]
        && first == bench::volume::CHILD
    {
        bench::volume::child(rest).await;
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    arguments.retain(|argument| argument != "--quick");
    let is_selected = |name: &str| {
        arguments.is_empty() || arguments.iter().any(|argument| name.contains(argument.as_str()))
    };
    let mut rows = Vec::new();
    if is_selected("start") {
        rows.push(bench::start::measure().await);
    }
    if is_selected("echo") {
        rows.push(bench::echo::measure().await);
    }
    if is_selected("listing") {
        rows.extend(bench::listing::measure().await);
    }
    if is_selected("snapshot") || is_selected("memory") {
        rows.extend(bench::footprint::measure().await);
    }
    if is_selected("volume") {
        rows.extend(bench::volume::measure(quick).await);
    }
    if is_selected("remote") || is_selected("far") {
        rows.push(bench::remote_start::measure(quick).await);
    }
    bench::print(&rows);
    if rows.iter().all(bench::Row::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
