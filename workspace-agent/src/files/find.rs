//! Finding files of the home by a part of their path. Blocking. Knows no HTTP.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use ignore::{DirEntry, WalkBuilder};
use nucleo_matcher::{
    Config, Matcher, Utf32Str,
    pattern::{CaseMatching, Normalization, Pattern},
};
use protocol::files::{FoundFiles, MAX_FOUND_FILES};

/// Most files and directories that one search visits.
const MAX_VISITED: usize = 500_000;
/// Directories that nobody looks for files in, wherever they are.
const SKIPPED: [&str; 2] = [".git", "node_modules"];
/// A directory directly in the home that holds copies only.
const CACHE: &str = ".cache";

/// Finds the files below `home` whose path matches `query` best: all its letters in their order,
/// better where they are neighbours or begin a word. Files that `.gitignore` names are left out, and
/// no link is followed. An empty query matches every file. Ends early when `is_cancelled` says so.
pub fn find_files(home: &Path, query: &str, is_cancelled: impl Fn() -> bool) -> FoundFiles {
    let mut search = Search::new(query);
    let mut visited = 0;
    let mut truncated = false;
    for entry in walk(home) {
        visited += 1;
        if visited > MAX_VISITED || is_cancelled() {
            truncated = true;
            break;
        }
        // A directory that cannot be read hides its files, as in the tree.
        let Ok(entry) = entry else { continue };
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        if let Some(path) = entry.path().strip_prefix(home).ok().and_then(Path::to_str) {
            search.add(path);
        }
    }
    FoundFiles { paths: search.into_paths(), truncated }
}

fn walk(home: &Path) -> ignore::Walk {
    let cache = home.join(CACHE);
    WalkBuilder::new(home)
        .hidden(false)
        .ignore(false)
        .git_global(false)
        .parents(false)
        .require_git(false)
        .follow_links(false)
        .sort_by_file_name(OsStr::cmp)
        .filter_entry(move |entry| !is_skipped(entry, &cache))
        .build()
}

fn is_skipped(entry: &DirEntry, cache: &PathBuf) -> bool {
    let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
    let name = entry.file_name().as_bytes();
    is_directory && (entry.path() == cache || SKIPPED.iter().any(|skipped| name == skipped.as_bytes()))
}

/// A match. A higher score is better; of equal ones, the shorter path and then the first name.
type Match = (u32, Reverse<(usize, String)>);

/// The best matches so far. Holds at most [`MAX_FOUND_FILES`] paths.
struct Search {
    pattern: Pattern,
    matcher: Matcher,
    /// The worst match is on top.
    best: BinaryHeap<Reverse<Match>>,
    letters: Vec<char>,
}

impl Search {
    fn new(query: &str) -> Self {
        Self {
            pattern: Pattern::parse(query, CaseMatching::Ignore, Normalization::Smart),
            matcher: Matcher::new(Config::DEFAULT.match_paths()),
            best: BinaryHeap::new(),
            letters: Vec::new(),
        }
    }

    fn add(&mut self, path: &str) {
        let text = Utf32Str::new(path, &mut self.letters);
        let Some(score) = self.pattern.score(text, &mut self.matcher) else { return };
        self.best.push(Reverse((score, Reverse((path.len(), path.to_owned())))));
        if self.best.len() > MAX_FOUND_FILES {
            self.best.pop();
        }
    }

    /// The paths, best first.
    fn into_paths(self) -> Vec<String> {
        let sorted = self.best.into_sorted_vec();
        sorted.into_iter().map(|Reverse((_, Reverse((_, path))))| path).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn home(files: &[&str]) -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = home.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, "").expect("a file");
        }
        home
    }

    fn find(home: &Path, query: &str) -> Vec<String> {
        find_files(home, query, || false).paths
    }

    #[test]
    fn finds_files_of_directories_never_opened() {
        let home = home(&["project/src/deep/main.rs", "project/README.md", "notes.txt", ".bashrc"]);
        assert_eq!(find(home.path(), "main"), ["project/src/deep/main.rs"]);
        assert_eq!(find(home.path(), "psdm"), ["project/src/deep/main.rs"], "letters in their order");
        assert_eq!(find(home.path(), "readme"), ["project/README.md"], "the case does not matter");
        assert_eq!(find(home.path(), "src main"), ["project/src/deep/main.rs"], "words");
        assert_eq!(find(home.path(), "bashrc"), [".bashrc"], "hidden files");
        assert_eq!(find(home.path(), "").len(), 4);
        assert!(find(home.path(), "nothing of this").is_empty());
    }

    #[test]
    fn name_that_matches_better_is_first() {
        let home = home(&["a/m/a/i/n/x.rs", "main.rs", "domain/router.rs"]);
        assert_eq!(find(home.path(), "main")[0], "main.rs");
    }

    #[test]
    fn leaves_out_what_nobody_looks_for() {
        let home = home(&["app/node_modules/x/main.js", "app/.git/main", ".cache/main", "app/out/main.o"]);
        fs::write(home.path().join("app/.gitignore"), "out/\n").expect("a file");
        fs::write(home.path().join("app/main.js"), "").expect("a file");
        assert_eq!(find(home.path(), "main"), ["app/main.js"]);
    }

    #[test]
    fn follows_no_link_and_skips_unnameable_files() {
        let home = home(&["file"]);
        std::os::unix::fs::symlink("/etc", home.path().join("out")).expect("a link");
        fs::write(home.path().join(OsStr::from_bytes(b"file-\xff")), "").expect("a file");
        assert_eq!(find(home.path(), "file"), ["file"]);
        assert!(find(home.path(), "passwd").is_empty());
    }

    #[test]
    fn keeps_the_best_and_stops_when_cancelled() {
        let names: Vec<String> = (0..MAX_FOUND_FILES + 20).map(|file| format!("d/x{file:04}y")).collect();
        let home = home(&names.iter().map(String::as_str).collect::<Vec<_>>());
        fs::write(home.path().join("xy"), "").expect("a file");
        let paths = find(home.path(), "xy");
        assert_eq!(paths.len(), MAX_FOUND_FILES);
        assert_eq!(paths[0], "xy");
        let cancelled = find_files(home.path(), "xy", || true);
        assert!(cancelled.truncated && cancelled.paths.is_empty());
    }
}
