//! The credentials file that `burrow login` writes: one token per server. Only its owner may read
//! it.

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

/// Where `burrow up` listens by default.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The whole file: one entry per server, and which server was signed in to last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Credentials {
    #[serde(default)]
    current: Option<String>,
    #[serde(default)]
    servers: BTreeMap<String, SavedLogin>,
}

/// A login to one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedLogin {
    pub token: Redacted<String>,
    /// Address of the user, for display only.
    #[serde(default)]
    pub email: String,
}

/// Why the credentials file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("Cannot find the credentials file: the home directory is not known")]
    NoHome,
    #[error("Cannot use {}: other users can read it (mode {mode:o})", path.display())]
    Insecure { path: PathBuf, mode: u32 },
    #[error("Cannot parse {}", path.display())]
    Malformed { path: PathBuf, source: toml::de::Error },
    #[error("Cannot read or write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl CredentialsError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoHome => "set HOME, or BURROW_URL and BURROW_TOKEN".to_owned(),
            Self::Insecure { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Malformed { path, .. } => format!("rm {} && burrow login", path.display()),
            Self::Io { path, .. } => format!("check the permissions of {}", path.display()),
        }
    }
}

/// Path of the file: `$XDG_CONFIG_HOME/burrow/credentials.toml`.
pub fn path() -> Result<PathBuf, CredentialsError> {
    let strategy = etcetera::choose_base_strategy().map_err(|_| CredentialsError::NoHome)?;
    Ok(strategy.config_dir().join("burrow/credentials.toml"))
}

impl Credentials {
    /// Reads the file. A missing file is empty. A file that others can read is refused, as ssh
    /// refuses such keys.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let io = |source| CredentialsError::Io { path: path.to_owned(), source };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(io)?,
        };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Insecure { path: path.to_owned(), mode });
        }
        toml::from_str(&text).map_err(|source| CredentialsError::Malformed { path: path.to_owned(), source })
    }

    /// Writes a temporary file and renames it, so that an interrupted save leaves the old file.
    pub fn save(&self, path: &Path) -> Result<(), CredentialsError> {
        let io = |source| CredentialsError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        }
        let text = toml::to_string(self).expect("plain data becomes TOML");
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(io)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&temporary, path).map_err(io)
    }

    /// The server of the last login.
    pub fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// The login to this server.
    pub fn get(&self, url: &str) -> Option<&SavedLogin> {
        self.servers.get(url)
    }

    /// Saves a login, and makes its server the current one.
    pub fn insert(&mut self, url: &str, login: SavedLogin) {
        self.servers.insert(url.to_owned(), login);
        self.current = Some(url.to_owned());
    }

    /// Removes a login.
    pub fn remove(&mut self, url: &str) -> Option<SavedLogin> {
        if self.current.as_deref() == Some(url) {
            self.current = None;
        }
        self.servers.remove(url)
    }
}

/// Reduces an address to what identifies a server: scheme and authority, without a path. Without a
/// scheme it is https, or http for this computer, where `burrow up` needs no TLS.
pub fn normalise(url: &str) -> Result<String, String> {
    let url = url.trim();
    if url.is_empty() {
        return Err("Cannot use an empty address".to_owned());
    }
    let scheme = if is_this_computer(url) { "http" } else { "https" };
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("{scheme}://{url}") };
    let parsed = reqwest::Url::parse(&with_scheme)
        .map_err(|error| format!("Cannot use {url} as an address: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("Cannot use {url} as an address: the scheme must be http or https"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("Cannot use an address with a user name or a password".to_owned());
    }
    Ok(parsed.origin().ascii_serialization())
}

/// Whether an address without a scheme is a loopback one.
fn is_this_computer(url: &str) -> bool {
    let authority = url.split('/').next().unwrap_or(url);
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> SavedLogin {
        SavedLogin { token: "brw_secret".to_owned().into(), email: "a@example.org".to_owned() }
    }

    #[test]
    fn file_is_private() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("burrow/credentials.toml");
        let mut credentials = Credentials::load(&path).expect("absent is empty");
        credentials.insert("http://x", login());
        credentials.save(&path).expect("saved");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("has one")), 0o700);

        let mut again = Credentials::load(&path).expect("valid");
        assert_eq!(again.current(), Some("http://x"));
        assert_eq!(again.get("http://x").expect("there").token.expose(), "brw_secret");
        assert!(again.remove("http://x").is_some());
        again.save(&path).expect("saved");
        assert!(Credentials::load(&path).expect("valid").current().is_none());
    }

    #[test]
    fn file_readable_by_others_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("credentials.toml");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        let refused = Credentials::load(&path).expect_err("refused");
        assert!(matches!(refused, CredentialsError::Insecure { mode: 0o640, .. }), "{refused}");
    }

    #[test]
    fn secrets_are_not_printed() {
        assert!(!format!("{:?}", login()).contains("secret"));
    }

    #[test]
    fn addresses_are_reduced_to_origins() {
        for (url, expected) in [
            ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080")),
            ("burrow.example.org", Ok("https://burrow.example.org")),
            ("127.0.0.1:8080", Ok("http://127.0.0.1:8080")),
            ("localhost:8080/x", Ok("http://localhost:8080")),
            ("[::1]:8080", Ok("http://[::1]:8080")),
            ("192.168.1.5:8080", Ok("https://192.168.1.5:8080")),
            ("", Err(())),
            ("HTTPS://Burrow.example.org:443/x?y", Ok("https://burrow.example.org")),
            ("ftp://x", Err(())),
            ("http://user:pass@x", Err(())),
            ("http://", Err(())),
        ] {
            assert_eq!(normalise(url).map_err(|_| ()), expected.map(str::to_owned), "{url}");
        }
    }
}
