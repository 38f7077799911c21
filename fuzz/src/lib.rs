//! Every decoder of untrusted bytes as a function of a byte slice, for the fuzz targets and for the
//! test `decoders_survive_any_bytes`.
//!
//! A function may fail in no way that its caller sees: it must not panic, hang, or allocate more
//! than its limits. Some also check a property of what they decoded.

use protocol::{
    agent::{Route, RouteKind, viewer_may_send},
    exec::{ExecInput, ExecOutput},
    files::HomePath,
    grant::{SigningKey, VerifyingKey},
    terminal::{ClientMessage, ServerMessage},
};

/// The name of a target and its corpus, and its function.
pub type Decoder = (&'static str, fn(&[u8]));

/// All targets.
pub const DECODERS: [Decoder; 23] = [
    ("terminal_client", terminal_client),
    ("terminal_server", terminal_server),
    ("terminal_output", terminal_output),
    ("exec_input", exec_input),
    ("exec_output", exec_output),
    ("document_message", document_message),
    ("language_server", language_server),
    ("viewer_filter", viewer_filter),
    ("home_path", home_path),
    ("grant", grant),
    ("nbd_option", nbd_option),
    ("nbd_request", nbd_request),
    ("roster", roster),
    ("volume_manifest", volume_manifest),
    ("volume_frame", volume_frame),
    ("volume_log", volume_log),
    ("volume_parts", volume_parts),
    ("store_names", store_names),
    ("reader_request", reader_request),
    ("reader_reply", reader_reply),
    ("restore_archive", restore_archive),
    ("ext4_image", ext4_image),
    ("ext4_journal", ext4_journal),
];

/// A message of a client to a terminal.
pub fn terminal_client(bytes: &[u8]) {
    let _ = ClientMessage::decode(bytes);
}

/// A message of a terminal to a client.
pub fn terminal_server(bytes: &[u8]) {
    let _ = ServerMessage::decode(bytes);
}

/// A program's output, drawn by the screen model.
pub fn terminal_output(bytes: &[u8]) {
    workspace_agent::fuzzing::terminal_output(bytes);
}

/// What a language server sends.
pub fn language_server(bytes: &[u8]) {
    workspace_agent::fuzzing::language_server(bytes);
}

/// A message of a client to a program.
pub fn exec_input(bytes: &[u8]) {
    let _ = ExecInput::decode(bytes);
}

/// A message of a program to a client.
pub fn exec_output(bytes: &[u8]) {
    let _ = ExecOutput::decode(bytes);
}

/// A client's message to a shared document, applied to one.
pub fn document_message(bytes: &[u8]) {
    workspace_agent::fuzzing::document_message(bytes);
}

/// The filter for messages of read-only viewers. None that it passes may type or edit.
pub fn viewer_filter(bytes: &[u8]) {
    for kind in [RouteKind::Terminal, RouteKind::Document, RouteKind::Exec, RouteKind::Stats] {
        let may_send = viewer_may_send(kind, true, bytes);
        assert!(!viewer_may_send(kind, false, bytes), "text messages never pass");
        if may_send && kind == RouteKind::Terminal {
            assert!(
                !matches!(ClientMessage::decode(bytes), Ok(ClientMessage::Input { .. })),
                "input never passes"
            );
        }
    }
}

/// A path in the home, and a path of a route.
pub fn home_path(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(path) = HomePath::parse(&text) {
        assert!(!path.to_string().split('/').any(|part| part == ".."), "a path stays in the home");
    }
    let _ = Route::of("GET", &text);
}

/// A grant. Only bytes that the key signed may verify.
pub fn grant(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = VerifyingKey::from_hex(&text);
    let key = SigningKey::generate().expect("randomness").verifying_key();
    assert!(key.verify(&text, 0).is_err(), "a forged grant");
}

/// An option of the NBD handshake.
pub fn nbd_option(bytes: &[u8]) {
    runner::fuzzing::nbd_option(bytes);
}

/// An NBD request.
pub fn nbd_request(bytes: &[u8]) {
    runner::fuzzing::nbd_request(bytes);
}

/// A roster that a teacher uploads (CSV).
pub fn roster(bytes: &[u8]) {
    controller::fuzzing::roster(bytes);
}

/// The content of a manifest.
pub fn volume_manifest(bytes: &[u8]) {
    volume::fuzzing::decode_manifest(bytes);
}

/// The content of a frame, and an encrypted frame.
pub fn volume_frame(bytes: &[u8]) {
    volume::fuzzing::decompress_frame(bytes);
    volume::fuzzing::open_frame(bytes);
}

/// The dirty log of a volume's cache.
pub fn volume_log(bytes: &[u8]) {
    volume::fuzzing::parse_dirty_log(bytes);
}

/// Chunks of a home, as a transfer uploads them.
pub fn volume_parts(bytes: &[u8]) {
    volume::fuzzing::decode_chunks(bytes);
}

/// A store's URL and an object's name.
pub fn store_names(bytes: &[u8]) {
    volume::fuzzing::parse_names(&String::from_utf8_lossy(bytes));
}

/// A request of the controller to a reader process.
pub fn reader_request(bytes: &[u8]) {
    reader::fuzzing::request(bytes);
}

/// A reply of a reader process, which a hostile image may have taken over.
pub fn reader_reply(bytes: &[u8]) {
    reader::fuzzing::reply(bytes);
}

/// An archive of a snapshot's entries, whose names and contents a guest wrote.
pub fn restore_archive(bytes: &[u8]) {
    let mut archive = restore::archive::ArchiveReader::new(bytes).with_root("d", "");
    let mut buffer = [0; 64];
    while let Ok(Some(entry)) = archive.next_entry() {
        if let restore::archive::Content::File { size, segments } = entry.content {
            let mut end = 0;
            for segment in segments {
                assert!(segment.offset >= end && segment.end() <= size, "segments are in order");
                end = segment.end();
            }
        }
        while archive.read_content(&mut buffer).is_ok_and(|read| read > 0) {}
    }
}

/// An ext4 image, which a guest wrote.
pub fn ext4_image(bytes: &[u8]) {
    reader::fuzzing::image(bytes);
}

/// An ext4 journal.
pub fn ext4_journal(bytes: &[u8]) {
    reader::fuzzing::journal(bytes);
}
