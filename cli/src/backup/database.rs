//! Dumps a database and restores one, with the programs of Postgres.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    process::{Command, Stdio},
};

use super::create_private;
use crate::{output::CommandError, up::postgres::Connection};

/// Bytes of an error message that are read, and shown lines of it.
const MAX_MESSAGE_BYTES: u64 = 64 << 10;
const MAX_MESSAGE_LINES: usize = 3;

/// Writes a dump of the database into a new file.
pub(super) fn dump(connection: &Connection, path: &Path) -> Result<(), CommandError> {
    let failed = |error: &io::Error| CommandError::error("Cannot dump the database").because(error);
    let file = create_private(path).map_err(|error| failed(&error))?;
    let mut command = connection.command("pg_dump")?;
    command.args(["--format=custom", connection.database()]);
    command.stdout(file.try_clone().map_err(|error| failed(&error))?);
    run(command, "Cannot dump the database")?;
    file.sync_all().map_err(|error| failed(&error))
}

/// Replaces the database by the content of a dump.
pub(super) fn restore(connection: &Connection, dump: &Path) -> Result<(), CommandError> {
    let what = "Cannot restore the database";
    let file = File::open(dump).map_err(|error| CommandError::error(what).because(&error))?;
    let mut command = connection.command("pg_restore")?;
    command.args(["--clean", "--if-exists", "--create", "--exit-on-error", "--dbname=postgres"]);
    command.stdin(file).stdout(Stdio::null());
    run(command, what)
}

/// Runs a program to its end. If it fails, the end of its messages is the cause.
fn run(mut command: Command, what: &str) -> Result<(), CommandError> {
    let failed = |error: &io::Error| CommandError::error(what).because(error);
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(|error| failed(&error))?;
    let mut message = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    let read = (&mut stderr).take(MAX_MESSAGE_BYTES).read_to_string(&mut message);
    // The rest is read too, so that the program does not wait for a reader.
    let drained = io::copy(&mut stderr, &mut io::sink());
    let status = child.wait().map_err(|error| failed(&error))?;
    if status.success() {
        return Ok(());
    }
    read.and(drained).map_err(|error| failed(&error))?;
    let lines: Vec<&str> = message.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = lines[lines.len().saturating_sub(MAX_MESSAGE_LINES)..].join("; ");
    Err(CommandError::error(what).cause(if shown.is_empty() { status.to_string() } else { shown }))
}
