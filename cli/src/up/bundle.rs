//! The static agent for guests inside this executable. Only builds with the feature `bundled`
//! contain it; other builds find the agent next to the executable or in the checkout.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The content of the agent's executable.
#[cfg(feature = "bundled")]
const AGENT: Option<&[u8]> = Some(include_bytes!(env!("BURROW_BUNDLED_AGENT")));
#[cfg(not(feature = "bundled"))]
const AGENT: Option<&[u8]> = None;

/// Whether this executable contains the agent.
pub fn has_agent() -> bool {
    AGENT.is_some()
}

/// Writes the agent into `directory`, unless it is there with the same content. Returns None if
/// this executable contains no agent.
pub fn extract_agent(directory: &Path) -> io::Result<Option<PathBuf>> {
    AGENT.map(|content| extract(content, directory)).transpose()
}

fn extract(content: &[u8], directory: &Path) -> io::Result<PathBuf> {
    let path = directory.join("workspace-agent");
    if fs::read(&path).is_ok_and(|present| present == content) {
        return Ok(path);
    }
    fs::create_dir_all(directory)?;
    // A running sandbox may still execute the agent of an earlier version, so its file is replaced,
    // not overwritten.
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extract_replaces_other_content() {
        let directory = tempfile::tempdir().expect("a directory");
        for content in [b"first".as_slice(), b"second", b"second"] {
            let path = extract(content, directory.path()).expect("written");
            assert_eq!(fs::read(&path).expect("readable"), content);
            assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o755);
        }
    }
}
