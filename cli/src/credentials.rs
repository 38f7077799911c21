//! Which server, and as whom: `BURROW_URL` and `BURROW_TOKEN`, else the file of `burrow login`. The file is its owner's alone.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use protocol::Redacted;
use serde::{Deserialize, Serialize};

/// Where `burrow up` is when nobody says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The whole file: one entry a server, and which was used last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Credentials {
    #[serde(default)]
    current: Option<String>,
    #[serde(default)]
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    pub token: Redacted<String>,
    #[serde(default)]
    pub email: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("no home directory is known")]
    NoHome,
    #[error("{} may be read by others (mode {mode:o})", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} is not a credentials file", path.display())]
    Malformed { path: PathBuf, source: toml::de::Error },
    #[error("{} cannot be used", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl CredentialsError {
    pub fn next(&self) -> String {
        match self {
            Self::NoHome => "set HOME, or BURROW_URL and BURROW_TOKEN".to_owned(),
            Self::Open { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Malformed { path, .. } => format!("rm {} && burrow login", path.display()),
            Self::Io { path, .. } => format!("look at {}", path.display()),
        }
    }
}

/// `$XDG_CONFIG_HOME/burrow/credentials.toml`.
pub fn path() -> Result<PathBuf, CredentialsError> {
    let strategy = etcetera::choose_base_strategy().map_err(|_| CredentialsError::NoHome)?;
    Ok(strategy.config_dir().join("burrow/credentials.toml"))
}

impl Credentials {
    /// An absent file is an empty one. A file that others may read is refused, as ssh does with keys.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let io = |source| CredentialsError::Io { path: path.to_owned(), source };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(io)?,
        };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Open { path: path.to_owned(), mode });
        }
        toml::from_str(&text).map_err(|source| CredentialsError::Malformed { path: path.to_owned(), source })
    }

    /// Written beside and renamed: an interrupted save leaves the old file.
    pub fn save(&self, path: &Path) -> Result<(), CredentialsError> {
        let io = |source| CredentialsError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        }
        let text = toml::to_string(self).expect("plain data becomes TOML");
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(io)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&beside, path).map_err(io)
    }

    pub fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    pub fn server(&self, url: &str) -> Option<&Server> {
        self.servers.get(url)
    }

    pub fn remember(&mut self, url: &str, server: Server) {
        self.servers.insert(url.to_owned(), server);
        self.current = Some(url.to_owned());
    }

    pub fn forget(&mut self, url: &str) -> Option<Server> {
        if self.current.as_deref() == Some(url) {
            self.current = None;
        }
        self.servers.remove(url)
    }
}

/// An address as it names a server: scheme and authority, no path. Plain http is for this machine or for those who insist.
pub fn normalise(url: &str) -> Result<String, String> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let parsed =
        reqwest::Url::parse(&with_scheme).map_err(|error| format!("{url} is no address: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("{url} is no http or https address"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("an address must not hold a user or a password".to_owned());
    }
    Ok(parsed.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server { token: "brw_secret".to_owned().into(), email: "a@example.org".to_owned() }
    }

    #[test]
    fn the_file_is_its_owners_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("burrow/credentials.toml");
        let mut credentials = Credentials::load(&path).expect("absent is empty");
        credentials.remember("http://x", server());
        credentials.save(&path).expect("saved");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("has one")), 0o700);

        let mut again = Credentials::load(&path).expect("valid");
        assert_eq!(again.current(), Some("http://x"));
        assert_eq!(again.server("http://x").expect("there").token.expose(), "brw_secret");
        assert!(again.forget("http://x").is_some());
        again.save(&path).expect("saved");
        assert!(Credentials::load(&path).expect("valid").current().is_none());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("credentials.toml");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        let refused = Credentials::load(&path).expect_err("refused");
        assert!(matches!(refused, CredentialsError::Open { mode: 0o640, .. }), "{refused}");
    }

    #[test]
    fn secrets_are_not_printed() {
        assert!(!format!("{:?}", server()).contains("secret"));
    }

    #[test]
    fn addresses_are_told_apart_by_their_origin() {
        for (url, expected) in [
            ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080")),
            ("burrow.example.org", Ok("https://burrow.example.org")),
            ("HTTPS://Burrow.example.org:443/x?y", Ok("https://burrow.example.org")),
            ("ftp://x", Err(())),
            ("http://user:pass@x", Err(())),
            ("http://", Err(())),
        ] {
            assert_eq!(normalise(url).map_err(|_| ()), expected.map(str::to_owned), "{url}");
        }
    }
}
