//! Project automation: one command for each task of developers and of the gate. It knows the
//! checkout and its tools. It links nothing of Burrow, so that it builds in seconds.

mod bench;
mod build;
mod check;
mod dist;
mod docs;
mod language;
mod node;
mod packages;
mod postgres;
mod prepare;
mod run;
mod test;
mod tools;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Build, run, test and measure Burrow. Lists the packages that it installs before it installs them"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, build everything, run `burrow up`
    Up {
        /// Passed to `burrow up`; see `burrow up --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run all tests; installs what they need
    Test {
        /// Leave out microVMs and the browser
        #[arg(long)]
        quick: bool,
        /// Only tests whose name contains one of these words
        filter: Vec<String>,
    },
    /// Check formatting, language, clippy, licences, links in the docs, and the web app's lint and types
    Check {
        /// Only report words to avoid and long lines, with counts per directory
        #[arg(long)]
        language: bool,
    },
    /// Write the generated files that are committed: checked queries, OpenAPI, the web app's API types
    Prepare {
        /// Only the checked queries
        #[arg(long)]
        queries: bool,
    },
    /// Build the documentation as a site in target/book/html
    Docs {
        /// Only write the command reference, from the grammar of the executable
        #[arg(long)]
        reference: bool,
    },
    /// Build the release in target/dist: executable, Debian package, container image, checksums, SBOM
    Dist {
        /// Test the Debian package in fresh roots of Debian, and the container image, instead
        #[arg(long)]
        test: bool,
    },
    /// Measure speed and size, side by side with other programs
    Bench {
        /// Passed to the benchmark: the rows to measure
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the tests optimized, with many more random cases
    Soak {
        /// How many times the cases of `test`
        #[arg(long, default_value_t = 100)]
        factor: u32,
        /// Only tests whose name contains one of these words; `volume` first: only the tests of homes
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
    std::env::set_current_dir(root()).context("Cannot enter the checkout")?;
    match task {
        Task::Up { arguments } => up(&arguments),
        Task::Test { quick, filter } => test::test(quick, &filter),
        Task::Check { language: false } => check::check(),
        Task::Check { language: true } => language::check(),
        Task::Prepare { queries } => prepare::prepare(queries),
        Task::Docs { reference: false } => docs::build(),
        Task::Docs { reference: true } => docs::write_reference(),
        Task::Dist { test: false } => dist::build(),
        Task::Dist { test: true } => dist::test(),
        Task::Bench { arguments } => bench::bench(&arguments),
        Task::Soak { factor, filter } => test::soak(factor, &filter),
    }
}

/// The directory of the checkout.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the checkout").to_owned()
}

fn up(arguments: &[String]) -> Result<()> {
    packages::install(packages::UP)?;
    node::ensure()?;
    build::web()?;
    build::executable(build::Profile::Up)?;
    build::agent(build::Profile::Up)?;
    let mut command = run::program(build::Profile::Up.executable());
    command.arg("up").args(arguments).envs(build::environment(build::Profile::Up));
    // This process becomes `burrow up`, so signals and the exit status need no forwarding.
    Err(run::replace(command))
}
