//! Raw mode of a real (pseudo-)terminal is always restored.

use std::{
    io::{Read, Write},
    os::fd::OwnedFd,
    sync::Mutex,
};

use burrow_cli::terminal::guard::{RawError, RawTerminal, restore};
use rustix::termios::{LocalModes, tcgetattr};

/// A process has one guard, so the tests run one at a time.
static TURN: Mutex<()> = Mutex::new(());

struct Pair {
    outside: std::fs::File,
    inside: OwnedFd,
}

fn terminal() -> Pair {
    let pair = nix::pty::openpty(None, None).expect("a pseudo-terminal");
    Pair { outside: pair.master.into(), inside: pair.slave }
}

fn is_raw(pair: &Pair) -> bool {
    !tcgetattr(&pair.inside).expect("a terminal").local_modes.contains(LocalModes::ICANON)
}

fn enter(pair: &Pair) -> RawTerminal {
    RawTerminal::enter_on(pair.inside.try_clone().expect("a copy")).expect("raw mode")
}

#[test]
fn drop_restores() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut pair = terminal();
    assert!(!is_raw(&pair));
    let raw = enter(&pair);
    assert!(is_raw(&pair));
    raw.observe(b"\x1b[?1049h");
    drop(raw);
    assert!(!is_raw(&pair));
    let mut inside = std::fs::File::from(pair.inside);
    inside.write_all(b"$").expect("written");
    let mut shown = Vec::new();
    while !shown.ends_with(b"$") {
        let mut byte = [0];
        pair.outside.read_exact(&mut byte).expect("read");
        shown.push(byte[0]);
    }
    assert!(shown.starts_with(b"\x1b[?1049l"), "the other screen is left: {shown:?}");
}

#[test]
fn panic_restores() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pair = terminal();
    let inside = pair.inside.try_clone().expect("a copy");
    let panicked = std::thread::spawn(move || {
        let raw = RawTerminal::enter_on(inside).expect("raw mode");
        // Even if it is never dropped.
        std::mem::forget(raw);
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    assert!(!is_raw(&pair));
}

#[test]
fn restore_twice_is_harmless() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pair = terminal();
    let raw = enter(&pair);
    let again = RawTerminal::enter_on(pair.inside.try_clone().expect("a copy"));
    assert!(matches!(again, Err(RawError::Nested)));
    restore();
    restore();
    drop(raw);
    assert!(!is_raw(&pair));
    drop(enter(&pair));
    assert!(!is_raw(&pair));
}

#[test]
fn file_is_refused() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let null: OwnedFd = std::fs::File::open("/dev/null").expect("there").into();
    assert!(matches!(RawTerminal::enter_on(null), Err(RawError::Io(_))));
    let pair = terminal();
    drop(enter(&pair));
}
