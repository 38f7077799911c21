//! Reads the edits of files that a server wants. It may want anything, so everything is checked and bounded.
//! Pure.

use std::{collections::BTreeMap, path::Path};

use protocol::{
    files::HomePath,
    languages::{MAX_EDITED_FILES, MAX_EDITS, RangeEdit, TextPosition},
};
use serde::Deserialize;
use serde_json::Value;

use super::{convert::position, uris::home_path_of};

/// Edits of one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileEdits {
    /// LSP's number of the text that they are about, if the server has named it.
    pub number: Option<i32>,
    /// The edits.
    pub edits: Vec<RangeEdit>,
}

/// Why the edits of a server cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEdit {
    /// They have another form.
    #[error("they cannot be read")]
    Unreadable,
    /// They concern files that are not in the home.
    #[error("they change a file outside the home")]
    Outside,
    /// They create, rename or delete files.
    #[error("they create, rename or delete files, which only users do here")]
    FileOperation,
    /// There are too many.
    #[error("they are more than {MAX_EDITS} in more than {MAX_EDITED_FILES} files")]
    TooMany,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawWorkspaceEdit {
    changes: Option<BTreeMap<String, Vec<lsp_types::TextEdit>>>,
    document_changes: Option<Vec<RawDocumentChange>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocumentChange {
    /// Of an operation on files.
    kind: Option<String>,
    text_document: Option<RawDocument>,
    edits: Option<Vec<lsp_types::TextEdit>>,
}

#[derive(Deserialize)]
struct RawDocument {
    uri: String,
    version: Option<i32>,
}

/// Reads a `WorkspaceEdit`, or null. Files without edits are left out.
pub fn read_workspace_edit(home: &Path, edit: Value) -> Result<BTreeMap<HomePath, FileEdits>, BadEdit> {
    let Some(edit) =
        serde_json::from_value::<Option<RawWorkspaceEdit>>(edit).map_err(|_| BadEdit::Unreadable)?
    else {
        return Ok(BTreeMap::new());
    };
    let mut files = BTreeMap::new();
    // A server that sends both means the same by them.
    if let Some(changes) = edit.document_changes {
        for change in changes {
            if change.kind.is_some() {
                return Err(BadEdit::FileOperation);
            }
            let (Some(document), Some(edits)) = (change.text_document, change.edits) else {
                return Err(BadEdit::Unreadable);
            };
            add_edits(home, &mut files, &document.uri, document.version, edits)?;
        }
    } else {
        for (uri, edits) in edit.changes.unwrap_or_default() {
            add_edits(home, &mut files, &uri, None, edits)?;
        }
    }
    let count: usize = files.values().map(|file| file.edits.len()).sum();
    if files.len() > MAX_EDITED_FILES || count > MAX_EDITS {
        return Err(BadEdit::TooMany);
    }
    Ok(files)
}

fn add_edits(
    home: &Path,
    files: &mut BTreeMap<HomePath, FileEdits>,
    uri: &str,
    number: Option<i32>,
    edits: Vec<lsp_types::TextEdit>,
) -> Result<(), BadEdit> {
    let path = home_path_of(home, uri).filter(|path| !path.is_home()).ok_or(BadEdit::Outside)?;
    if edits.is_empty() {
        return Ok(());
    }
    let file = files.entry(path).or_default();
    file.number = file.number.or(number);
    for edit in edits {
        file.edits.push(range_edit(edit)?);
    }
    Ok(())
}

/// An edit whose range is not turned around.
pub fn range_edit(edit: lsp_types::TextEdit) -> Result<RangeEdit, BadEdit> {
    let (start, end): (TextPosition, TextPosition) = (position(edit.range.start), position(edit.range.end));
    if end < start {
        return Err(BadEdit::Unreadable);
    }
    Ok(RangeEdit { range: protocol::languages::TextRange { start, end }, text: edit.new_text })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(edit: Value) -> Result<Vec<(String, usize, Option<i32>)>, BadEdit> {
        let files = read_workspace_edit(Path::new("/home/dev"), edit)?;
        let files = files.into_iter();
        Ok(files.map(|(path, file)| (path.to_string(), file.edits.len(), file.number)).collect())
    }

    fn edits(count: usize) -> Value {
        let place = json!({ "line": 0, "character": 0 });
        vec![json!({ "range": { "start": place, "end": place }, "newText": "x" }); count].into()
    }

    fn document(uri: &str, version: Value, count: usize) -> Value {
        json!({ "textDocument": { "uri": uri, "version": version }, "edits": edits(count) })
    }

    #[test]
    fn edits_have_one_form() {
        let one = |number| Ok(vec![("a.py".to_owned(), 1, number)]);
        let uri = "file:///home/dev/a.py";
        assert_eq!(read(json!({ "changes": { uri: edits(1), "file:///home/dev/b": [] } })), one(None));
        assert_eq!(read(json!({ "documentChanges": [document(uri, json!(7), 1)] })), one(Some(7)));
        let twice = json!({ "documentChanges": [document(uri, Value::Null, 1), document(uri, json!(7), 2)] });
        assert_eq!(read(twice), Ok(vec![("a.py".to_owned(), 3, Some(7))]));
        let both = json!({ "changes": { uri: edits(4) }, "documentChanges": [document(uri, json!(7), 1)] });
        assert_eq!(read(both), one(Some(7)));
        assert_eq!(read(Value::Null), Ok(vec![]));
        assert_eq!(read(json!({})), Ok(vec![]));
    }

    #[test]
    fn edits_stay_in_the_home() {
        for uri in ["file:///etc/passwd", "file:///home/dev/../x", "untitled:x", "file:///home/dev", "x"] {
            assert_eq!(read(json!({ "changes": { uri: edits(1) } })), Err(BadEdit::Outside), "{uri}");
            let changes = json!({ "documentChanges": [document(uri, Value::Null, 1)] });
            assert_eq!(read(changes), Err(BadEdit::Outside), "{uri}");
        }
    }

    #[test]
    fn operations_on_files_are_refused() {
        let inside = document("file:///home/dev/a", Value::Null, 1);
        for kind in ["create", "rename", "delete"] {
            let operation = json!({ "kind": kind, "uri": "file:///home/dev/b" });
            let edit = json!({ "documentChanges": [inside, operation] });
            assert_eq!(read(edit), Err(BadEdit::FileOperation));
        }
    }

    #[test]
    fn too_many_and_unreadable_edits_are_refused() {
        let uri = "file:///home/dev/a";
        assert_eq!(read(json!({ "changes": { uri: edits(MAX_EDITS + 1) } })), Err(BadEdit::TooMany));
        let files: serde_json::Map<String, Value> =
            (0..=MAX_EDITED_FILES).map(|index| (format!("{uri}{index}"), edits(1))).collect();
        assert_eq!(read(json!({ "changes": files })), Err(BadEdit::TooMany));
        let mut backwards = edits(1);
        backwards[0]["range"]["start"]["line"] = json!(1);
        for edit in [json!(7), json!({ "changes": { uri: 7 } }), json!({ "documentChanges": [{}] })] {
            assert_eq!(read(edit), Err(BadEdit::Unreadable));
        }
        assert_eq!(read(json!({ "changes": { uri: backwards } })), Err(BadEdit::Unreadable));
    }
}
