//! Makes the user's shell mark its prompts and the output of commands, so that viewers can jump between them.
//!
//! The shell is started with a script in place of its start files. The script reads them as a login shell
//! does, then adds the marks to the prompt. A shell of a command, and a plain shell, are left alone.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::PathBuf,
};

use uuid::Uuid;

use crate::user::GuestUser;

const SCRIPT: &str = include_str!("shell-integration.bash");

/// The script on the guest's disk, outside the home. Removed when it is dropped.
pub struct ShellIntegration {
    directory: PathBuf,
}

impl Default for ShellIntegration {
    fn default() -> Self {
        let name = format!("burrow-shell-{}", Uuid::new_v4().simple());
        Self { directory: std::env::temp_dir().join(name) }
    }
}

impl Drop for ShellIntegration {
    fn drop(&mut self) {
        // Not there if no shell was started.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl ShellIntegration {
    /// Program, arguments and further variables of a login shell that marks its prompts. If the script
    /// cannot be written, the shell marks nothing. Blocking for a moment.
    pub fn shell(&self, user: &GuestUser) -> (Vec<String>, Vec<(String, String)>) {
        let script = self.write_script().and_then(|path| {
            path.into_os_string().into_string().map_err(|_| io::Error::other("the path is not UTF-8"))
        });
        match script {
            Ok(script) => (user.marking_shell(), vec![("ENV".to_owned(), script)]),
            Err(error) => {
                tracing::warn!(%error, "cannot write the script that makes shells mark their prompts");
                (user.shell(), Vec::new())
            }
        }
    }

    /// Writes the script unless it is there, and returns its path. Only the agent may change it.
    fn write_script(&self) -> io::Result<PathBuf> {
        let path = self.directory.join("shell-integration.bash");
        if path.exists() {
            return Ok(path);
        }
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.directory)?;
        // A shell never reads half of it.
        let staged = self.directory.join("staged");
        fs::write(&staged, SCRIPT)?;
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o644))?;
        fs::rename(&staged, &path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_is_written_again_if_it_is_gone() {
        let integration = ShellIntegration::default();
        let path = integration.write_script().expect("written");
        assert_eq!(fs::read_to_string(&path).expect("readable"), SCRIPT);
        fs::remove_dir_all(&integration.directory).expect("removed");
        assert_eq!(integration.write_script().expect("written"), path);
        assert!(path.exists());
        drop(integration);
        assert!(!path.exists());
    }
}
