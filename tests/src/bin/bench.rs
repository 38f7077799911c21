//! `cargo xtask bench`: compares Burrow with another program or a physical limit, in one run, as
//! ratios. Times alone cannot be compared between computers.
//!
//! Each row has a goal and `ok` or `MISS`. The exit status says whether all goals are met.
//! Arguments select rows by name, see [`BENCH_ROWS`]; none selects all. `--quick` measures less data.

use std::process::ExitCode;

use burrow_tests::BENCH_ROWS;

#[path = "../bench/mod.rs"]
mod bench;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = &arguments[..]
        && first == bench::volume::CHILD
    {
        bench::volume::child(rest).await;
        return ExitCode::SUCCESS;
    }
    let selection = match Selection::parse(&arguments) {
        Ok(selection) => selection,
        Err(unknown) => {
            eprintln!("error: Cannot measure `{unknown}`: the rows are {}", BENCH_ROWS.join(", "));
            return ExitCode::from(2);
        }
    };
    let rows = measure(&selection).await;
    bench::print(&rows);
    if rows.iter().all(bench::Row::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure(selection: &Selection) -> Vec<bench::Row> {
    let mut rows = Vec::new();
    if selection.has("start") {
        rows.extend(bench::start::measure().await);
    }
    if selection.has("herd") {
        rows.extend(bench::herd::measure().await);
    }
    if selection.has("tiers") {
        rows.extend(bench::tiers::measure().await);
    }
    if selection.has("neighbour") {
        rows.push(bench::neighbour::measure().await);
    }
    if selection.has("echo") {
        rows.push(bench::echo::measure().await);
    }
    if selection.has("documents") {
        rows.extend(bench::documents::measure(selection.is_quick).await);
    }
    if selection.has("listing") {
        rows.extend(bench::listing::measure().await);
    }
    if selection.has("snapshot") || selection.has("memory") {
        rows.extend(bench::footprint::measure().await);
    }
    if selection.has("volume") {
        rows.extend(bench::volume::measure(selection.is_quick).await);
    }
    if selection.has("remote") {
        rows.push(bench::remote_start::measure(selection.is_quick).await);
    }
    rows
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
struct Selection {
    rows: Vec<&'static str>,
    is_quick: bool,
}

impl Selection {
    /// Fails with the first argument that is neither a row nor `--quick`.
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut selection = Self { rows: Vec::new(), is_quick: false };
        for argument in arguments {
            // `far` is the earlier name of a row.
            let argument = if argument == "far" { "remote" } else { argument.as_str() };
            match BENCH_ROWS.into_iter().find(|row| *row == argument) {
                Some(row) => selection.rows.push(row),
                None if argument == "--quick" => selection.is_quick = true,
                None => return Err(argument.to_owned()),
            }
        }
        if selection.rows.is_empty() {
            selection.rows.extend(BENCH_ROWS);
        }
        Ok(selection)
    }

    fn has(&self, row: &str) -> bool {
        self.rows.contains(&row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Selection, String> {
        Selection::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn rows_are_selected_by_name() {
        let all = parse("--quick").expect("known");
        assert!(all.is_quick && all.rows == BENCH_ROWS);
        let two = parse("echo volume").expect("known");
        assert_eq!(two, Selection { rows: vec!["echo", "volume"], is_quick: false });
    }

    #[test]
    fn unknown_row_is_refused() {
        assert_eq!(parse("echo nonsense"), Err("nonsense".to_owned()));
        assert_eq!(parse("--quik"), Err("--quik".to_owned()));
    }
}
