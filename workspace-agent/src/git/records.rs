//! Parses what Git prints about branches, commits and lines. Pure.

use protocol::git::{BlamedLine, Branch, Commit, References, Remote, Stash};

/// Format of `git for-each-ref`.
pub const REFERENCE_FORMAT: &str =
    "--format=%(refname)%00%(objectname)%00%(upstream:short)%00%(HEAD)%00%(creatordate:unix)%00%(subject)";
/// Format of `git log -z`. Each record has [`COMMIT_FIELDS`] fields.
pub const COMMIT_FORMAT: &str = "--format=%H%x00%P%x00%an%x00%ae%x00%at%x00%D%x00%B";
const COMMIT_FIELDS: usize = 7;
/// Format of `git stash list -z`.
pub const STASH_FORMAT: &str = "--format=%H%x00%ct%x00%gs";
const STASH_FIELDS: usize = 3;

/// Sorts references into branches of both kinds and tags.
pub fn parse_references(output: &[u8]) -> References {
    let mut references = References::default();
    for line in text(output).lines() {
        let fields: Vec<&str> = line.split('\0').collect();
        let [name, commit, upstream, head, time, subject] = fields[..] else { continue };
        let branch = |name: &str| Branch {
            name: name.to_owned(),
            commit: commit.to_owned(),
            upstream: Some(upstream.to_owned()).filter(|name| !name.is_empty()),
            is_head: head == "*",
            time: time.parse().unwrap_or(0),
            subject: subject.to_owned(),
        };
        if let Some(name) = name.strip_prefix("refs/heads/") {
            references.branches.push(branch(name));
        } else if let Some(name) = name.strip_prefix("refs/remotes/") {
            // `origin/HEAD` is another name of one of the others.
            if !name.ends_with("/HEAD") {
                references.remote_branches.push(branch(name));
            }
        } else if let Some(name) = name.strip_prefix("refs/tags/") {
            references.tags.push(branch(name));
        }
    }
    references
}

/// Parses `git config -z --get-regexp ^remote\..*\.url$`.
pub fn parse_remotes(output: &[u8]) -> Vec<Remote> {
    let output = text(output);
    let entries = output.split('\0').filter_map(|entry| entry.split_once('\n'));
    let remotes = entries.filter_map(|(key, url)| {
        let name = key.strip_prefix("remote.")?.strip_suffix(".url")?;
        Some(Remote { name: name.to_owned(), url: url.to_owned() })
    });
    remotes.collect()
}

/// Parses `git stash list` in [`STASH_FORMAT`].
pub fn parse_stashes(output: &[u8]) -> Vec<Stash> {
    let output = text(output);
    let fields: Vec<&str> = output.split('\0').collect();
    let records = fields.chunks_exact(STASH_FIELDS);
    let stashes = records.map(|fields| Stash {
        commit: fields[0].to_owned(),
        time: fields[1].parse().unwrap_or(0),
        message: fields[2].to_owned(),
    });
    stashes.collect()
}

/// Parses `git log` in [`COMMIT_FORMAT`].
pub fn parse_commits(output: &[u8]) -> Vec<Commit> {
    let output = text(output);
    let fields: Vec<&str> = output.split('\0').collect();
    let records = fields.chunks_exact(COMMIT_FIELDS);
    let commits = records.map(|fields| Commit {
        id: fields[0].to_owned(),
        parents: fields[1].split_whitespace().map(str::to_owned).collect(),
        author: fields[2].to_owned(),
        email: fields[3].to_owned(),
        time: fields[4].parse().unwrap_or(0),
        references: fields[5].split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        message: fields[6].trim_end().to_owned(),
    });
    commits.collect()
}

/// Parses `git blame --porcelain` of one line. `None` if there is no such line.
pub fn parse_blame(output: &[u8]) -> Option<BlamedLine> {
    let output = text(output);
    let mut lines = output.lines();
    let commit = lines.next()?.split(' ').next()?;
    let commit = Some(commit.to_owned()).filter(|commit| commit.bytes().any(|digit| digit != b'0'));
    let mut blamed = BlamedLine { commit, ..BlamedLine::default() };
    for line in lines.take_while(|line| !line.starts_with('\t')) {
        match line.split_once(' ') {
            Some(("author", name)) => name.clone_into(&mut blamed.author),
            Some(("author-time", time)) => blamed.time = time.parse().unwrap_or(0),
            Some(("summary", subject)) => subject.clone_into(&mut blamed.subject),
            _ => {}
        }
    }
    Some(blamed)
}

fn text(output: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_sorted_by_kind() {
        let output = "refs/heads/a/b\0c1\0origin/a/b\0*\x0012\0first\n\
                      refs/remotes/origin/HEAD\0c1\0\0 \x0012\0first\n\
                      refs/remotes/origin/a/b\0c1\0\0 \x0012\0first\n\
                      refs/tags/v1\0c2\0\0 \x0013\0tagged\nbroken\n";
        let references = parse_references(output.as_bytes());
        let names = |branches: &[Branch]| branches.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&references.branches), ["a/b"]);
        assert_eq!(names(&references.remote_branches), ["origin/a/b"]);
        assert_eq!(names(&references.tags), ["v1"]);
        assert!(references.branches[0].is_head);
        assert_eq!(references.branches[0].upstream.as_deref(), Some("origin/a/b"));
    }

    #[test]
    fn commits_have_whole_messages() {
        let output = "c2\0c1 c0\0Ada\0ada@x\x005\0HEAD -> main, tag: v1\0subject\n\nbody\n\0\
                      c1\0\0Bo\0bo@x\x004\0\0first\n\0";
        let commits = parse_commits(output.as_bytes());
        assert_eq!(commits.len(), 2);
        assert_eq!(commits[0].parents, ["c1", "c0"]);
        assert_eq!(commits[0].references, ["HEAD -> main", "tag: v1"]);
        assert_eq!(commits[0].message, "subject\n\nbody");
        assert!(commits[1].parents.is_empty() && commits[1].references.is_empty());
    }

    #[test]
    fn remotes_and_stashes_are_parsed() {
        let remotes = parse_remotes(b"remote.origin.url\nhttps://x/y\0remote.a.b.url\n/z\0");
        assert_eq!(remotes[0], Remote { name: "origin".into(), url: "https://x/y".into() });
        assert_eq!(remotes[1].name, "a.b");
        let stashes = parse_stashes(b"c1\x007\0WIP on main\0c2\x006\0On main: x\0");
        assert_eq!(stashes[1], Stash { commit: "c2".into(), time: 6, message: "On main: x".into() });
    }

    #[test]
    fn blame_tells_uncommitted_lines() {
        let committed =
            parse_blame(b"abc 1 1 1\nauthor Ada\nauthor-time 9\nsummary a b\nfilename f\n\ttext\n");
        let expected =
            BlamedLine { commit: Some("abc".into()), author: "Ada".into(), time: 9, subject: "a b".into() };
        assert_eq!(committed, Some(expected));
        assert_eq!(parse_blame(b"0000 1 1 1\nauthor Not Committed Yet\n\tx\n").expect("a line").commit, None);
        assert_eq!(parse_blame(b""), None);
    }
}
