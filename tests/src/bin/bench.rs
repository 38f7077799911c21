//! `cargo xtask bench`: Burrow beside a peer or a physical limit, measured in one run, as ratios. Times alone mean nothing on a
//! machine that is not yours.
//!
//! Each row says its goal and `ok` or `MISS`; the exit status tells whether all goals were met. Words as arguments choose
//! rows by their names; `--quick` makes what is measured smaller, for a fast look.

use std::process::ExitCode;

#[path = "../bench/mod.rs"]
mod bench;

#[tokio::main]
async fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, arguments @ ..] = &words[..]
        && word == bench::volume::CHILD
    {
        bench::volume::child(arguments).await;
        return ExitCode::SUCCESS;
    }
    let quick = words.iter().any(|word| word == "--quick");
    words.retain(|word| word != "--quick");
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut rows = Vec::new();
    if wanted("start") {
        rows.push(bench::start::measure().await);
    }
    if wanted("echo") {
        rows.push(bench::echo::measure().await);
    }
    if wanted("snapshot") || wanted("memory") {
        rows.extend(bench::footprint::measure().await);
    }
    if wanted("volume") {
        rows.extend(bench::volume::measure(quick).await);
    }
    if wanted("far") {
        rows.push(bench::far::measure(quick).await);
    }
    bench::print(&rows);
    if rows.iter().all(bench::Row::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
