//! Edits of files that servers want: checks them all, then applies them to the shared documents, and keeps
//! what undoes them.
//!
//! Edits are about the texts that the server had. Of an open file, that is the text that it was given. Of
//! another, nobody knows: what an edit replaces must then be in the text, and a rename must replace the name.
//! If anything is wrong, nothing is edited. Once all is right, each file is edited as a whole, or not at all
//! if its text has changed since.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use protocol::{
    files::HomePath,
    languages::{AppliedEdits, EditFailure, EditedFile, RangeEdit, text_version},
};

use super::{
    AskError, Languages, lock,
    server::SyncedVersions,
    workspace_edit::{BadEdit, FileEdits},
};
use crate::documents::{
    diff::TextEdit,
    document::Edits,
    range_edits::{apply_edits, invert_edits, locate_range_edits, ranges_of_edits, replaced_ranges},
};

/// Most changes that can be undone.
const MAX_UNDOS: usize = 32;
/// Most bytes of the texts that undo restores, of all changes together.
const MAX_UNDO_BYTES: usize = 16 * 1024 * 1024;
/// Most characters on each side of an edit that belong to the name that it changes.
const MAX_NAME_CHARACTERS: usize = 128;

impl From<BadEdit> for AskError {
    fn from(error: BadEdit) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The edits of one file, which were checked.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    path: HomePath,
    /// The version of the text that they are about.
    version: String,
    /// The last in the text first.
    edits: Vec<TextEdit>,
    /// What undoes them, and the version of the text then.
    inverse: (String, Vec<TextEdit>),
    /// For a client that makes them itself.
    ranges: Vec<RangeEdit>,
}

/// What undoes the last changes, the oldest first.
#[derive(Default)]
pub struct UndoStore {
    last: u64,
    changes: VecDeque<(String, Vec<PlannedFile>)>,
}

impl UndoStore {
    /// Keeps what undoes a change. `None`: it is too large.
    fn keep(&mut self, files: Vec<PlannedFile>) -> Option<String> {
        if files.is_empty() || bytes_of(&files) > MAX_UNDO_BYTES {
            return None;
        }
        self.last += 1;
        let id = self.last.to_string();
        self.changes.push_back((id.clone(), files));
        let mut bytes: usize = self.changes.iter().map(|(_, files)| bytes_of(files)).sum();
        while bytes > MAX_UNDO_BYTES || self.changes.len() > MAX_UNDOS {
            let Some((_, oldest)) = self.changes.pop_front() else { break };
            bytes -= bytes_of(&oldest);
        }
        Some(id)
    }

    fn remove(&mut self, id: &str) -> Option<Vec<PlannedFile>> {
        let index = self.changes.iter().position(|(known, _)| known == id)?;
        self.changes.remove(index).map(|(_, files)| files)
    }
}

/// About what a change takes in memory.
fn bytes_of(files: &[PlannedFile]) -> usize {
    let edits = files.iter().flat_map(|file| file.edits.iter().chain(&file.inverse.1));
    edits.map(|edit| edit.insert.len() + size_of::<TextEdit>()).sum()
}

impl PlannedFile {
    /// Checks the edits of a text. `edits` are the last in the text first, and those of the text. Those that
    /// change nothing are left out: they would move cursors and marks.
    fn new(path: HomePath, text: &str, mut edits: Vec<TextEdit>) -> Option<Self> {
        let mut changes = replaced_ranges(text, &edits)?
            .into_iter()
            .map(|(range, insert)| text[range] != *insert)
            .rev()
            .collect::<Vec<_>>()
            .into_iter();
        edits.retain(|_| changes.next() == Some(true));
        let after = text_version(&apply_edits(text, &edits)?);
        let inverse = invert_edits(text, &edits)?;
        let ranges = ranges_of_edits(text, &edits)?;
        Some(Self { path, version: text_version(text), edits, inverse: (after, inverse), ranges })
    }

    /// The edits that undo these.
    fn inverted(self) -> Self {
        let Self { path, version, edits, inverse, .. } = self;
        Self { path, version: inverse.0, edits: inverse.1, inverse: (version, edits), ranges: Vec::new() }
    }
}

impl Languages {
    /// Checks edits of files. `versions` are the texts that the server had. With `name`, each edit of a file
    /// that it did not have must change this name.
    pub(super) async fn plan_edits(
        &self,
        files: BTreeMap<HomePath, FileEdits>,
        versions: &SyncedVersions,
        name: Option<&str>,
    ) -> Result<Vec<PlannedFile>, AskError> {
        let (mut planned, mut known) = (Vec::new(), BTreeSet::new());
        for (path, FileEdits { number, edits }) in files {
            let refuse = |reason: &str| AskError::Refused(format!("{path}: {reason}"));
            let read = self.documents.read_text(&path).await;
            let (real, text) = read.map_err(|refusal| refuse(refusal.message.trim_end_matches('.')))?;
            if !known.insert(real.clone()) {
                return Err(refuse("it is named twice"));
            }
            let located = locate_range_edits(&text, &edits).map_err(|_| refuse("its edits overlap"))?;
            let is_about_text = match versions.get(&real) {
                Some(synced) => {
                    number.is_none_or(|number| number == synced.number)
                        && text_version(&text) == synced.version
                }
                None => located.is_exact && name.is_none_or(|name| changes_name(&text, &located.edits, name)),
            };
            if !is_about_text {
                return Err(refuse("its text has changed. Try again"));
            }
            let file = PlannedFile::new(real, &text, located.edits);
            let file = file.ok_or_else(|| refuse("its edits cannot be applied"))?;
            if !file.edits.is_empty() {
                planned.push(file);
            }
        }
        Ok(planned)
    }

    /// Applies edits that were checked. Those of only the client's own file are returned to it.
    pub(super) async fn apply_or_return(
        self: &Arc<Self>,
        planned: Vec<PlannedFile>,
        own: &HomePath,
    ) -> Result<AppliedEdits, AskError> {
        match <[PlannedFile; 1]>::try_from(planned) {
            Ok([file]) if file.path == *own => {
                Ok(AppliedEdits { edits: file.ranges, ..AppliedEdits::default() })
            }
            Ok([file]) => self.apply(vec![file]).await,
            Err(planned) => self.apply(planned).await,
        }
    }

    /// Applies edits that were checked, also if nobody waits for them any more: a change that was begun is
    /// completed.
    pub(super) async fn apply(self: &Arc<Self>, planned: Vec<PlannedFile>) -> Result<AppliedEdits, AskError> {
        let languages = self.clone();
        let applied = self.tasks.spawn(async move { languages.apply_files(planned).await }).await;
        applied.ok().flatten().ok_or(AskError::NotReady)
    }

    async fn apply_files(&self, planned: Vec<PlannedFile>) -> AppliedEdits {
        let mut applied = AppliedEdits::default();
        let mut undo = Vec::new();
        for file in planned {
            let path = file.path.to_string();
            let edits = Edits::Exact { version: file.version.clone(), edits: file.edits.clone() };
            let failure = match self.documents.edit(&file.path, edits).await {
                Ok(edited) if edited.missed.is_empty() => {
                    applied.files.push(EditedFile { path: path.clone(), edits: file.edits.len() });
                    undo.push(file.inverted());
                    edited.unsaved.map(|reason| format!("It is not saved yet. {reason}"))
                }
                Ok(edited) => Some(edited.unsaved.unwrap_or_else(|| {
                    "Its text has changed. It was left as it is. Try again for this file.".to_owned()
                })),
                Err(refusal) => Some(refusal.message),
            };
            applied.failures.extend(failure.map(|message| EditFailure { path, message }));
        }
        applied.undo = lock(&self.undos).keep(undo);
        applied
    }

    /// Undoes a change in the files that are as it has left them. The answer can be undone, too.
    pub async fn undo(self: &Arc<Self>, id: &str) -> Result<AppliedEdits, AskError> {
        let files = lock(&self.undos).remove(id).ok_or(AskError::NoUndo)?;
        self.apply(files).await
    }
}

/// Whether each edit changes a name: the word that it replaces, or is in, has it.
fn changes_name(text: &str, edits: &[TextEdit], name: &str) -> bool {
    let Some(replaced) = replaced_ranges(text, edits) else { return false };
    replaced.into_iter().all(|(range, _)| {
        let before = text[..range.start].char_indices().rev().take(MAX_NAME_CHARACTERS);
        let before = before.take_while(|(_, character)| is_of_name(*character)).last();
        let start = before.map_or(range.start, |(at, _)| at);
        let after = text[range.end..].chars().take(MAX_NAME_CHARACTERS);
        let after: usize = after.take_while(|character| is_of_name(*character)).map(char::len_utf8).sum();
        text[start..range.end + after].contains(name)
    })
}

/// Whether a character belongs to names.
pub fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str, insert: &str) -> PlannedFile {
        let edits = vec![TextEdit { at: 0, delete: 0, insert: insert.to_owned() }];
        PlannedFile::new(HomePath::parse("a").expect("a path"), text, edits).expect("edits of the text")
    }

    #[test]
    fn undos_are_limited() {
        let mut store = UndoStore::default();
        assert_eq!(store.keep(Vec::new()), None);
        let first = store.keep(vec![planned("", "x")]).expect("small");
        for _ in 1..MAX_UNDOS {
            store.keep(vec![planned("", "x")]);
        }
        assert!(store.remove(&first).is_some());
        assert!(store.remove(&first).is_none(), "once");
        let half = "x".repeat(MAX_UNDO_BYTES / 2);
        let second = store.keep(vec![planned("", &half)]).expect("small enough");
        let third = store.keep(vec![planned("", &half)]).expect("small enough");
        assert!(store.remove(&second).is_none() && store.remove(&third).is_some());
        assert_eq!(store.keep(vec![planned("", &half), planned("", &half)]), None);
    }

    #[test]
    fn rename_changes_only_the_name() {
        let edit = |at, delete| vec![TextEdit { at, delete, insert: "new".to_owned() }];
        let text = "\u{1f600} area(x) + x.area_of";
        assert!(changes_name(text, &edit(3, 4), "area"));
        assert!(changes_name(text, &edit(7, 0), "area"), "what follows the name, as `: new`");
        assert!(!changes_name(text, &edit(8, 1), "area"));
        assert!(!changes_name(text, &edit(0, 2), "area"));
        assert!(!changes_name(text, &edit(99, 0), "area"));
    }

    #[test]
    fn edits_without_effect_are_left_out() {
        let edit = |at, delete, insert: &str| TextEdit { at, delete, insert: insert.to_owned() };
        let edits = vec![edit(4, 3, "two"), edit(0, 3, "1"), edit(0, 0, "")];
        let path = HomePath::parse("a").expect("a path");
        let file = PlannedFile::new(path, "one two", edits).expect("edits of the text");
        assert_eq!(file.edits, [edit(0, 3, "1")]);
        assert_eq!(file.version, text_version("one two"));
    }

    #[test]
    fn inverse_of_inverse_is_the_change() {
        let file = planned("one", "two ");
        let again = file.clone().inverted().inverted();
        assert_eq!((again.version, again.edits), (file.version, file.edits));
    }
}
