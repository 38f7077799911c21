//! What a state of the file on disk means: whether it counts, or whether a program is in the middle of
//! writing. Pure: no I/O, and the time is an argument.
//!
//! Many programs write a file in several steps: they truncate it and write it again, delete it and create
//! it, or write half a character first. The text of such a moment is nobody's text. If it were merged,
//! every cursor would jump, and a save would damage what the program is about to write. So a state that
//! looks like a step must last for a time before it counts, and longer while the file is open for writing.

use std::time::Duration;

use tokio::time::Instant;

use crate::files::writers::FileWriters;

/// How long a rewritten file must stay the same.
const REWRITTEN_TIME: Duration = Duration::from_millis(100);
/// How long a file must stay shorter than it was.
const SHRUNK_TIME: Duration = Duration::from_millis(250);
/// How long a file must stay empty. Some programs truncate first and compute the content then.
const EMPTIED_TIME: Duration = Duration::from_millis(1000);
/// How long a file must stay away. `git checkout` deletes and creates files again.
const MISSING_TIME: Duration = Duration::from_secs(2);
/// How long a file must be something other than text, such as the first byte of a character.
const NOT_TEXT_TIME: Duration = Duration::from_secs(3);
/// How long a file that is open for writing must stay the same.
const OPEN_TIME: Duration = Duration::from_secs(3);
/// After this time, a state counts even if it still changes.
const MAX_SETTLING_TIME: Duration = Duration::from_secs(6);

/// How the content of the file relates to what it was when document and file were equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same bytes.
    Same,
    /// The same bytes, followed by more.
    Extended,
    /// Other bytes, not fewer.
    Rewritten,
    /// Fewer bytes.
    Shrunk,
    /// No bytes.
    Emptied,
}

impl Relation {
    /// Compares `content` with `base`.
    pub fn of(base: &[u8], content: &[u8]) -> Self {
        if content == base {
            Self::Same
        } else if content.is_empty() {
            Self::Emptied
        } else if content.starts_with(base) {
            Self::Extended
        } else if content.len() < base.len() {
            Self::Shrunk
        } else {
            Self::Rewritten
        }
    }
}

/// What was found at the path of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Nothing.
    Missing,
    /// Something that is no text, or cannot be read.
    NotText,
    /// A text.
    Text {
        /// How it relates to the last text that document and file had in common.
        relation: Relation,
        /// Who has the file open for writing.
        writers: FileWriters,
    },
}

/// How long the file must stay in this state before it counts.
pub fn quiet_time(sighting: Sighting) -> Duration {
    match sighting {
        Sighting::Missing => MISSING_TIME,
        Sighting::NotText => NOT_TEXT_TIME,
        // Appended bytes can be merged at once: nothing of the document depends on what follows.
        Sighting::Text { relation: Relation::Same | Relation::Extended, .. } => Duration::ZERO,
        Sighting::Text { writers: FileWriters::Appending | FileWriters::Positioned, .. } => OPEN_TIME,
        Sighting::Text { relation: Relation::Rewritten, .. } => REWRITTEN_TIME,
        Sighting::Text { relation: Relation::Shrunk, .. } => SHRUNK_TIME,
        Sighting::Text { relation: Relation::Emptied, .. } => EMPTIED_TIME,
    }
}

/// The decision about a state of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The state counts.
    Settled,
    /// A program may be in the middle of writing. The state counts at this time, unless it changes.
    InProgress(Instant),
}

/// The time for which the file has been in its state.
#[derive(Debug, Default)]
pub struct Settling {
    /// When the file was first seen to differ.
    began_at: Option<Instant>,
    /// The version that was seen last (`None`: no file), and since when.
    version: Option<(Option<String>, Instant)>,
}

impl Settling {
    /// Judges what was seen at `now`. `version` changes whenever the content may have changed.
    pub fn judge(&mut self, sighting: Sighting, version: Option<&str>, now: Instant) -> Verdict {
        let began_at = *self.began_at.get_or_insert(now);
        let since = match &self.version {
            Some((seen, since)) if seen.as_deref() == version => *since,
            _ => now,
        };
        self.version = Some((version.map(str::to_owned), since));
        let due = (since + quiet_time(sighting)).min(began_at + MAX_SETTLING_TIME);
        if due <= now { Verdict::Settled } else { Verdict::InProgress(due) }
    }

    /// Starts over, once the state was handled or the file is as it was.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(relation: Relation, writers: FileWriters) -> Sighting {
        Sighting::Text { relation, writers }
    }

    #[test]
    fn relation_compares_bytes() {
        for (base, content, expected) in [
            ("one\n", "one\n", Relation::Same),
            ("", "", Relation::Same),
            ("one\n", "one\ntwo\n", Relation::Extended),
            ("", "one\n", Relation::Extended),
            ("one\n", "two\n", Relation::Rewritten),
            ("one\n", "two\nthree\n", Relation::Rewritten),
            ("one\n", "one", Relation::Shrunk),
            ("one\n", "", Relation::Emptied),
        ] {
            assert_eq!(Relation::of(base.as_bytes(), content.as_bytes()), expected, "{base:?} {content:?}");
        }
    }

    #[test]
    fn intermediate_state_does_not_count() {
        use FileWriters::{Appending, None, Positioned};
        let start = Instant::now();
        for (sighting, quiet_ms) in [
            (text(Relation::Same, None), 0),
            (text(Relation::Same, Positioned), 0),
            (text(Relation::Extended, None), 0),
            (text(Relation::Extended, Appending), 0),
            (text(Relation::Extended, Positioned), 0),
            (text(Relation::Rewritten, None), 100),
            (text(Relation::Shrunk, None), 250),
            (text(Relation::Emptied, None), 1000),
            (text(Relation::Rewritten, Positioned), 3000),
            (text(Relation::Shrunk, Positioned), 3000),
            (text(Relation::Emptied, Appending), 3000),
            (Sighting::NotText, 3000),
            (Sighting::Missing, 2000),
        ] {
            let mut settling = Settling::default();
            let due = start + Duration::from_millis(quiet_ms);
            for at in [start, start + Duration::from_millis(quiet_ms / 2), due] {
                let verdict = settling.judge(sighting, Some("version"), at);
                let expected = if at < due { Verdict::InProgress(due) } else { Verdict::Settled };
                assert_eq!(verdict, expected, "{sighting:?}");
            }
        }
    }

    #[test]
    fn change_restarts_quiet_time_up_to_a_bound() {
        let mut settling = Settling::default();
        let start = Instant::now();
        let sighting = text(Relation::Shrunk, FileWriters::Positioned);
        for second in 0..6 {
            let now = start + Duration::from_secs(second);
            let verdict = settling.judge(sighting, Some(&second.to_string()), now);
            let due = (now + OPEN_TIME).min(start + MAX_SETTLING_TIME);
            assert_eq!(verdict, Verdict::InProgress(due));
        }
        let verdict = settling.judge(sighting, Some("last"), start + MAX_SETTLING_TIME);
        assert_eq!(verdict, Verdict::Settled);
        settling.reset();
        let later = start + Duration::from_secs(60);
        assert!(matches!(settling.judge(sighting, Some("next"), later), Verdict::InProgress(_)));
    }
}
