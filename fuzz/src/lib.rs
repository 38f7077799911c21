//! Every decoder that reads what a guest, a browser or a store sends, as a function of any bytes. None may panic, hang, or take
//! more than its bounds.

use protocol::{
    agent::{Route, RouteKind, viewer_may_send},
    exec::{ExecInput, ExecOutput},
    files::HomePath,
    grant::{SigningKey, VerifyingKey},
    terminal::{ClientMessage, ServerMessage},
};

/// A corpus's name, and what reads it.
pub type Decoder = (&'static str, fn(&[u8]));

pub const DECODERS: [Decoder; 21] = [
    ("terminal_client", terminal_client),
    ("terminal_server", terminal_server),
    ("terminal_output", terminal_output),
    ("exec_input", exec_input),
    ("exec_output", exec_output),
    ("document_message", document_message),
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
    ("ext4_image", ext4_image),
    ("ext4_journal", ext4_journal),
];

pub fn terminal_client(bytes: &[u8]) {
    let _ = ClientMessage::decode(bytes);
}

pub fn terminal_server(bytes: &[u8]) {
    let _ = ServerMessage::decode(bytes);
}

pub fn terminal_output(bytes: &[u8]) {
    workspace_agent::fuzzing::terminal_output(bytes);
}

pub fn exec_input(bytes: &[u8]) {
    let _ = ExecInput::decode(bytes);
}

pub fn exec_output(bytes: &[u8]) {
    let _ = ExecOutput::decode(bytes);
}

/// A viewer's word in a shared document, applied to one.
pub fn document_message(bytes: &[u8]) {
    workspace_agent::fuzzing::document_message(bytes);
}

/// What of a read-only viewer's messages passes: never one that types or edits.
pub fn viewer_filter(bytes: &[u8]) {
    for kind in [RouteKind::Terminal, RouteKind::Document, RouteKind::Exec, RouteKind::Stats] {
        let passes = viewer_may_send(kind, true, bytes);
        assert!(!viewer_may_send(kind, false, bytes), "no text");
        if passes && kind == RouteKind::Terminal {
            assert!(
                !matches!(ClientMessage::decode(bytes), Ok(ClientMessage::Input { .. })),
                "nothing is typed"
            );
        }
    }
}

pub fn home_path(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(path) = HomePath::parse(&text) {
        assert!(!path.to_string().split('/').any(|part| part == ".."), "it stays in the home");
    }
    let _ = Route::of("GET", &text);
}

/// No bytes but a signer's open anything.
pub fn grant(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = VerifyingKey::from_hex(&text);
    let key = SigningKey::generate().expect("randomness").verifying_key();
    assert!(key.verify(&text, 0).is_err(), "a made-up grant");
}

pub fn nbd_option(bytes: &[u8]) {
    runner::fuzzing::nbd_option(bytes);
}

pub fn nbd_request(bytes: &[u8]) {
    runner::fuzzing::nbd_request(bytes);
}

pub fn roster(bytes: &[u8]) {
    controller::fuzzing::roster(bytes);
}

pub fn volume_manifest(bytes: &[u8]) {
    volume::fuzzing::decode_manifest(bytes);
}

pub fn volume_frame(bytes: &[u8]) {
    volume::fuzzing::decompress_frame(bytes);
    volume::fuzzing::open_frame(bytes);
}

pub fn volume_log(bytes: &[u8]) {
    volume::fuzzing::parse_dirty_log(bytes);
}

/// Chunks of a home, as another installation sends them.
pub fn volume_parts(bytes: &[u8]) {
    volume::fuzzing::decode_chunks(bytes);
}

pub fn store_names(bytes: &[u8]) {
    volume::fuzzing::parse_names(&String::from_utf8_lossy(bytes));
}

/// What the controller asks a reading process.
pub fn reader_request(bytes: &[u8]) {
    reader::fuzzing::request(bytes);
}

/// What a reading process, which may be a guest's by now, answers.
pub fn reader_reply(bytes: &[u8]) {
    reader::fuzzing::reply(bytes);
}

/// A home's disk, made by a guest.
pub fn ext4_image(bytes: &[u8]) {
    reader::fuzzing::image(bytes);
}

pub fn ext4_journal(bytes: &[u8]) {
    reader::fuzzing::journal(bytes);
}
