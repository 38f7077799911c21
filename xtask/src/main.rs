//! Project automation: one word for each thing that people and the gate do. It knows the checkout and its tools, and links
//! nothing of Burrow, so that it builds in seconds.

mod build;
mod node;
mod packages;
mod postgres;
mod prepare;
mod run;
mod test;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, runs, tests and measures Burrow. Says what it is going to install before it does"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, build everything, run `burrow up`
    Up {
        /// Passed on to `burrow up`; see `burrow up --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run all tests; installs what they need
    Test {
        /// Leave out microVMs and the browser
        #[arg(long)]
        quick: bool,
        /// Only tests whose name holds one of these words
        filter: Vec<String>,
    },
    /// Formatting, clippy, the web's linter and types
    Check,
    /// Record anew what is generated: checked queries, OpenAPI, the web's API types
    Prepare {
        /// Only the checked queries
        #[arg(long)]
        queries: bool,
    },
    /// Measure, side by side in one run
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The long proofs: what the tests do in short, with full figures
    Soak {
        /// How many times the short share
        #[arg(long, default_value_t = 100)]
        factor: u32,
        /// Only tests whose name holds one of these words; `volume` first: the proofs of homes
        filter: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(arguments.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    std::env::set_current_dir(root()).context("the checkout cannot be entered")?;
    match task {
        Task::Up { arguments } => up(&arguments),
        Task::Test { quick, filter } => test::test(quick, &filter),
        Task::Check => check(),
        Task::Prepare { queries } => prepare::prepare(queries),
        Task::Bench { arguments } => bench(&arguments),
        Task::Soak { factor, filter } => test::soak(factor, &filter),
    }
}

/// Where the checkout is.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout").to_owned()
}

fn up(arguments: &[String]) -> Result<()> {
    packages::install(packages::UP)?;
    node::ensure()?;
    build::web()?;
    build::executable(build::Profile::Release)?;
    build::agent(build::Profile::Release)?;
    let mut command = run::program(build::Profile::Release.executable());
    command.arg("up").args(arguments).envs(build::environment(build::Profile::Release));
    // This process becomes it: signals and the exit status need no passing on.
    Err(run::replace(command))
}

fn check() -> Result<()> {
    node::ensure()?;
    run::stage("formatting", || run::run(run::cargo().args(["fmt", "--all", "--check"])))?;
    // Clippy compiles the crate that embeds the web app's pages, so they are there first.
    build::web()?;
    run::stage("clippy", || {
        run::run(run::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    run::stage("web: lint", || run::run(run::npm().args(["run", "lint"])))?;
    run::stage("web: types", || run::run(run::npm().args(["run", "typecheck"])))
}

fn bench(arguments: &[String]) -> Result<()> {
    packages::install(packages::UP)?;
    packages::install(packages::BENCH)?;
    // Rows about the volume alone need no machine and no page.
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if words.is_empty() || words.iter().any(|word| *word != "volume") {
        packages::install(packages::TEST)?;
        node::ensure()?;
        build::web()?;
        build::executable(build::Profile::Release)?;
        build::agent(build::Profile::Release)?;
        build::image(build::Profile::Release)?;
        test::moto()?;
    }
    run::run(
        run::cargo()
            .args(["run", "--release", "--quiet", "-p", "burrow-tests", "--bin", "bench", "--"])
            .args(arguments)
            .envs(build::environment(build::Profile::Release))
            // Each measured server has a data directory of its own; the image is built once.
            .env("BURROW_IMAGE_CACHE", build::image_cache()),
    )
}
