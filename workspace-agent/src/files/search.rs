//! Searching the text of the home's files, with the libraries of ripgrep. Blocking. Knows no HTTP.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use grep_matcher::{Captures as _, LineTerminator, Match, Matcher as _};
use grep_regex::{RegexCaptures, RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, MmapChoice, Searcher, SearcherBuilder, Sink, SinkFinish, SinkMatch};
use ignore::{
    DirEntry, WalkState,
    overrides::{Override, OverrideBuilder},
};
use protocol::{
    files::HomePath,
    search::{
        MAX_EVENT_MATCHES, MAX_SEARCH_MATCHES, MAX_SEARCH_TEXT_BYTES, SearchEvent, SearchQuery, TextMatch,
    },
};
use tokio_util::sync::CancellationToken;

use super::walk::walk;

/// Longest line that is searched. Each thread needs as much memory.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;
/// Largest compiled pattern, and as much again for what each thread remembers of it.
const MAX_MATCHER_BYTES: usize = 10 * 1024 * 1024;
/// Most bytes of a line that are shown before a match.
const MAX_BEFORE_BYTES: usize = 80;
/// Most bytes of a match that are shown.
const MAX_SHOWN_MATCH_BYTES: usize = 512;
/// Most bytes of a line that are shown after a match.
const MAX_AFTER_BYTES: usize = 240;

/// Why a search cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSearch {
    /// A text is longer than [`MAX_SEARCH_TEXT_BYTES`], or the pattern is empty.
    #[error("Cannot search: the {0} is empty or longer than 4,096 bytes.")]
    Length(&'static str),
    /// The pattern cannot be parsed.
    #[error("Cannot search: the pattern is not a regular expression: {0}.")]
    Pattern(grep_regex::Error),
    /// A glob cannot be parsed.
    #[error("Cannot search: {0} has an invalid glob: {1}.")]
    Glob(&'static str, ignore::Error),
}

impl InvalidSearch {
    /// The field of the query that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Length(field) | Self::Glob(field, _) => field,
            Self::Pattern(_) => "pattern",
        }
    }

    /// What is wrong with it.
    pub fn cause(&self) -> String {
        match self {
            Self::Length(_) => "empty or too long".to_owned(),
            Self::Pattern(error) => error.to_string(),
            Self::Glob(_, error) => error.to_string(),
        }
    }
}

/// A search that is ready to run.
pub struct FileSearch {
    home: PathBuf,
    directory: PathBuf,
    ignored: bool,
    matcher: RegexMatcher,
    /// Only these files, if there are any.
    include: Override,
    exclude: Override,
    replacement: Option<Replacement>,
}

enum Replacement {
    Literal(String),
    /// With references to groups.
    Template(String),
}

/// What all threads of a search count.
#[derive(Default)]
struct Totals {
    files: AtomicU64,
    matches: AtomicU64,
    skipped: AtomicU64,
    is_truncated: AtomicBool,
}

impl FileSearch {
    /// Prepares a search of `directory`, whose path has no links.
    pub fn new(home: &Path, directory: &HomePath, query: &SearchQuery) -> Result<Self, InvalidSearch> {
        let replacement = query.replacement.as_deref().unwrap_or_default();
        let texts = [
            ("pattern", query.pattern.as_str()),
            ("include", &query.include),
            ("exclude", &query.exclude),
            ("replacement", replacement),
        ];
        let is_bad =
            |text: &str, name| text.len() > MAX_SEARCH_TEXT_BYTES || (name == "pattern" && text.is_empty());
        if let Some((name, _)) = texts.into_iter().find(|(name, text)| is_bad(text, *name)) {
            return Err(InvalidSearch::Length(name));
        }
        let directory = home.join(directory.as_str());
        Ok(Self {
            home: home.to_owned(),
            ignored: query.ignored,
            matcher: build_matcher(query).map_err(InvalidSearch::Pattern)?,
            include: parse_globs(&directory, &query.include, "")
                .map_err(|error| InvalidSearch::Glob("include", error))?,
            exclude: parse_globs(&directory, &query.exclude, "!")
                .map_err(|error| InvalidSearch::Glob("exclude", error))?,
            replacement: query.replacement.clone().map(if query.regex {
                Replacement::Template
            } else {
                Replacement::Literal
            }),
            directory,
        })
    }

    /// Runs the search on several threads. `send` returns false if nobody wants further events; the search
    /// then ends, and also when it is cancelled.
    pub fn run(&self, cancellation: &CancellationToken, send: &(dyn Fn(SearchEvent) -> bool + Sync)) {
        let totals = Totals::default();
        let mut walk = walk(&self.home, &self.directory, self.ignored);
        walk.overrides(self.exclude.clone());
        walk.build_parallel().run(|| {
            let mut searcher = build_searcher();
            let totals = &totals;
            Box::new(move |entry| {
                if cancellation.is_cancelled() || totals.is_truncated.load(Ordering::Relaxed) {
                    return WalkState::Quit;
                }
                // A directory that cannot be read hides its files, as in the tree.
                let Ok(entry) = entry else { return WalkState::Continue };
                let Some(path) = self.path_to_search(&entry) else { return WalkState::Continue };
                let mut sink = MatchSink {
                    search: self,
                    totals,
                    cancellation,
                    send,
                    path,
                    matches: Vec::new(),
                    captures: self.matcher.new_captures().ok(),
                };
                if search_file(&mut searcher, &self.matcher, entry.path(), cancellation, &mut sink).is_err() {
                    totals.skipped.fetch_add(1, Ordering::Relaxed);
                }
                totals.files.fetch_add(1, Ordering::Relaxed);
                WalkState::Continue
            })
        });
        send(SearchEvent::Finished {
            files: totals.files.into_inner(),
            truncated: totals.is_truncated.into_inner(),
            skipped: totals.skipped.into_inner(),
        });
    }

    /// The path of a file that is searched, relative to the home.
    fn path_to_search(&self, entry: &DirEntry) -> Option<String> {
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        let is_included =
            || self.include.is_empty() || self.include.matched(entry.path(), false).is_whitelist();
        if !is_file || !is_included() {
            return None;
        }
        // A name that is not UTF-8 cannot be opened.
        entry.path().strip_prefix(&self.home).ok()?.to_str().map(str::to_owned)
    }

    fn replacement_of(&self, line: &[u8], captures: &RegexCaptures) -> Option<String> {
        match self.replacement.as_ref()? {
            Replacement::Literal(text) => Some(text.clone()),
            Replacement::Template(template) => {
                let mut text = Vec::new();
                let index = |name: &str| self.matcher.capture_index(name);
                captures.interpolate(index, line, template.as_bytes(), &mut text);
                // A match can be repeated thousands of times.
                (text.len() <= MAX_SEARCH_TEXT_BYTES).then(|| String::from_utf8_lossy(&text).into_owned())
            }
        }
    }
}

fn build_matcher(query: &SearchQuery) -> Result<RegexMatcher, grep_regex::Error> {
    RegexMatcherBuilder::new()
        .multi_line(true)
        .unicode(true)
        // Carriage returns of Windows files are no part of a line.
        .crlf(true)
        .fixed_strings(!query.regex)
        .case_insensitive(!query.case_sensitive)
        .word(query.whole_word)
        .size_limit(MAX_MATCHER_BYTES)
        .dfa_size_limit(MAX_MATCHER_BYTES)
        .build(&query.pattern)
}

fn build_searcher() -> Searcher {
    SearcherBuilder::new()
        .line_terminator(LineTerminator::crlf())
        .line_number(true)
        // In a document, a byte order mark is a character.
        .bom_sniffing(false)
        // A program that truncates a mapped file would end the agent.
        .memory_map(MmapChoice::never())
        .heap_limit(Some(MAX_LINE_BYTES))
        .binary_detection(BinaryDetection::quit(0))
        .build()
}

/// Globs as VS Code reads them: a name matches at any depth, a directory with everything in it, and `./`
/// begins a path from the searched directory.
fn parse_globs(directory: &Path, globs: &str, prefix: &str) -> Result<Override, ignore::Error> {
    let mut builder = OverrideBuilder::new(directory);
    for glob in globs.split(',').map(str::trim).filter(|glob| !glob.is_empty()) {
        let glob = match glob.strip_prefix("./").or_else(|| glob.strip_prefix('/')) {
            Some(rooted) => format!("/{rooted}"),
            None => format!("**/{glob}"),
        };
        let glob = glob.trim_end_matches('/');
        builder.add(&format!("{prefix}{glob}"))?;
        builder.add(&format!("{prefix}{glob}/**"))?;
    }
    builder.build()
}

fn search_file(
    searcher: &mut Searcher,
    matcher: &RegexMatcher,
    path: &Path,
    cancellation: &CancellationToken,
    sink: &mut MatchSink<'_>,
) -> io::Result<()> {
    // What was a file a moment ago may be a link or a pipe now.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    searcher.search_reader(matcher, CancellableFile { file, cancellation }, sink)
}

/// A file that ends when the search is cancelled.
struct CancellableFile<'a> {
    file: File,
    cancellation: &'a CancellationToken,
}

impl Read for CancellableFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancellation.is_cancelled() { Ok(0) } else { self.file.read(buffer) }
    }
}

/// Receives the lines of one file that match.
struct MatchSink<'a> {
    search: &'a FileSearch,
    totals: &'a Totals,
    cancellation: &'a CancellationToken,
    send: &'a (dyn Fn(SearchEvent) -> bool + Sync),
    path: String,
    /// Matches that were not sent yet.
    matches: Vec<TextMatch>,
    /// `None` if the matcher has none, which does not happen.
    captures: Option<RegexCaptures>,
}

impl MatchSink<'_> {
    fn send_matches(&mut self) {
        if self.matches.is_empty() {
            return;
        }
        let event = SearchEvent::File { path: self.path.clone(), matches: std::mem::take(&mut self.matches) };
        if !(self.send)(event) {
            self.cancellation.cancel();
        }
    }

    /// Adds the matches of a line. Returns whether the search goes on.
    fn add_line(&mut self, number: u64, line: &[u8]) -> bool {
        let Some(mut captures) = self.captures.take() else { return false };
        let search = self.search;
        let mut cursor = Cursor::default();
        let _ = search.matcher.captures_iter(line, &mut captures, |captures| {
            let Some(found) = captures.get(0) else { return true };
            // A pattern that matches nothing, such as `x*`, would match everywhere.
            if found.is_empty() && !(found.start() == 0 && line.is_empty()) {
                return true;
            }
            if self.totals.matches.fetch_add(1, Ordering::Relaxed) >= MAX_SEARCH_MATCHES as u64 {
                self.totals.is_truncated.store(true, Ordering::Relaxed);
                return false;
            }
            let mut found = describe_match(number, line, found, &mut cursor);
            if found.length == utf16_units(found.text.as_bytes()) {
                found.replacement = search.replacement_of(line, captures);
            }
            self.matches.push(found);
            if self.matches.len() >= MAX_EVENT_MATCHES {
                self.send_matches();
            }
            !self.cancellation.is_cancelled()
        });
        self.captures = Some(captures);
        !self.totals.is_truncated.load(Ordering::Relaxed) && !self.cancellation.is_cancelled()
    }
}

impl Sink for MatchSink<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        let line = found.bytes();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(self.add_line(found.line_number().unwrap_or(0), line))
    }

    fn finish(&mut self, _: &Searcher, finish: &SinkFinish) -> io::Result<()> {
        // A binary file may have matches before its first NUL byte.
        if finish.binary_byte_offset().is_none() {
            self.send_matches();
        }
        Ok(())
    }
}

/// A position in a line that only moves forward, so that a line with many matches is counted once.
#[derive(Default)]
struct Cursor {
    byte: usize,
    unit: u64,
}

impl Cursor {
    fn move_to(&mut self, byte: usize, line: &[u8]) -> u64 {
        self.unit += utf16_units(&line[self.byte..byte]);
        self.byte = byte;
        self.unit
    }
}

fn describe_match(number: u64, line: &[u8], found: Match, cursor: &mut Cursor) -> TextMatch {
    let column = cursor.move_to(found.start(), line);
    let length = cursor.move_to(found.end(), line) - column;
    let (before, rest) = line.split_at(found.start());
    let (text, after) = rest.split_at(found.len());
    let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
    TextMatch {
        line: number,
        column,
        length,
        before: lossy(last_bytes(before, MAX_BEFORE_BYTES)),
        text: lossy(first_bytes(text, MAX_SHOWN_MATCH_BYTES)),
        after: lossy(first_bytes(after, MAX_AFTER_BYTES)),
        replacement: None,
    }
}

fn utf16_units(bytes: &[u8]) -> u64 {
    match str::from_utf8(bytes) {
        Ok(text) => text.encode_utf16().count() as u64,
        Err(_) => String::from_utf8_lossy(bytes).encode_utf16().count() as u64,
    }
}

/// At most `limit` bytes from the beginning, without a part of a character at the end.
fn first_bytes(bytes: &[u8], limit: usize) -> &[u8] {
    let mut end = limit.min(bytes.len());
    while end > 0 && end < bytes.len() && is_continuation(bytes[end]) {
        end -= 1;
    }
    &bytes[..end]
}

/// At most `limit` bytes from the end, without a part of a character at the beginning.
fn last_bytes(bytes: &[u8], limit: usize) -> &[u8] {
    let mut start = bytes.len().saturating_sub(limit);
    while start > 0 && start < bytes.len() && is_continuation(bytes[start]) {
        start += 1;
    }
    &bytes[start..]
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, sync::Mutex};

    use super::*;

    fn home(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("a directory");
        for (file, content) in files {
            let path = home.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, content).expect("a file");
        }
        home
    }

    fn query(pattern: &str) -> SearchQuery {
        SearchQuery { pattern: pattern.to_owned(), ..SearchQuery::default() }
    }

    struct Found {
        files: BTreeMap<String, Vec<TextMatch>>,
        searched: u64,
        truncated: bool,
        skipped: u64,
    }

    impl Found {
        fn paths(&self) -> Vec<&str> {
            self.files.keys().map(String::as_str).collect()
        }

        fn lines(&self, path: &str) -> Vec<(u64, u64, &str)> {
            self.files[path].iter().map(|found| (found.line, found.column, found.text.as_str())).collect()
        }
    }

    fn run(home: &Path, query: &SearchQuery) -> Found {
        let directory = HomePath::parse(&query.path).expect("a path");
        let search = FileSearch::new(home, &directory, query).expect("a valid query");
        let events = Mutex::new(Vec::new());
        search.run(&CancellationToken::new(), &|event| {
            events.lock().expect("no panic").push(event);
            true
        });
        let mut all = Found { files: BTreeMap::new(), searched: 0, truncated: false, skipped: 0 };
        for event in events.into_inner().expect("no panic") {
            match event {
                SearchEvent::File { path, matches } => all.files.entry(path).or_default().extend(matches),
                SearchEvent::Finished { files, truncated, skipped } => {
                    (all.searched, all.truncated, all.skipped) = (files, truncated, skipped);
                }
            }
        }
        all
    }

    #[test]
    fn matches_have_editor_positions() {
        let home = home(&[("a/b.txt", "one\r\n😀 Two two\r\n\tTWO".as_bytes())]);
        let found = run(home.path(), &query("two"));
        assert_eq!(found.lines("a/b.txt"), [(2, 3, "Two"), (2, 7, "two"), (3, 1, "TWO")]);
        let first = &found.files["a/b.txt"][0];
        assert_eq!((first.before.as_str(), first.after.as_str(), first.length), ("😀 ", " two", 3));
        assert_eq!((found.searched, found.truncated, found.skipped), (1, false, 0));
    }

    #[test]
    fn byte_order_marks_are_characters() {
        let utf16: Vec<u8> = "\u{feff}two".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let home = home(&[("utf8", "\u{feff}two two".as_bytes()), ("utf16", &utf16)]);
        let found = run(home.path(), &query("two"));
        assert_eq!(found.paths(), ["utf8"], "no document can be UTF-16");
        assert_eq!(found.lines("utf8"), [(1, 1, "two"), (1, 5, "two")]);
    }

    #[test]
    fn options_narrow_the_matches() {
        let home = home(&[("x", b"Two two twofold 2.0 2x0\n")]);
        let texts = |query: SearchQuery| {
            let found = run(home.path(), &query);
            let texts = found.files.into_values().flatten().map(|found| found.text);
            texts.collect::<Vec<_>>()
        };
        assert_eq!(texts(query("two")), ["Two", "two", "two"]);
        assert_eq!(texts(SearchQuery { case_sensitive: true, ..query("Two") }), ["Two"]);
        assert_eq!(texts(SearchQuery { whole_word: true, ..query("two") }), ["Two", "two"]);
        assert_eq!(texts(query("2.0")), ["2.0"], "a dot is a dot");
        assert_eq!(texts(SearchQuery { regex: true, ..query("2.0$") }), ["2x0"]);
        assert_eq!(texts(SearchQuery { regex: true, ..query("z*") }), [""; 0], "nothing is not found");
    }

    #[test]
    fn replacements_are_previewed() {
        let home = home(&[("x", b"fn old_name() {}\n")]);
        let replacement = |pattern: &str, replacement: &str, regex| {
            let query = SearchQuery { regex, replacement: Some(replacement.to_owned()), ..query(pattern) };
            run(home.path(), &query).files["x"][0].replacement.clone().expect("a replacement")
        };
        assert_eq!(replacement("old_name", "$1", false), "$1");
        let query = SearchQuery { regex: true, replacement: Some("$0".repeat(2000)), ..query("old_name") };
        assert_eq!(run(home.path(), &query).files["x"][0].replacement, None, "longer than 4,096 bytes");
        assert_eq!(replacement(r"(\w+)_(?<last>\w+)", "${last}_$1", true), "name_old");
    }

    #[test]
    fn globs_choose_files() {
        let files = ["src/a.rs", "src/deep/b.rs", "src/c.ts", "lib/src/d.rs", "target/e.rs"];
        let home = home(&files.map(|file| (file, b"word".as_slice())));
        let paths = |include: &str, exclude: &str| {
            let query = SearchQuery { include: include.into(), exclude: exclude.into(), ..query("word") };
            run(home.path(), &query).paths().into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(paths("*.ts", ""), ["src/c.ts"]);
        assert_eq!(paths("src", ""), ["lib/src/d.rs", "src/a.rs", "src/c.ts", "src/deep/b.rs"]);
        assert_eq!(paths("./src, *.nothing", "*.ts, deep/"), ["src/a.rs"]);
        assert_eq!(paths("", "target, src"), [""; 0]);
        let below = SearchQuery { path: "src/deep".to_owned(), ..query("word") };
        assert_eq!(run(home.path(), &below).paths(), ["src/deep/b.rs"]);
    }

    #[test]
    fn ignored_files_are_searched_on_request() {
        let home = home(&[
            ("app/.gitignore", b"out/\n"),
            ("app/out/x", b"word"),
            ("app/sub/y", b"word"),
            ("app/node_modules/z", b"word"),
            ("app/.git/config", b"word"),
        ]);
        assert_eq!(run(home.path(), &query("word")).paths(), ["app/sub/y"]);
        let below = SearchQuery { path: "app".to_owned(), ..query("word") };
        assert_eq!(run(home.path(), &below).paths(), ["app/sub/y"]);
        let all = SearchQuery { ignored: true, ..query("word") };
        assert_eq!(run(home.path(), &all).paths(), ["app/node_modules/z", "app/out/x", "app/sub/y"]);
    }

    #[test]
    fn unusual_files_do_not_spoil_a_search() {
        let long = [b"x".repeat(300_000), b"word".to_vec(), b"y".repeat(300_000)].concat();
        let endless = [b"word".to_vec(), b"z".repeat(MAX_LINE_BYTES + 1)].concat();
        let home = home(&[
            ("binary", b"word\n\0\nword"),
            ("long", &long),
            ("endless", &endless),
            ("latin", b"gr\xfcn word"),
            ("good", b"word"),
        ]);
        std::os::unix::fs::symlink("/etc", home.path().join("out")).expect("a link");
        let pipe = std::process::Command::new("mkfifo").arg(home.path().join("pipe")).status();
        assert!(pipe.expect("mkfifo runs").success());
        let found = run(home.path(), &query("word"));
        assert_eq!(found.paths(), ["good", "latin", "long"]);
        assert_eq!(found.skipped, 1, "the endless line");
        let long = &found.files["long"][0];
        assert_eq!((long.column, long.before.len(), long.after.len()), (300_000, 80, 240));
        assert_eq!(found.lines("latin"), [(1, 5, "word")]);
    }

    #[test]
    fn results_are_bounded_and_truncation_is_told() {
        let home = home(&[("many", "word ".repeat(MAX_SEARCH_MATCHES + 5).as_bytes())]);
        let found = run(home.path(), &query("word"));
        assert!(found.truncated);
        assert_eq!(found.files["many"].len(), MAX_SEARCH_MATCHES);
        let columns: Vec<u64> = found.files["many"].iter().map(|found| found.column).collect();
        assert!(columns.windows(2).all(|pair| pair[0] + 5 == pair[1]), "in their order");
    }

    #[test]
    fn search_ends_without_a_client() {
        let home = home(&[("a", "word\n".repeat(2000).as_bytes()), ("b", b"word")]);
        let search = FileSearch::new(home.path(), &HomePath::default(), &query("word")).expect("valid");
        let sent = AtomicU64::new(0);
        let cancellation = CancellationToken::new();
        search.run(&cancellation, &|_| {
            sent.fetch_add(1, Ordering::Relaxed);
            false
        });
        assert!(cancellation.is_cancelled());
        // Each thread may have one event on its way, and the end is one more.
        assert!(sent.into_inner() <= 6);
    }

    #[test]
    fn invalid_queries_name_their_field() {
        let field = |query: SearchQuery| {
            let search = FileSearch::new(Path::new("/"), &HomePath::default(), &query);
            search.err().expect("an error").field()
        };
        assert_eq!(field(query("")), "pattern");
        assert_eq!(field(SearchQuery { regex: true, ..query("(") }), "pattern");
        assert_eq!(field(SearchQuery { regex: true, ..query(r"a\nb") }), "pattern");
        assert_eq!(field(SearchQuery { regex: true, ..query(r"\w{1000}") }), "pattern", "too large");
        assert_eq!(field(SearchQuery { include: "a{".to_owned(), ..query("x") }), "include");
        assert_eq!(field(SearchQuery { exclude: "x".repeat(5000), ..query("x") }), "exclude");
    }
}
