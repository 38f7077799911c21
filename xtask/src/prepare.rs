//! What is generated and checked in: the checked queries, the OpenAPI document, the web's API types.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::SystemTime,
};

use anyhow::{Context, Result};

use crate::{
    build::{self, Profile},
    node,
    packages::{self, Package},
    postgres::Postgres,
    root, run,
};

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
        // Debug builds read the web app from its folder at run time, so none has to be built for this.
        build::executable(Profile::Dev)?;
        fs::create_dir_all(&api)?;
        let document = run::output(run::program(Profile::Dev.executable()).arg("openapi"))?;
        fs::write(api.join("openapi.json"), document).context("openapi.json cannot be written")
    })?;
    run::stage("web/src/api/schema.ts", || {
        run::run(run::npm().args([
            "exec",
            "--",
            "openapi-typescript",
            "src/api/openapi.json",
            "-o",
            "src/api/schema.ts",
        ]))
    })
}

/// Describes every query to a Postgres with the migrations applied; sqlx's macros write the answers down.
fn queries() -> Result<()> {
    let controller = root().join("controller");
    let postgres = Postgres::start()?;
    for migration in migrations()? {
        postgres.apply(&migration)?;
    }
    let fresh = tempfile::tempdir_in(root().join("target"))?;
    // The macros run only when the crate is compiled.
    touch(&controller.join("src/lib.rs"))?;
    let checked = run::run(
        run::cargo()
            .args(["check", "-p", "burrow-controller", "--all-targets"])
            .env("DATABASE_URL", postgres.url())
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", fresh.path()),
    );
    // The next build must ask the recorded queries, not this database.
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

/// The files of `fresh` and no others come to lie in `place`.
fn replace(fresh: &std::path::Path, place: &std::path::Path) -> Result<()> {
    fs::create_dir_all(place)?;
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            fs::remove_file(path)?;
        }
    }
    let mut count = 0;
    for entry in fs::read_dir(fresh)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "json") {
            fs::copy(entry.path(), place.join(entry.file_name()))?;
            count += 1;
        }
    }
    eprintln!("{count} queries recorded");
    Ok(())
}

fn touch(path: &std::path::Path) -> Result<()> {
    let file =
        File::options().append(true).open(path).with_context(|| format!("{} is missing", path.display()))?;
    Ok(file.set_modified(SystemTime::now())?)
}
