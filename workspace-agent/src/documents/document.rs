//! One open document: a task that owns the shared text, its viewers and its file.
//!
//! Everything that happens to the document passes through the task's inbox, so there is one order. If the task panics (a
//! hostile update that the library does not survive), its viewers' sockets close and the next opening makes it anew from the
//! file, with another epoch; no other document notices.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use axum::body::Bytes;
use protocol::{
    document::{DocumentEvent, RefusalReason},
    files::HomePath,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    disk::{self, LineEnd, Loaded, Look, Save, Unreadable},
    shared::{Mark, Shared, ViewerId},
};
use crate::files::home::Home;

/// Messages that wait for the document; beyond it a viewer's socket is not read.
const INBOX: usize = 64;
/// Messages that wait for one viewer; one that falls further behind is let go and synchronises anew.
const OUTBOX: usize = 256;
/// A save begins when nobody has typed for so long,
const SAVE_QUIET: Duration = Duration::from_millis(150);
/// or when the oldest edit is so old.
const SAVE_LATEST: Duration = Duration::from_millis(500);
/// A disk that did not take the text is asked again after this.
const SAVE_AGAIN: Duration = Duration::from_secs(5);
/// The watcher sees most changes at once; what it misses (another mount, an overflow) is seen by looking.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A document stays this long after its last viewer, so that whoever reloads a page keeps the history of edits.
const LINGER: Duration = Duration::from_mins(10);

/// What a viewer is sent.
#[derive(Debug, Clone)]
pub enum Out {
    Sync(Bytes),
    Event(DocumentEvent),
}

/// What the document is told.
enum Say {
    Join {
        epoch: Option<String>,
        answer: oneshot::Sender<Result<Joined, Refused>>,
    },
    Sync {
        viewer: ViewerId,
        message: Bytes,
    },
    Leave(ViewerId),
    Flush(oneshot::Sender<()>),
    #[cfg(test)]
    Break,
}

pub struct Joined {
    pub viewer: ViewerId,
    pub epoch: String,
    pub outbox: mpsc::Receiver<Out>,
}

/// Why a viewer is not served.
#[derive(Debug, Clone)]
pub struct Refused {
    pub reason: RefusalReason,
    pub message: String,
}

impl From<&Unreadable> for Refused {
    fn from(error: &Unreadable) -> Self {
        let message = match error {
            Unreadable::Io(error) => crate::problem::sentence(error),
            told => told.to_string(),
        };
        Self { reason: error.reason(), message }
    }
}

impl Refused {
    pub fn event(&self) -> DocumentEvent {
        DocumentEvent::Refused { reason: self.reason, message: self.message.clone() }
    }
}

/// A way to reach the document's task.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Say>,
    disk: Arc<Notify>,
}

/// The task has ended: open the document again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

impl Handle {
    /// Reads the file and starts its task.
    pub async fn open(home: &Home, path: &HomePath, disk: Arc<Notify>) -> Result<Self, Refused> {
        let reading = path.clone();
        let loaded = home
            .run(move |files| disk::load(files, &reading))
            .await
            .map_err(|error| Refused::from(&error))?;
        let (inbox, queue) = mpsc::channel(INBOX);
        let document = Document::new(home.clone(), path.clone(), loaded);
        // Its end, by a panic too, is seen by its inbox: see [`Self::has_ended`].
        tokio::spawn(document.run(queue, disk.clone()));
        Ok(Self { inbox, disk })
    }

    pub fn has_ended(&self) -> bool {
        self.inbox.is_closed()
    }

    /// The file may have changed.
    pub fn look(&self) {
        self.disk.notify_one();
    }

    pub async fn join(&self, epoch: Option<String>) -> Result<Result<Joined, Refused>, Ended> {
        let (answer, joined) = oneshot::channel();
        self.inbox.send(Say::Join { epoch, answer }).await.map_err(|_| Ended)?;
        joined.await.map_err(|_| Ended)
    }

    pub async fn sync(&self, viewer: ViewerId, message: Bytes) -> Result<(), Ended> {
        self.inbox.send(Say::Sync { viewer, message }).await.map_err(|_| Ended)
    }

    pub async fn leave(&self, viewer: ViewerId) {
        // A document that has ended has no viewers.
        let _ = self.inbox.send(Say::Leave(viewer)).await;
    }

    /// Resolves when all that was typed before is on disk, or the disk has refused it.
    pub async fn flush(&self) {
        let (answer, flushed) = oneshot::channel();
        if self.inbox.send(Say::Flush(answer)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

struct Document {
    home: Home,
    path: HomePath,
    /// Changes with every instance: a client's old state must never meet another's.
    epoch: String,
    shared: Shared,
    line_end: LineEnd,
    /// The file as last read or written; none: it is not there.
    known: Option<String>,
    viewers: HashMap<ViewerId, mpsc::Sender<Out>>,
    next_viewer: ViewerId,
    saving: Option<Saving>,
    /// When the next save is due, and the latest that it may be put off to.
    due: Option<Due>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Since when nobody looks.
    alone_since: Instant,
}

struct Saving {
    mark: Mark,
    task: JoinHandle<io::Result<Save>>,
}

#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    latest: Instant,
}

/// Whether the document goes on.
enum Next {
    GoOn,
    End,
}

impl Document {
    fn new(home: Home, path: HomePath, loaded: Loaded) -> Self {
        Self {
            home,
            path,
            epoch: uuid::Uuid::new_v4().simple().to_string(),
            shared: Shared::new(&loaded.text),
            line_end: loaded.line_end,
            known: Some(loaded.etag),
            viewers: HashMap::new(),
            next_viewer: 1,
            saving: None,
            due: None,
            flushes: Vec::new(),
            alone_since: Instant::now(),
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Say>, disk: Arc<Notify>) {
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due.filter(|_| self.saving.is_none());
            let next = tokio::select! {
                said = inbox.recv() => match said {
                    Some(said) => self.hear(said),
                    None => Next::End,
                },
                saved = saved(self.saving.as_mut()), if self.saving.is_some() => self.saved(saved).await,
                () = sleep_until(due.map_or_else(Instant::now, |due| due.at)), if due.is_some() => {
                    self.save();
                    Next::GoOn
                }
                // While a save runs the file changes by our own hand.
                () = disk.notified(), if self.saving.is_none() => self.look().await,
                _ = look.tick(), if self.saving.is_none() => self.tick().await,
            };
            if matches!(next, Next::End) {
                return;
            }
        }
    }

    fn hear(&mut self, said: Say) -> Next {
        match said {
            Say::Join { epoch, answer } => {
                // The receiver may have gone meanwhile: then the outbox closes and the viewer is let go at the next message.
                let _ = answer.send(self.join(epoch));
            }
            Say::Sync { viewer, message } => self.take(viewer, &message),
            Say::Leave(viewer) => self.let_go(viewer),
            Say::Flush(answer) => {
                self.flushes.push(answer);
                if self.shared.is_ahead() {
                    self.save();
                }
                self.answer_flushes();
            }
            #[cfg(test)]
            Say::Break => panic!("as the library does on some hostile updates"),
        }
        Next::GoOn
    }

    fn join(&mut self, epoch: Option<String>) -> Result<Joined, Refused> {
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            let message = "The document was opened anew meanwhile.".to_owned();
            return Err(Refused { reason: RefusalReason::Stale, message });
        }
        let viewer = self.next_viewer;
        self.next_viewer += 1;
        let (sender, outbox) = mpsc::channel(OUTBOX);
        for message in self.shared.greeting() {
            let _ = sender.try_send(Out::Sync(message.into()));
        }
        if self.shared.is_ahead() {
            let _ = sender.try_send(Out::Event(DocumentEvent::Dirty));
        }
        self.viewers.insert(viewer, sender);
        Ok(Joined { viewer, epoch: self.epoch.clone(), outbox })
    }

    fn take(&mut self, viewer: ViewerId, message: &[u8]) {
        if !self.viewers.contains_key(&viewer) {
            return; // let go meanwhile
        }
        let was_ahead = self.shared.is_ahead();
        let Ok(effects) = self.shared.receive(viewer, message) else {
            let message = "The edit cannot be applied; the document is synchronised anew.".to_owned();
            self.send(
                viewer,
                Out::Event(DocumentEvent::Refused { reason: RefusalReason::BadUpdate, message }),
            );
            self.let_go(viewer);
            return;
        };
        for message in effects.reply {
            self.send(viewer, Out::Sync(message.into()));
        }
        for message in effects.broadcast {
            self.broadcast(&Out::Sync(message.into()), Some(viewer));
        }
        if effects.edited {
            if !was_ahead {
                self.broadcast(&Out::Event(DocumentEvent::Dirty), None);
            }
            self.put_off();
        }
    }

    /// Someone typed: the save waits for a pause, but not for ever.
    fn put_off(&mut self) {
        let now = Instant::now();
        let latest = self.due.map_or(now + SAVE_LATEST, |due| due.latest);
        self.due = Some(Due { at: (now + SAVE_QUIET).min(latest), latest });
    }

    fn let_go(&mut self, viewer: ViewerId) {
        if self.viewers.remove(&viewer).is_none() {
            return;
        }
        if let Some(message) = self.shared.leave(viewer) {
            self.broadcast(&Out::Sync(message.into()), None);
        }
        self.alone_since = Instant::now();
    }

    fn send(&mut self, viewer: ViewerId, message: Out) {
        let full = self.viewers.get(&viewer).is_some_and(|outbox| outbox.try_send(message).is_err());
        if full {
            self.let_go(viewer);
        }
    }

    fn broadcast(&mut self, message: &Out, except: Option<ViewerId>) {
        let viewers: Vec<ViewerId> =
            self.viewers.keys().copied().filter(|viewer| Some(*viewer) != except).collect();
        for viewer in viewers {
            self.send(viewer, message.clone());
        }
    }

    /// Begins a save. The text may go on changing meanwhile.
    fn save(&mut self) {
        if self.saving.is_some() {
            return;
        }
        self.due = None;
        let (home, path, known) = (self.home.clone(), self.path.clone(), self.known.clone());
        let (text, line_end) = (self.shared.text(), self.line_end);
        let task = tokio::spawn(async move {
            home.run(move |files| disk::save(files, &path, known.as_deref(), &text, line_end)).await
        });
        self.saving = Some(Saving { mark: self.shared.mark(), task });
    }

    async fn saved(&mut self, (mark, result): (Mark, io::Result<Save>)) -> Next {
        self.saving = None;
        match result {
            Ok(Save::Saved { etag, bytes }) => {
                self.known = Some(etag);
                self.shared.settle(mark);
                if !self.shared.is_ahead() {
                    self.broadcast(&Out::Event(DocumentEvent::Saved { bytes }), None);
                }
            }
            Ok(Save::Overtaken) => {
                let next = self.look().await;
                self.save();
                return next;
            }
            Err(error) => {
                let message = crate::problem::sentence(&error);
                self.broadcast(&Out::Event(DocumentEvent::SaveFailed { message }), None);
                let at = Instant::now() + SAVE_AGAIN;
                self.due = Some(Due { at, latest: at });
                self.flushes.clear();
            }
        }
        if !self.flushes.is_empty() && self.shared.is_ahead() {
            self.save();
        }
        self.answer_flushes();
        Next::GoOn
    }

    fn answer_flushes(&mut self) {
        if !self.shared.is_ahead() && self.saving.is_none() {
            for flush in self.flushes.drain(..) {
                let _ = flush.send(());
            }
        }
    }

    async fn tick(&mut self) -> Next {
        let idle = self.viewers.is_empty() && !self.shared.is_ahead() && self.alone_since.elapsed() > LINGER;
        if idle { Next::End } else { self.look().await }
    }

    /// Merges what changed on disk.
    async fn look(&mut self) -> Next {
        let (path, known) = (self.path.clone(), self.known.clone());
        match self.home.run(move |files| disk::look(files, &path, known.as_deref())).await {
            Ok(Look::Unchanged) => Next::GoOn,
            Ok(Look::Gone) => {
                if self.known.take().is_some() {
                    self.broadcast(&Out::Event(DocumentEvent::Deleted), None);
                }
                Next::GoOn
            }
            Ok(Look::Changed(loaded)) => {
                self.known = Some(loaded.etag);
                self.line_end = loaded.line_end;
                if let Some(message) = self.shared.merge_disk(&loaded.text) {
                    self.broadcast(&Out::Sync(message.into()), None);
                }
                if !self.shared.is_ahead() {
                    let bytes = loaded.text.len() as u64;
                    self.broadcast(&Out::Event(DocumentEvent::Saved { bytes }), None);
                }
                Next::GoOn
            }
            Err(error) => {
                // What is there now is no text: nobody may type over it.
                self.broadcast(&Out::Event(Refused::from(&error).event()), None);
                Next::End
            }
        }
    }
}

async fn saved(saving: Option<&mut Saving>) -> (Mark, io::Result<Save>) {
    match saving {
        Some(Saving { mark, task }) => {
            let result = task.await.unwrap_or_else(|_| Err(io::Error::other("the save panicked")));
            (*mark, result)
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_document_that_breaks_lets_its_viewers_go_and_is_opened_anew_from_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["file", "other"] {
            std::fs::write(directory.path().join(name), name).expect("written");
        }
        let home = Home::new(directory.path().to_owned(), false);
        home.open_root().expect("it is there");
        let open = async |name| {
            let path = HomePath::parse(name).expect("a path");
            Handle::open(&home, &path, Arc::default()).await.expect("it opens")
        };
        let (broken, other) = (open("file").await, open("other").await);
        let mut before = broken.join(None).await.expect("it runs").expect("admitted");
        let beside = other.join(None).await.expect("it runs").expect("admitted");

        broken.inbox.send(Say::Break).await.expect("it runs");
        while before.outbox.recv().await.is_some() {} // the greeting, and then the end
        assert_eq!(broken.sync(before.viewer, Bytes::new()).await, Err(Ended));
        assert!(broken.has_ended() && broken.join(None).await.is_err());

        let anew = open("file").await;
        let stale = anew.join(Some(before.epoch.clone())).await.expect("it runs");
        let refusal = stale.err().expect("an old state meets no new one");
        assert_eq!(refusal.reason, RefusalReason::Stale);
        let after = anew.join(None).await.expect("it runs").expect("admitted");
        assert_ne!(after.epoch, before.epoch);
        other.flush().await;
        assert!(!other.has_ended() && other.join(Some(beside.epoch)).await.expect("it runs").is_ok());
    }
}
