//! All open documents, one per file.

use std::collections::HashMap;

use protocol::{
    document::{OpenDocument, RefusalReason},
    files::HomePath,
    search::EditedDocument,
};

use tokio::sync::watch;

use super::{
    document::{DocumentHandle, DocumentRefusal, Edits, JoinedViewer},
    file::{self, LoadError},
    file_work::FileWork,
    pulse::DocumentPulse,
    watcher::FileWatcher,
};
use crate::{files::home_directory::HomeDirectory, tasks::Tasks};

/// Most open documents.
const MAX_DOCUMENTS: usize = 256;
/// How often a document is opened again because it ended between the lookup and the join.
const MAX_JOIN_ATTEMPTS: usize = 3;

/// The open documents by the resolved path of their file.
pub struct DocumentRegistry {
    files: FileWork,
    tasks: Tasks,
    documents: tokio::sync::Mutex<HashMap<HomePath, DocumentHandle>>,
    watcher: FileWatcher,
    /// Changes with every document.
    changes: watch::Sender<u64>,
}

impl DocumentRegistry {
    /// An empty registry. The tasks of its documents run as `tasks`.
    pub fn new(home: HomeDirectory, tasks: Tasks) -> Self {
        Self {
            files: FileWork::new(home),
            tasks,
            documents: tokio::sync::Mutex::default(),
            watcher: FileWatcher::default(),
            changes: watch::Sender::default(),
        }
    }

    /// Number of open documents. Returns 0 while a document is being opened, which is good enough
    /// for a status bar.
    pub fn count(&self) -> usize {
        let Ok(documents) = self.documents.try_lock() else { return 0 };
        documents.values().filter(|document| !document.has_ended()).count()
    }

    /// Changes whenever a document does: its text, its file, or who has it open.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The documents that clients have open, by the resolved path of their file.
    pub async fn viewed(&self) -> Vec<(HomePath, DocumentHandle)> {
        let documents = self.documents.lock().await;
        let viewed = documents.iter().filter(|(_, document)| document.pulse.viewers() > 0);
        viewed.map(|(path, document)| (path.clone(), document.clone())).collect()
    }

    /// Finds an open document, whichever links lead to its file.
    pub async fn find(&self, path: &HomePath) -> Option<(HomePath, DocumentHandle)> {
        let path = self.resolve(path.clone()).await.ok()?;
        let document = self.documents.lock().await.get(&path).cloned()?;
        (!document.has_ended()).then_some((path, document))
    }

    /// Reports that one of the agent's own routes has written a file.
    pub fn report_file_change(&self, path: &HomePath) {
        self.watcher.report_change(&self.files.home().path().join(path.as_str()));
    }

    /// Replaces the file of an open document by its text. Returns false if the document is not open.
    pub async fn overwrite(&self, path: &HomePath) -> bool {
        let (requested, fallback) = (path.clone(), path.clone());
        // A file that was deleted keeps the path that it was opened by.
        let resolved = self.files.read(move |files| files.resolve(&requested)).await.unwrap_or(fallback);
        let document = self.documents.lock().await.get(&resolved).cloned();
        match document {
            Some(document) => document.overwrite().await.is_ok(),
            None => false,
        }
    }

    /// Applies edits to the text of a file, which is opened for that if necessary, and waits until they are
    /// on disk. What is not where an edit says is left as it is. If the file cannot be written and nobody
    /// has it open, all edits are missed: the document is not kept for them.
    pub async fn edit(&self, path: &HomePath, edits: Edits) -> Result<EditedDocument, DocumentRefusal> {
        let path = self.resolve(path.clone()).await?;
        for _ in 0..MAX_JOIN_ATTEMPTS {
            let document = self.find_or_open(&path).await?;
            if let Ok(edited) = document.edit(edits.clone()).await {
                return Ok(edited);
            }
        }
        Err(DocumentRefusal::closed_repeatedly())
    }

    /// The present text of a file, which does not have to be open, and the path that links lead to.
    pub async fn read_text(&self, path: &HomePath) -> Result<(HomePath, String), DocumentRefusal> {
        let path = self.resolve(path.clone()).await?;
        let document = self.documents.lock().await.get(&path).cloned();
        if let Some(document) = document
            && let Ok(read) = document.read().await
        {
            return Ok((path, read.text));
        }
        let requested = path.clone();
        let loaded = self.files.read(move |files| file::load(files, &requested)).await;
        loaded.map(|loaded| (path, loaded.text)).map_err(|error| DocumentRefusal::from(&error))
    }

    /// Each file has one document, whichever links lead to it.
    async fn resolve(&self, path: HomePath) -> Result<HomePath, DocumentRefusal> {
        let path = self.files.read(move |files| files.resolve(&path).map_err(LoadError::Io)).await;
        path.map_err(|error| DocumentRefusal::from(&error))
    }

    /// Waits until all edits are on disk.
    pub async fn flush_all(&self) {
        let documents: Vec<DocumentHandle> = self.documents.lock().await.values().cloned().collect();
        futures_util::future::join_all(documents.iter().map(DocumentHandle::flush)).await;
    }

    /// Adds a viewer to a document, which is opened first if necessary.
    pub async fn join(
        &self,
        request: OpenDocument,
    ) -> Result<(DocumentHandle, JoinedViewer), DocumentRefusal> {
        let path = HomePath::parse(&request.path).map_err(|error| DocumentRefusal {
            reason: RefusalReason::OutsideHome,
            message: format!("Cannot open the document: {error}."),
        })?;
        let path = self.resolve(path).await?;
        for _ in 0..MAX_JOIN_ATTEMPTS {
            let document = self.find_or_open(&path).await?;
            if let Ok(joined) = document.join(request.epoch.clone()).await {
                return joined.map(|joined| (document, joined));
            }
        }
        Err(DocumentRefusal::closed_repeatedly())
    }

    async fn find_or_open(&self, path: &HomePath) -> Result<DocumentHandle, DocumentRefusal> {
        let mut documents = self.documents.lock().await;
        documents.retain(|_, document| !document.has_ended());
        if let Some(document) = documents.get(path) {
            return Ok(document.clone());
        }
        if documents.len() >= MAX_DOCUMENTS {
            let message = format!(
                "Cannot open the document: {MAX_DOCUMENTS} are open. Close some, then try again later."
            );
            return Err(DocumentRefusal { reason: RefusalReason::TooMany, message });
        }
        let file_changes = self.watcher.watch(self.files.home().path().join(path.as_str()));
        let pulse = DocumentPulse::new(self.changes.clone());
        let document = DocumentHandle::open(&self.files, path, file_changes, pulse, &self.tasks).await?;
        // The file may have changed between the start of the watch and the load.
        document.poll_file();
        documents.insert(path.clone(), document.clone());
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path};

    use protocol::{document::MAX_DOCUMENT_BYTES, languages::text_version, search::LineEdit};

    use super::*;
    use crate::documents::{diff::TextEdit, outbox::ViewerMessage};

    fn setup(text: &str) -> (tempfile::TempDir, DocumentRegistry, HomePath) {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("file"), text).expect("a writable directory");
        let home = HomeDirectory::new(directory.path().to_owned(), false);
        home.open_root().expect("the directory exists");
        let registry = DocumentRegistry::new(home, Tasks::default());
        (directory, registry, HomePath::parse("file").expect("a path"))
    }

    fn edit(line: u64, old: &str, new: &str) -> LineEdit {
        LineEdit { line, column: 0, old: old.to_owned(), new: new.to_owned() }
    }

    #[tokio::test]
    async fn edit_of_unopened_file_is_saved() {
        let (directory, registry, path) = setup("one\r\ntwo\r\n");
        let edits = vec![edit(1, "one", "1"), edit(2, "three", "3")];
        let edited = registry.edit(&path, Edits::Lines(edits)).await.expect("a text file");
        assert_eq!(edited, EditedDocument { missed: vec![1], unsaved: None });
        let saved = std::fs::read(directory.path().join("file")).expect("a file");
        assert_eq!(saved, b"1\r\ntwo\r\n", "the line endings stay");
        wait_until_closed(&registry).await;
    }

    /// A replacement in a thousand files must not keep a thousand documents.
    async fn wait_until_closed(registry: &DocumentRegistry) {
        while registry.count() > 0 {
            tokio::task::yield_now().await;
        }
    }

    fn protect(file: &Path) {
        std::fs::set_permissions(file, Permissions::from_mode(0o444)).expect("a file");
    }

    #[tokio::test]
    async fn edit_of_protected_file_is_forgotten() {
        let (directory, registry, path) = setup("one\n");
        protect(&directory.path().join("file"));
        let edited =
            registry.edit(&path, Edits::Lines(vec![edit(1, "one", "two")])).await.expect("a text file");
        assert_eq!(edited.missed, [0]);
        assert!(edited.unsaved.expect("a reason").contains("protected"));
        wait_until_closed(&registry).await;
    }

    #[tokio::test]
    async fn edit_of_open_protected_file_is_kept() {
        let (directory, registry, path) = setup("one\n");
        protect(&directory.path().join("file"));
        let request = OpenDocument { path: "file".to_owned(), epoch: None, events: true };
        let (document, _viewer) = registry.join(request).await.expect("a text file");
        let edited =
            registry.edit(&path, Edits::Lines(vec![edit(1, "one", "two")])).await.expect("a text file");
        assert!(edited.missed.is_empty() && edited.unsaved.is_some(), "{edited:?}");
        assert!(!document.has_ended());
    }

    #[tokio::test]
    async fn edits_beyond_largest_document_are_missed() {
        for (text, new_bytes) in [("one\n", 3 * MAX_DOCUMENT_BYTES), ("one\n", MAX_DOCUMENT_BYTES)] {
            let (directory, registry, path) = setup(text);
            let new = "x".repeat(new_bytes as usize);
            let edited =
                registry.edit(&path, Edits::Lines(vec![edit(1, "one", &new)])).await.expect("a text file");
            assert_eq!(edited.missed, [0]);
            assert_eq!(edited.unsaved.as_deref(), Some("The file would be larger than 8 MiB."));
            assert_eq!(std::fs::read(directory.path().join("file")).expect("a file"), text.as_bytes());
            wait_until_closed(&registry).await;
        }
    }

    #[tokio::test]
    async fn edits_count_line_ends_of_file() {
        let (_directory, registry, path) = setup("one\r\n");
        // With one line end as in the text, it would just fit.
        let new = "x".repeat(MAX_DOCUMENT_BYTES as usize - 1);
        let edited =
            registry.edit(&path, Edits::Lines(vec![edit(1, "one", &new)])).await.expect("a text file");
        assert_eq!(edited.missed, [0]);
        let edited =
            registry.edit(&path, Edits::Lines(vec![edit(1, "one", &new[1..])])).await.expect("a text file");
        assert_eq!(edited, EditedDocument::default());
    }

    #[tokio::test]
    async fn exact_edits_need_their_text() {
        let (directory, registry, path) = setup("one\r\ntwo\r\n");
        let (_, text) = registry.read_text(&path).await.expect("a text file");
        assert_eq!(text, "one\ntwo\n");
        let edits = vec![
            TextEdit { at: 4, delete: 3, insert: "2".to_owned() },
            TextEdit { at: 0, delete: 3, insert: "1".to_owned() },
        ];
        let exact = Edits::Exact { version: text_version(&text), edits };
        let edited = registry.edit(&path, exact.clone()).await.expect("a text file");
        assert_eq!(edited, EditedDocument::default());
        let saved = || std::fs::read(directory.path().join("file")).expect("a file");
        assert_eq!(saved(), b"1\r\n2\r\n");
        let edited = registry.edit(&path, exact).await.expect("a text file");
        assert_eq!(edited, EditedDocument { missed: vec![0, 1], unsaved: None });
        assert_eq!(saved(), b"1\r\n2\r\n");
        wait_until_closed(&registry).await;
    }

    #[tokio::test]
    async fn edit_of_open_document_reaches_viewers() {
        let (directory, registry, path) = setup("one\n");
        let request = OpenDocument { path: "file".to_owned(), epoch: None, events: true };
        let (document, mut viewer) = registry.join(request).await.expect("a text file");
        registry.edit(&path, Edits::Lines(vec![edit(1, "one", "two")])).await.expect("a text file");
        assert_eq!(std::fs::read(directory.path().join("file")).expect("a file"), b"two\n");
        let mut is_shared = false;
        while !is_shared {
            let message = viewer.outbox.recv().await.expect("the document is open");
            is_shared = matches!(message, ViewerMessage::Sync(update) if update.starts_with(&[0, 2]));
        }
        assert!(!document.has_ended());
    }

    #[tokio::test]
    async fn edit_of_other_files_is_refused() {
        let (directory, registry, path) = setup("one\n");
        std::fs::write(directory.path().join("file"), b"\xff\0").expect("a writable directory");
        let refusal = registry.edit(&path, Edits::Lines(vec![edit(1, "", "x")])).await.expect_err("no text");
        assert_eq!(refusal.reason, RefusalReason::NotText);
        let missing = HomePath::parse("missing").expect("a path");
        let refusal = registry.edit(&missing, Edits::Lines(Vec::new())).await.expect_err("no file");
        assert_eq!(refusal.reason, RefusalReason::NotFound);
    }
}
