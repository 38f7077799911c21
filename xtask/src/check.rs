//! `cargo xtask check`: everything that is found without running the program.

use anyhow::Result;

use crate::{build, docs, language, node, run, tools};

/// What needs no network. Advisories come from a database on the internet; the CI workflow checks them.
const DENY_CHECKS: [&str; 3] = ["licenses", "sources", "bans"];

/// Runs all checks, the quick ones first.
pub fn check() -> Result<()> {
    node::ensure()?;
    run::stage("formatting", || run::run(run::cargo().args(["fmt", "--all", "--check"])))?;
    run::stage("language: words to avoid, long lines", language::check)?;
    run::stage("documentation: links, summary, commands", docs::check)?;
    deny()?;
    // Clippy compiles the crate that embeds the web app, so the web app is built first.
    build::web()?;
    run::stage("clippy", || {
        run::run(run::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    run::stage("web: lint", || run::run(node::npm().args(["run", "lint"])))?;
    run::stage("web: types", || run::run(node::npm().args(["run", "typecheck"])))
}

/// Licences, sources and banned or duplicate crates, as `deny.toml` says.
fn deny() -> Result<()> {
    let program = tools::install_cargo_deny()?;
    run::stage("cargo deny", || {
        run::run(run::program(&program).args(["--log-level", "error", "check"]).args(DENY_CHECKS))
    })
}
