//! `cargo xtask bench`: builds what is measured and runs the benchmark.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    build::{self, Profile},
    node, packages, root, run, tools,
};

/// The server of documents that ours is compared with, and the packages of the npm registry that it needs.
const DOCUMENT_SERVER: [&str; 3] = ["y-websocket@2.1.0", "yjs@13.6.33", "ws@8.23.0"];

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
        build::browser_packages()?;
        build::executable(Profile::Release)?;
        build::agent(Profile::Release)?;
        build::image(Profile::Release)?;
        environment.push(("BURROW_MOTO_SERVER", tools::install_moto()?));
        environment.push(("BURROW_DOCUMENT_SERVER", install_document_server()?));
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

/// Installs the server into `target/`. Returns its script.
fn install_document_server() -> Result<PathBuf> {
    let directory = root().join("target/peers");
    let script = directory.join("node_modules/y-websocket/bin/server.cjs");
    if !script.is_file() {
        run::stage("npm install: y-websocket into target/peers", || {
            std::fs::create_dir_all(&directory)?;
            run::run(
                Command::new("npm")
                    .env("PATH", node::path())
                    .args(["install", "--no-audit", "--no-fund", "--omit=optional", "--prefix"])
                    .arg(&directory)
                    .args(DOCUMENT_SERVER),
            )
        })?;
    }
    Ok(script)
}
