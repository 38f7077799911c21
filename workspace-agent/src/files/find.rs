//! Finding files of the home by a part of their path. Knows no HTTP.
//!
//! A user types letter by letter, so the list of all files is kept for a moment: the first letter walks
//! the home, the next ones only compare paths.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ignore::WalkState;
use nucleo_matcher::{
    Config, Matcher, Utf32Str,
    pattern::{CaseMatching, Normalization, Pattern},
};
use protocol::files::{FoundFiles, MAX_FOUND_FILES};
use tokio::time::{Instant, sleep};

use super::{
    home_directory::HomeDirectory,
    walk::{MAX_VISITED, walk},
};
use crate::tasks::Tasks;

/// How long a list answers queries. A file that was created since is missing from it.
pub const LIST_TTL: Duration = Duration::from_secs(3);
/// How long a list stays in memory.
const LIST_RETENTION: Duration = Duration::from_secs(10);

/// All files of a home.
#[derive(Debug, Default)]
pub struct FileList {
    /// Paths relative to the home, sorted.
    paths: Vec<Box<str>>,
    /// Whether the home has more files than one walk visits.
    truncated: bool,
}

/// The lists that the last queries have made: without and with ignored files.
#[derive(Default)]
pub struct FileLists([Arc<tokio::sync::Mutex<Option<KeptList>>>; 2]);

struct KeptList {
    list: Arc<FileList>,
    begun_at: Instant,
    made_at: Instant,
}

impl FileLists {
    /// The files of the home, from a list that is not older than `max_age` or was begun after the call: calls
    /// that wait for each other share one. A list that was begun is
    /// completed, also if the caller goes away: the next query needs it.
    pub async fn get(
        &self,
        home: &HomeDirectory,
        ignored: bool,
        max_age: Duration,
        tasks: &Tasks,
    ) -> io::Result<Arc<FileList>> {
        let asked_at = Instant::now();
        let kept = self.0[usize::from(ignored)].clone();
        let (home, owner) = (home.clone(), tasks.clone());
        let task = tasks.spawn(async move {
            let mut slot = kept.lock().await;
            let is_current = |kept: &&KeptList| kept.begun_at >= asked_at || kept.made_at.elapsed() < max_age;
            if let Some(kept) = slot.as_ref().filter(is_current) {
                return Ok(kept.list.clone());
            }
            let begun_at = Instant::now();
            let root = home.path().to_owned();
            let list = Arc::new(home.run(move |_| Ok::<_, io::Error>(list_files(&root, ignored))).await?);
            *slot = Some(KeptList { list: list.clone(), begun_at, made_at: Instant::now() });
            owner.spawn(drop_old_list(kept.clone()));
            Ok(list)
        });
        let ended = || io::Error::other("the agent is shutting down");
        task.await.map_err(io::Error::other)?.ok_or_else(ended)?
    }
}

async fn drop_old_list(kept: Arc<tokio::sync::Mutex<Option<KeptList>>>) {
    sleep(LIST_RETENTION).await;
    let mut slot = kept.lock().await;
    // A younger list has a task of its own.
    if slot.as_ref().is_some_and(|kept| kept.made_at.elapsed() >= LIST_RETENTION) {
        *slot = None;
    }
}

/// Lists the files below `home`, see [`walk`]. Blocking.
fn list_files(home: &Path, ignored: bool) -> FileList {
    let (visited, is_truncated) = (AtomicUsize::new(0), AtomicBool::new(false));
    let paths = Mutex::new(Vec::new());
    walk(home, home, ignored).build_parallel().run(|| {
        Box::new(|entry| {
            if visited.fetch_add(1, Ordering::Relaxed) >= MAX_VISITED {
                is_truncated.store(true, Ordering::Relaxed);
                return WalkState::Quit;
            }
            // A directory that cannot be read hides its files, as in the tree.
            let Ok(entry) = entry else { return WalkState::Continue };
            if entry.file_type().is_some_and(|kind| kind.is_file())
                && let Some(path) = entry.path().strip_prefix(home).ok().and_then(Path::to_str)
            {
                paths.lock().unwrap_or_else(PoisonError::into_inner).push(Box::from(path));
            }
            WalkState::Continue
        })
    });
    let mut paths: Vec<Box<str>> = paths.into_inner().unwrap_or_else(PoisonError::into_inner);
    paths.sort_unstable();
    FileList { paths, truncated: is_truncated.into_inner() }
}

/// Finds the files whose path matches `query` best: all its letters in their order, better where they are
/// neighbours or begin a word. An empty query matches every file. Blocking. Ends early when `is_cancelled`
/// says so.
pub fn find_files(list: &FileList, query: &str, is_cancelled: impl Fn() -> bool) -> FoundFiles {
    let mut search = Search::new(query);
    for path in &list.paths {
        if is_cancelled() {
            return FoundFiles { paths: Vec::new(), truncated: true };
        }
        search.add(path);
    }
    FoundFiles { paths: search.into_paths(), truncated: list.truncated }
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
    use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _};

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
        find_files(&list_files(home, false), query, || false).paths
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
        let all = find_files(&list_files(home.path(), true), "main", || false).paths;
        assert_eq!(all, [".cache/main", "app/main.js", "app/out/main.o", "app/node_modules/x/main.js"]);
    }

    #[tokio::test]
    async fn list_is_reused_and_then_renewed() {
        let directory = home(&["first"]);
        let home = HomeDirectory::new(directory.path().to_owned(), false);
        home.open_root().expect("the directory exists");
        let (lists, tasks) = (FileLists::default(), Tasks::default());
        let first = lists.get(&home, false, LIST_TTL, &tasks).await.expect("a list");
        fs::write(directory.path().join("second"), "").expect("a file");
        let again = lists.get(&home, false, LIST_TTL, &tasks).await.expect("a list");
        assert!(Arc::ptr_eq(&first, &again), "letters that follow need no walk");
        let renewed = lists.get(&home, false, Duration::ZERO, &tasks).await.expect("a list");
        assert_eq!(renewed.paths.len(), 2);
    }

    #[tokio::test]
    async fn queries_at_the_same_time_share_a_list() {
        let directory = home(&["first"]);
        let home = HomeDirectory::new(directory.path().to_owned(), false);
        home.open_root().expect("the directory exists");
        let (lists, tasks) = (FileLists::default(), Tasks::default());
        let get = || lists.get(&home, false, Duration::ZERO, &tasks);
        let (first, second) = tokio::join!(get(), get());
        assert!(Arc::ptr_eq(&first.expect("a list"), &second.expect("a list")));
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
        let cancelled = find_files(&list_files(home.path(), false), "xy", || true);
        assert!(cancelled.truncated && cancelled.paths.is_empty());
    }
}
