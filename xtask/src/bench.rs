//! `cargo xtask bench`: builds what is measured and runs the benchmark.

use anyhow::Result;

use crate::{
    build::{self, Profile},
    node, packages, run, tools,
};

/// Measures the given rows; none: all of them.
pub fn bench(arguments: &[String]) -> Result<()> {
    packages::install(packages::UP)?;
    packages::install(packages::BENCH)?;
    let mut environment = build::environment(Profile::Release);
    // Rows about the volume alone need neither a microVM nor the web app.
    let rows: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if rows.is_empty() || rows.iter().any(|row| *row != "volume") {
        packages::install(packages::TEST)?;
        node::ensure()?;
        build::web()?;
        build::executable(Profile::Release)?;
        build::agent(Profile::Release)?;
        build::image(Profile::Release)?;
        environment.push(("BURROW_MOTO_SERVER", tools::install_moto()?));
    }
    run::run(
        run::cargo()
            .args(["run", "--release", "--quiet", "-p", "burrow-tests", "--bin", "bench", "--"])
            .args(arguments)
            .envs(environment)
            // Each measured server has its own data directory; the image is built once.
            .env("BURROW_IMAGE_CACHE", build::image_cache()),
    )
}
