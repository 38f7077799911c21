//! `cargo xtask prepare`: writes the generated files that are committed: checked queries, the
//! OpenAPI document, the web app's API types.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::SystemTime,
};

use anyhow::{Context, Result};

use crate::{
    build, node,
    packages::{self, Package},
    postgres::Postgres,
    root, run,
};

/// Writes all generated files, or only the checked queries.
pub fn prepare(queries_only: bool) -> Result<()> {
    packages::install(Package::POSTGRES)?;
    run::stage("checked queries: controller/.sqlx", queries)?;
    if queries_only {
        return Ok(());
    }
    node::ensure()?;
    build::web_packages()?;
    let api = root().join("web/src/api");
    run::stage("web/src/api/openapi.json", || {
        fs::create_dir_all(&api)?;
        let document =
            run::output(run::cargo().args(["run", "--quiet", "-p", "burrow-tests", "--bin", "openapi"]))?;
        fs::write(api.join("openapi.json"), document).context("Cannot write openapi.json")
    })?;
    run::stage("web/src/api/schema.ts", || {
        run::run(node::npm().args([
            "exec",
            "--",
            "openapi-typescript",
            "src/api/openapi.json",
            "-o",
            "src/api/schema.ts",
        ]))
    })
}

/// Compiles the controller against a Postgres with all migrations applied; sqlx's macros record the
/// description of each query.
fn queries() -> Result<()> {
    let controller = root().join("controller");
    let postgres = Postgres::start()?;
    for migration in migrations()? {
        postgres.apply(&migration)?;
    }
    let fresh = tempfile::tempdir_in(root().join("target"))?;
    // The macros run only when the crate is compiled again.
    touch(&controller.join("src/lib.rs"))?;
    let checked = run::run(
        run::cargo()
            .args(["check", "-p", "burrow-controller", "--all-targets"])
            .env("DATABASE_URL", postgres.url())
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", fresh.path()),
    );
    // The next build must use the recorded queries, not this database.
    touch(&controller.join("src/lib.rs"))?;
    checked?;
    replace(fresh.path(), &controller.join(".sqlx"))
}

fn migrations() -> Result<Vec<PathBuf>> {
    let directory = root().join("controller/migrations");
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| {
            path.as_ref().is_ok_and(|path| path.extension().is_some_and(|extension| extension == "sql"))
        })
        .collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Replaces the recorded queries in `target` with those in `fresh`.
fn replace(fresh: &std::path::Path, target: &std::path::Path) -> Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(target)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            fs::remove_file(path)?;
        }
    }
    let mut count = 0;
    for entry in fs::read_dir(fresh)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "json") {
            fs::copy(entry.path(), target.join(entry.file_name()))?;
            count += 1;
        }
    }
    eprintln!("{count} queries recorded");
    Ok(())
}

fn touch(path: &std::path::Path) -> Result<()> {
    let file =
        File::options().append(true).open(path).with_context(|| format!("Cannot open {}", path.display()))?;
    Ok(file.set_modified(SystemTime::now())?)
}
