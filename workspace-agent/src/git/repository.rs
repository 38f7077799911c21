//! Finds the repositories of the home, and what is in a repository's own directory. Blocking; runs inside
//! [`HomeDirectory::run`](crate::files::home_directory::HomeDirectory::run).

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
};

use protocol::git::{MAX_REPOSITORIES, OngoingOperation, Repositories, Repository, RepositoryKind};

/// Most directories that a search looks at.
const MAX_DIRECTORIES: usize = 20_000;
/// How deep below the home repositories are looked for.
const MAX_DEPTH: usize = 6;
/// Directories whose content nobody works on.
const SKIPPED: [&str; 2] = ["node_modules", "target"];
/// Most bytes of a message that Git proposes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Finds repositories, those near the top first. Hidden directories are left out.
pub fn find_repositories(home: &Path) -> Repositories {
    let mut found = Repositories::default();
    let mut waiting = VecDeque::from([(PathBuf::new(), 0)]);
    let mut visited = 0;
    while let Some((path, depth)) = waiting.pop_front() {
        visited += 1;
        if visited > MAX_DIRECTORIES || found.repositories.len() >= MAX_REPOSITORIES {
            found.truncated = true;
            break;
        }
        let directory = home.join(&path);
        if let (Some(kind), Some(path)) = (kind_of(&directory), path.to_str()) {
            found.repositories.push(Repository { path: path.to_owned(), kind });
        }
        if depth < MAX_DEPTH {
            waiting.extend(directories_in(&directory).map(|name| (path.join(name), depth + 1)));
        }
    }
    found
}

fn directories_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| !name.starts_with('.') && !SKIPPED.contains(&name.as_str())).collect();
    names.sort_unstable();
    names.into_iter()
}

/// What the working tree in a directory is. `None`: none begins there.
fn kind_of(directory: &Path) -> Option<RepositoryKind> {
    let entry = directory.join(".git");
    let metadata = fs::symlink_metadata(&entry).ok()?;
    if !metadata.is_file() {
        return entry.join("HEAD").exists().then_some(RepositoryKind::Main);
    }
    let git_directory = git_directory(directory)?;
    let is_below = |name: &str| git_directory.iter().any(|segment| segment == name);
    // A worktree of a submodule is below both.
    Some(match (is_below("worktrees"), is_below("modules")) {
        (true, _) => RepositoryKind::Worktree,
        (_, true) => RepositoryKind::Submodule,
        _ => RepositoryKind::Main,
    })
}

/// The directory in which Git keeps the state of a working tree.
pub fn git_directory(working_tree: &Path) -> Option<PathBuf> {
    let entry = working_tree.join(".git");
    if fs::metadata(&entry).ok()?.is_dir() {
        return Some(entry);
    }
    let text = fs::read_to_string(&entry).ok()?;
    Some(working_tree.join(text.strip_prefix("gitdir: ")?.trim_end_matches('\n')))
}

/// What waits for the user in a repository.
pub fn ongoing_operation(git_directory: &Path) -> Option<OngoingOperation> {
    let signs = [
        ("rebase-merge", OngoingOperation::Rebase),
        ("rebase-apply", OngoingOperation::Rebase),
        ("MERGE_HEAD", OngoingOperation::Merge),
        ("CHERRY_PICK_HEAD", OngoingOperation::CherryPick),
        ("REVERT_HEAD", OngoingOperation::Revert),
        ("BISECT_LOG", OngoingOperation::Bisect),
    ];
    signs.into_iter().find(|(name, _)| git_directory.join(name).exists()).map(|(_, operation)| operation)
}

/// The message that Git proposes for the next commit, without its comments.
pub fn proposed_message(git_directory: &Path) -> Option<String> {
    let text = fs::read(git_directory.join("MERGE_MSG")).ok()?;
    let text = String::from_utf8_lossy(&text[..text.len().min(MAX_MESSAGE_BYTES)]).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    Some(lines.join("\n").trim().to_owned()).filter(|message| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_worktrees_and_submodules_are_found() {
        let home = tempfile::tempdir().expect("a home");
        let make = |path: &str, text: &str| {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        make("b/.git/HEAD", "ref: refs/heads/main");
        make("b/sub/.git", "gitdir: ../.git/modules/sub\n");
        make("a/deep/tree/.git", "gitdir: /elsewhere/.git/worktrees/tree\n");
        make("b/node_modules/x/.git/HEAD", "");
        make(".cache/y/.git/HEAD", "");
        make("empty/.git/config", "");
        let found = find_repositories(home.path());
        let found: Vec<_> = found.repositories.iter().map(|one| (one.path.as_str(), one.kind)).collect();
        assert_eq!(
            found,
            [
                ("b", RepositoryKind::Main),
                ("b/sub", RepositoryKind::Submodule),
                ("a/deep/tree", RepositoryKind::Worktree)
            ]
        );
    }

    #[test]
    fn proposed_message_has_no_comments() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(proposed_message(directory.path()), None);
        fs::write(directory.path().join("MERGE_MSG"), "Merge x\n\n# Conflicts:\n#\ta\n").expect("a file");
        assert_eq!(proposed_message(directory.path()).as_deref(), Some("Merge x"));
        assert_eq!(ongoing_operation(directory.path()), None);
        fs::write(directory.path().join("MERGE_HEAD"), "").expect("a file");
        assert_eq!(ongoing_operation(directory.path()), Some(OngoingOperation::Merge));
    }
}
