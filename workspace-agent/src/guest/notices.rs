//! Notices where users make changes that a stop discards: everything outside the home.

use std::path::Path;

/// Created when the notice has been shown. `/run` is empty at each start.
const MARKER: &str = "/run/burrow-discard-notice";
/// Where apt reads its settings.
const APT_SETTINGS: &str = "/etc/apt/apt.conf.d";
const NOTICE: &str = "Burrow: packages and other changes outside of your home are discarded when the \
                      workspace stops. Keep the commands in a script in your home.";

/// Makes apt and dpkg show the notice after the first change in each run of the workspace. An image
/// without apt needs none, and a notice that cannot be installed must not stop the start.
pub fn install() {
    let directory = Path::new(APT_SETTINGS);
    if !directory.is_dir() {
        return;
    }
    let settings = format!("DPkg::Post-Invoke {{ \"{}\"; }};\n", show_once(MARKER));
    if let Err(error) = std::fs::write(directory.join("90burrow"), settings) {
        tracing::warn!(%error, "cannot install the notice of apt");
    }
}

/// A shell command that shows the notice once. It has no double quotes, because apt's settings use them.
fn show_once(marker: &str) -> String {
    format!("[ -e {marker} ] || {{ : > {marker}; echo '{NOTICE}' >&2; }}")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn notice_is_shown_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let command = show_once(directory.path().join("shown").to_str().expect("text"));
        assert!(!command.contains('"'));
        let run = || {
            let output = Command::new("/bin/sh").args(["-c", &command]).output().expect("it runs");
            assert!(output.status.success(), "a failing hook would fail apt");
            String::from_utf8(output.stderr).expect("text")
        };
        assert!(run().contains("discarded when the workspace stops"));
        assert_eq!(run(), "");
    }
}
