//! Understands what Git prints for people: progress, and why something failed. Pure.

use protocol::git::{GitEvent, GitFailure};

/// Parses a line such as `remote: Counting objects:  42% (21/50)`. `None`: it is no progress.
pub fn parse_progress(line: &str) -> Option<GitEvent> {
    let line = line.strip_prefix("remote: ").unwrap_or(line).trim();
    let (text, rest) = line.split_once(':')?;
    let (percent, _) = rest.trim_start().split_once('%')?;
    let percent = percent.parse().ok().filter(|percent| *percent <= 100)?;
    Some(GitEvent::Progress { text: text.to_owned(), percent: Some(percent) })
}

/// What Git's messages contain when something fails, in the order in which they are looked for.
const SIGNS: &[(&str, GitFailure)] = &[
    ("Please tell me who you are", GitFailure::IdentityMissing),
    ("unable to auto-detect email address", GitFailure::IdentityMissing),
    ("empty ident name", GitFailure::IdentityMissing),
    ("Authentication failed", GitFailure::Authentication),
    ("could not read Username", GitFailure::Authentication),
    ("could not read Password", GitFailure::Authentication),
    ("Permission denied (", GitFailure::Authentication),
    ("Host key verification failed", GitFailure::Authentication),
    ("returned error: 403", GitFailure::Authentication),
    ("Need to specify how to reconcile divergent branches", GitFailure::Diverged),
    ("Not possible to fast-forward", GitFailure::Diverged),
    ("has no upstream branch", GitFailure::NoUpstream),
    ("There is no tracking information", GitFailure::NoUpstream),
    ("No configured push destination", GitFailure::NoUpstream),
    ("(non-fast-forward)", GitFailure::Rejected),
    ("(fetch first)", GitFailure::Rejected),
    ("(stale info)", GitFailure::Rejected),
    ("CONFLICT (", GitFailure::Conflicts),
    ("unmerged files", GitFailure::Conflicts),
    ("needs merge", GitFailure::Conflicts),
    ("would be overwritten by", GitFailure::LocalChanges),
    ("You have unstaged changes", GitFailure::LocalChanges),
    ("index contains uncommitted changes", GitFailure::LocalChanges),
    (".lock': File exists", GitFailure::Locked),
    ("nothing to commit", GitFailure::NothingToCommit),
    ("nothing added to commit", GitFailure::NothingToCommit),
    ("no changes added to commit", GitFailure::NothingToCommit),
    ("is not fully merged", GitFailure::NotMerged),
    ("Could not resolve host", GitFailure::Unreachable),
    ("Connection refused", GitFailure::Unreachable),
    ("timed out", GitFailure::Unreachable),
    ("not found", GitFailure::NotFound),
    ("does not exist", GitFailure::NotFound),
];

/// Finds out why an operation failed, from all that it has printed.
pub fn classify_failure(output: &str) -> GitFailure {
    let found = SIGNS.iter().find(|(sign, _)| output.contains(sign));
    found.map_or(GitFailure::Other, |(_, failure)| *failure)
}

/// What went wrong and what to do, for the user. `what` is what was to be done, such as "push".
pub fn explain_failure(failure: GitFailure, what: &str, output: &str) -> String {
    let reason = match failure {
        GitFailure::IdentityMissing => {
            "Git does not know who the author is. Enter your name and email address."
        }
        GitFailure::Authentication => {
            "the remote did not accept you. Check the address, and enter a user name and an access token \
             that may do this."
        }
        GitFailure::Unreachable => {
            "the remote does not answer. Check the address and the workspace's network policy."
        }
        GitFailure::NotFound => "it was not found. Check the name or address, and whether you may see it.",
        GitFailure::NoUpstream => "the branch follows no branch of a remote. Publish it first.",
        GitFailure::Rejected => "the remote has commits that you do not have. Pull first, then push.",
        GitFailure::Diverged => {
            "both sides have new commits. Choose whether to merge them or to rebase yours."
        }
        GitFailure::Conflicts => {
            "there are conflicts. Resolve and stage the files under Conflicts, then continue."
        }
        GitFailure::LocalChanges => {
            "it would overwrite changes of yours. Commit, stash or discard them first."
        }
        GitFailure::Locked => {
            "another Git process works in the repository. Wait for it. If it has crashed, delete the .lock \
             file that the output names."
        }
        GitFailure::NothingToCommit => "nothing is staged. Stage changes first.",
        GitFailure::NotMerged => "the branch has commits that are on no other branch.",
        GitFailure::Changed => "the file has changed since. Look at its changes again.",
        GitFailure::Timeout => "it took too long. Try again, or run it in a terminal.",
        GitFailure::NotInstalled => {
            "Git is not installed in the workspace. Install it, for example with `sudo apt install git`."
        }
        GitFailure::Other => first_error(output),
    };
    format!("Cannot {what}: {reason}")
}

/// The line of the output that tells most.
fn first_error(output: &str) -> &str {
    let lines = || output.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| line.starts_with("fatal: ") || line.starts_with("error: ");
    let line = lines().find(is_error).or_else(|| lines().next_back()).unwrap_or("Git gives no reason.");
    line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: ")).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_percent() {
        let progress =
            |text: &str, percent| Some(GitEvent::Progress { text: text.into(), percent: Some(percent) });
        assert_eq!(
            parse_progress("Receiving objects:  42% (21/50), 1 MiB | 1 MiB/s"),
            progress("Receiving objects", 42)
        );
        assert_eq!(
            parse_progress("remote: Counting objects: 100% (5/5), done."),
            progress("Counting objects", 100)
        );
        for other in ["Cloning into 'x'...", "fatal: it: failed", "error: 200% wrong", ""] {
            assert_eq!(parse_progress(other), None, "{other}");
        }
    }

    #[test]
    fn failures_are_recognized() {
        let table = [
            ("fatal: Authentication failed for 'https://x/'", GitFailure::Authentication),
            (" ! [rejected]        main -> main (fetch first)", GitFailure::Rejected),
            ("CONFLICT (content): Merge conflict in a", GitFailure::Conflicts),
            ("fatal: Unable to create '/r/.git/index.lock': File exists.", GitFailure::Locked),
            ("fatal: something new", GitFailure::Other),
        ];
        for (output, failure) in table {
            assert_eq!(classify_failure(output), failure, "{output}");
        }
    }

    #[test]
    fn unknown_failure_is_told_in_gits_words() {
        let message = explain_failure(GitFailure::Other, "push", "hint: x\nfatal: something new\nmore\n");
        assert_eq!(message, "Cannot push: something new");
    }
}
