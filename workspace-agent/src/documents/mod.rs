//! Documents: open text files that several users edit at once.
//!
//! The [`registry`] maps each open file to a [`document`], a task that owns the [`shared_text`],
//! its viewers and the [`file`]. A [`session`] relays messages between one client's socket and a
//! document. The [`watcher`] tells documents that their file may have changed. Once a change on disk
//! counts ([`disk_state`]), it becomes edits by way of a [`diff`]. A [`save`] writes the text to the
//! file. Messages to viewers are gathered ([`broadcast`], [`outbox`]), and files are read and written a few
//! at a time ([`file_work`]). [`line_edits`] are edits that come without a replica, as a replacement in
//! many files sends them, and [`range_edits`] those of language servers. A [`pulse`] tells those who follow
//! a document, such as language servers, that it has changed. Knows no HTTP.
//!
//! The life of a document: a client opens a path; the registry resolves links, loads the file and
//! starts the task, with a new epoch. Clients join, synchronize and edit. The document saves 150 ms
//! after the last edit, and merges what other programs write to the file. Ten minutes after its
//! last viewer has left, the task ends; and when its history has become too large ([`renewal`]), so
//! that the clients open the file again.

mod broadcast;
pub mod diff;
mod disk_state;
pub mod document;
mod file;
mod file_work;
mod late_write;
mod line_edits;
mod outbox;
mod pulse;
pub mod range_edits;
pub mod registry;
mod renewal;
mod save;
pub mod session;
pub mod shared_text;
mod text_runs;
mod unsaved_log;
mod watcher;
