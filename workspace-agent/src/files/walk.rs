//! Walks over the files of the home, for searches. Blocking. Knows no HTTP.
//!
//! The threads of a walk inherit the rights of the thread that starts it: the kernel copies the user and
//! the groups that file accesses are checked against.

use std::{num::NonZero, os::unix::ffi::OsStrExt as _, path::Path, thread::available_parallelism};

use ignore::{DirEntry, WalkBuilder};
use protocol::restore::RECORDS_DIRECTORY;

/// Most files and directories that one walk visits.
pub const MAX_VISITED: usize = 500_000;
/// More threads than this only take the processor away from the user's own programs.
const MAX_THREADS: usize = 4;
/// Directories that no search enters.
const SKIPPED: [&str; 1] = [".git"];
/// Directories that are searched only together with ignored files.
const IGNORED: [&str; 1] = ["node_modules"];
/// Directories directly in the home that hold copies, searched only together with ignored files.
const IGNORED_IN_HOME: [&str; 2] = [".cache", RECORDS_DIRECTORY];

/// A walk of `directory`, which is the home or below it. Follows no link. Leaves out `.git`, and unless
/// `ignored` is set, what a `.gitignore` names, `node_modules` and `.cache`.
pub fn walk(home: &Path, directory: &Path, ignored: bool) -> WalkBuilder {
    let (walked_home, root) = (home.to_owned(), directory.to_owned());
    let mut walk = WalkBuilder::new(directory);
    walk.hidden(false)
        .ignore(false)
        .git_ignore(!ignored)
        .git_exclude(!ignored)
        .git_global(false)
        // A directory that is searched by itself obeys the files above it.
        .parents(directory != home)
        .require_git(false)
        .follow_links(false)
        .threads(available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS))
        .filter_entry(move |entry| entry.path() == root || !is_left_out(entry, &walked_home, ignored));
    walk
}

fn is_left_out(entry: &DirEntry, home: &Path, ignored: bool) -> bool {
    if !entry.file_type().is_some_and(|kind| kind.is_dir()) {
        return false;
    }
    let name = entry.file_name().as_bytes();
    let is_one_of = |names: &[&str]| names.iter().any(|other| name == other.as_bytes());
    let is_in_home = entry.path().parent() == Some(home);
    is_one_of(&SKIPPED) || (!ignored && (is_one_of(&IGNORED) || (is_in_home && is_one_of(&IGNORED_IN_HOME))))
}
