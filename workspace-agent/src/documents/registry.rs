//! All open documents, one per file.

use std::collections::HashMap;

use protocol::{
    document::{OpenDocument, RefusalReason},
    files::HomePath,
};

use super::{
    document::{DocumentHandle, DocumentRefusal, JoinedViewer},
    file::LoadError,
    watcher::FileWatcher,
};
use crate::{files::home_directory::HomeDirectory, tasks::Tasks};

/// Most open documents.
const MAX_DOCUMENTS: usize = 256;
/// How often a document is opened again because it ended between the lookup and the join.
const MAX_JOIN_ATTEMPTS: usize = 3;

/// The open documents by the resolved path of their file.
pub struct DocumentRegistry {
    home: HomeDirectory,
    tasks: Tasks,
    documents: tokio::sync::Mutex<HashMap<HomePath, DocumentHandle>>,
    watcher: FileWatcher,
}

impl DocumentRegistry {
    /// An empty registry. The tasks of its documents run as `tasks`.
    pub fn new(home: HomeDirectory, tasks: Tasks) -> Self {
        Self { home, tasks, documents: tokio::sync::Mutex::default(), watcher: FileWatcher::default() }
    }

    /// Number of open documents. Returns 0 while a document is being opened, which is good enough
    /// for a status bar.
    pub fn count(&self) -> usize {
        let Ok(documents) = self.documents.try_lock() else { return 0 };
        documents.values().filter(|document| !document.has_ended()).count()
    }

    /// Reports that one of the agent's own routes has written a file.
    pub fn report_file_change(&self, path: &HomePath) {
        self.watcher.report_change(&self.home.path().join(path.as_str()));
    }

    /// Replaces the file of an open document by its text. Returns false if the document is not open.
    pub async fn overwrite(&self, path: &HomePath) -> bool {
        let (requested, fallback) = (path.clone(), path.clone());
        // A file that was deleted keeps the path that it was opened by.
        let resolved = self.home.run(move |files| files.resolve(&requested)).await.unwrap_or(fallback);
        let document = self.documents.lock().await.get(&resolved).cloned();
        match document {
            Some(document) => document.overwrite().await.is_ok(),
            None => false,
        }
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
        // Each file has one document, whichever links lead to it.
        let path = self.home.run(move |files| files.resolve(&path).map_err(LoadError::Io)).await;
        let path = path.map_err(|error| DocumentRefusal::from(&error))?;
        for _ in 0..MAX_JOIN_ATTEMPTS {
            let document = self.find_or_open(&path).await?;
            if let Ok(joined) = document.join(request.epoch.clone()).await {
                return joined.map(|joined| (document, joined));
            }
        }
        Err(DocumentRefusal {
            reason: RefusalReason::Internal,
            message: "Cannot open the document: it closed several times while it was opened. Try again."
                .to_owned(),
        })
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
        let file_changes = self.watcher.watch(self.home.path().join(path.as_str()));
        let document = DocumentHandle::open(&self.home, path, file_changes, &self.tasks).await?;
        // The file may have changed between the start of the watch and the load.
        document.poll_file();
        documents.insert(path.clone(), document.clone());
        Ok(document)
    }
}
