//! Walks over the files of the home, for searches. Blocking. Knows no HTTP.
//!
//! The threads of a walk inherit the rights of the thread that starts it: the kernel copies the user and
//! the groups that file accesses are checked against.

use std::{fs, num::NonZero, os::unix::ffi::OsStrExt as _, path::Path, thread::available_parallelism};

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

/// Largest `.gitignore` that is read.
const MAX_IGNORE_FILE_BYTES: u64 = 1024 * 1024;

/// A walk of `directory`, which is the home or below it. Follows no link. Leaves out `.git`, and unless
/// `ignored` is set, what a `.gitignore` names, `node_modules` and `.cache`. A directory below whose
/// `.gitignore` cannot be read, such as a pipe, is left out then; if `directory` has one or is below one,
/// no `.gitignore` counts.
pub fn walk(home: &Path, directory: &Path, ignored: bool) -> WalkBuilder {
    let (walked_home, root) = (home.to_owned(), directory.to_owned());
    let mut searched = directory.ancestors().take_while(|ancestor| ancestor.starts_with(home));
    let obeys_ignore_files = !ignored && !searched.any(has_unreadable_ignore_file);
    let mut walk = WalkBuilder::new(directory);
    walk.hidden(false)
        .ignore(false)
        .git_ignore(obeys_ignore_files)
        // Its file would be read unchecked.
        .git_exclude(false)
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
    let is_ignored = || {
        is_one_of(&IGNORED)
            || (is_in_home && is_one_of(&IGNORED_IN_HOME))
            || has_unreadable_ignore_file(entry.path())
    };
    is_one_of(&SKIPPED) || (!ignored && is_ignored())
}

/// Whether reading the directory's `.gitignore`, which the library does without a limit, could wait for a
/// writer or never end.
fn has_unreadable_ignore_file(directory: &Path) -> bool {
    let file = fs::metadata(directory.join(".gitignore"));
    file.is_ok_and(|file| !file.is_file() || file.len() > MAX_IGNORE_FILE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(home: &Path, directory: &str) -> Vec<String> {
        let entries = walk(home, &home.join(directory), false).build().flatten();
        let files = entries.filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
        let mut names: Vec<String> =
            files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn unreadable_ignore_files_are_not_read() {
        let home = tempfile::tempdir().expect("a directory");
        let path = |path: &str| home.path().join(path);
        for directory in ["large", "pipe/below", "endless", "good"] {
            fs::create_dir_all(path(directory)).expect("directories");
            fs::write(path(directory).join(directory.replace('/', "-")), "").expect("a file");
        }
        let comment = "#".repeat(MAX_IGNORE_FILE_BYTES as usize);
        fs::write(path("large/.gitignore"), format!("{comment}\nlarge\n")).expect("a file");
        let pipe = std::process::Command::new("mkfifo").arg(path("pipe/.gitignore")).status();
        assert!(pipe.expect("mkfifo runs").success());
        std::os::unix::fs::symlink("/dev/zero", path("endless/.gitignore")).expect("a link");
        // First what fails without reading a pipe.
        assert_eq!(files(home.path(), "large"), [".gitignore", "large"]);
        assert_eq!(files(home.path(), ""), ["good"]);
        assert_eq!(files(home.path(), "pipe/below"), ["pipe-below"]);
        assert_eq!(files(home.path(), "endless"), ["endless"]);
    }
}
