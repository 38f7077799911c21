//! Opening a page in the user's browser.

use std::process::{Command, Stdio};

/// Opens `url` and returns whether a browser was started. Over SSH or without a display there is
/// none.
pub fn open(url: &str) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let remote = set("SSH_CONNECTION") || set("SSH_TTY");
    let screen = set("DISPLAY") || set("WAYLAND_DISPLAY") || cfg!(target_os = "macos");
    if remote || !screen {
        return false;
    }
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
