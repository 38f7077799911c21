//! The master key in a key service: the transit engine of OpenBao or HashiCorp Vault, over its HTTP
//! API. The service encrypts and decrypts, with the secret's name as associated data; its key never
//! leaves it.
//!
//! Each call has a timeout and is retried while the service fails for a moment. No token and no
//! secret is written to a log, an error or a URL.

use std::{fs, io, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use protocol::Redacted;
use rand::RngExt as _;
use reqwest::{Certificate, Client, Method, StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::{Value, json};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one call. The service answers within milliseconds unless something is wrong.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of one call. With the delays between them they bridge the election of a new leader in a
/// cluster.
const MAX_ATTEMPTS: u32 = 4;
/// Delay before the second attempt. It doubles with each attempt.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);
/// Largest response that is read: a ciphertext and its metadata.
const MAX_RESPONSE_BYTES: usize = 64 << 10;
/// Longest token that is read from a file.
const MAX_TOKEN_BYTES: u64 = 4096;
/// Longest error message of the service that is repeated, in characters.
const MAX_MESSAGE_CHARACTERS: usize = 200;

/// Types of keys that support associated data.
const AEAD_TYPES: [&str; 4] = ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// Prefix of the fingerprint of a key in a service. The fingerprint of a key file has hexadecimal
/// digits only. Part of the stored format.
pub const FINGERPRINT_PREFIX: &str = "transit:";

/// Where a key is in OpenBao or Vault, and how to access it.
#[derive(Clone, Debug)]
pub struct VaultConfig {
    /// `https://host:port`. `http://` only for this host.
    pub address: String,
    /// Where the transit engine is mounted.
    pub mount: String,
    /// Name of the key.
    pub key: String,
    /// The token that authenticates this installation.
    pub token: TokenSource,
    /// File of PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Namespace of the mount, if the service has namespaces.
    pub namespace: Option<String>,
}

/// Where the token for the service comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// A file, read for every call, so that a renewed token is used.
    File(PathBuf),
    /// The token itself.
    Given(Redacted<String>),
}

/// Why the key service cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The address is not a URL of a host and a port, or is `http://` to another host.
    #[error("Cannot use {0:?} as the address of a key service")]
    Address(String),
    /// The mount or the key has characters that do not belong into a path.
    #[error("Cannot use {0:?} as the name of a mount or key")]
    Name(String),
    /// The file of certificates cannot be read, or is not PEM.
    #[error("Cannot use the certificates in {path}: {source}")]
    Certificates {
        /// [`VaultConfig::ca_file`].
        path: PathBuf,
        /// Why it is refused.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file of the token cannot be read.
    #[error("Cannot read the key service's token from {path}: {source}")]
    Token {
        /// The file of [`TokenSource::File`].
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file of the token has no text that can be sent in a header.
    #[error("Cannot use the key service's token in {0}: it is empty or malformed")]
    MalformedToken(PathBuf),
    /// No answer in time, or no connection.
    #[error("Cannot reach the key service at {address}: {source}")]
    Unreachable {
        /// [`VaultConfig::address`].
        address: String,
        /// The HTTP client's error.
        source: reqwest::Error,
    },
    /// The service at this address runs, and an operator must unseal or initialize it.
    #[error("Cannot use the key service at {0}: it is sealed or not initialized")]
    Sealed(String),
    /// The service rejected the token.
    #[error("Cannot use the key service at {address}: the token has expired or may not {what}")]
    Denied {
        /// [`VaultConfig::address`].
        address: String,
        /// What was attempted: "encrypt", for example. Completes "may not …".
        what: &'static str,
        /// [`VaultConfig::mount`], for the policy in the hint.
        mount: String,
        /// [`VaultConfig::key`], for the policy in the hint.
        key: String,
    },
    /// The mount has no key of this name.
    #[error("Cannot find the key {path} in the key service at {address}")]
    NoKey {
        /// [`VaultConfig::address`].
        address: String,
        /// Mount and key.
        path: String,
        /// The command that creates the key.
        create: String,
    },
    /// The key's type cannot bind a secret to its name.
    #[error("Cannot use the key {path}: it does not support associated data, {why}")]
    Unfit {
        /// Mount and key.
        path: String,
        /// What the service reports about the key.
        why: String,
        /// The command that creates a key that can be used.
        create: String,
    },
    /// The secret was encrypted with another key or under another name, or was altered.
    #[error("Cannot decrypt a secret with the key {0} of the key service")]
    DoesNotOpen(String),
    /// Any other error of the service.
    #[error("Cannot use the key service at {address}: it answered {status}: {words}")]
    Refused {
        /// [`VaultConfig::address`].
        address: String,
        /// HTTP status of the response.
        status: StatusCode,
        /// The service's own error messages.
        words: String,
    },
    /// The response is not what the service's API documents.
    #[error("Cannot use the key service at {0}: its response is malformed")]
    Malformed(String),
}

impl VaultError {
    /// What the operator should do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Address(_) => {
                "give it as https://host:8200, without a path; http:// is for this host only".to_owned()
            }
            Self::Name(_) => "use letters, digits, - _ and ., and / in a mount".to_owned(),
            Self::Certificates { .. } => "pass a file of PEM certificates with --vault-cacert".to_owned(),
            Self::Token { .. } | Self::MalformedToken(_) => {
                "pass a file that contains a token and is readable by this user with --vault-token-file"
                    .to_owned()
            }
            Self::Unreachable { .. } => {
                "check that it runs, its address, and that --vault-cacert has the authority of its \
                 certificate"
                    .to_owned()
            }
            Self::Sealed(_) => {
                "unseal it (bao operator unseal, or vault operator unseal), then try again".to_owned()
            }
            Self::Denied { mount, key, .. } => format!(
                "renew it, or give it a policy with `read` on {mount}/keys/{key} and `update` on \
                 {mount}/encrypt/{key}, {mount}/decrypt/{key} and, for rotations, {mount}/keys/{key}/rotate"
            ),
            Self::NoKey { create, .. } => {
                format!("create it with `bao write -f {create}`, or check --vault-mount and --vault-key")
            }
            Self::Unfit { create, .. } => {
                format!(
                    "create a key that does: `bao write {create} type=aes256-gcm96`, and pass it \
                     with --vault-key"
                )
            }
            Self::DoesNotOpen(_) => {
                "check that it is the key that encrypted the secret, and that no old version of it was \
                 removed; restore it if so"
                    .to_owned()
            }
            Self::Refused { .. } | Self::Malformed(_) => {
                "check that the address is that of OpenBao or Vault, and read its log".to_owned()
            }
        }
    }

    /// Whether the same call may succeed a moment later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

/// One key of one service.
pub struct Vault {
    http: Client,
    address: Url,
    mount: String,
    key: String,
    token: TokenSource,
    namespace: Option<String>,
}

impl Vault {
    /// Checks the configuration. Nothing is connected before the first call.
    pub fn new(config: &VaultConfig) -> Result<Self, VaultError> {
        let address = parse_address(&config.address)?;
        let mount = config.mount.trim_matches('/').to_owned();
        for (name, may_have_parts) in [(&mount, true), (&config.key, false)] {
            if !is_name(name, may_have_parts) {
                return Err(VaultError::Name(name.clone()));
            }
        }
        let mut http = Client::builder()
            .user_agent(concat!("burrow/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            // Neither a proxy nor the target of a redirect may get the token.
            .no_proxy()
            .redirect(redirect::Policy::none());
        if let Some(path) = &config.ca_file {
            http = http.tls_certs_only(read_certificates(path)?);
        }
        let http = http
            .build()
            .map_err(|source| VaultError::Unreachable { address: config.address.clone(), source })?;
        let (key, token, namespace) = (config.key.clone(), config.token.clone(), config.namespace.clone());
        Ok(Self { http, address, mount, key, token, namespace })
    }

    /// Mount and name of the key. The address is not part of it, because the service may move.
    pub fn fingerprint(&self) -> String {
        format!("{FINGERPRINT_PREFIX}{}/{}", self.mount, self.key)
    }

    /// Checks that the service answers, accepts the token and has a suitable key.
    pub async fn check_key(&self) -> Result<(), VaultError> {
        #[derive(Deserialize)]
        struct Key {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            derived: bool,
        }
        let path = self.key_path();
        let key: Key = self.call(Method::GET, &path, "read its key", None).await?;
        let unsuitable = |why: String| {
            let create = path.clone();
            Err(VaultError::Unfit { path: path.clone(), why, create })
        };
        match key {
            Key { kind, .. } if !AEAD_TYPES.contains(&kind.as_str()) => {
                unsuitable(format!("its type is {kind}"))
            }
            Key { derived: true, .. } => unsuitable("it is derived".to_owned()),
            _ => Ok(()),
        }
    }

    /// Encrypts a secret and binds it to a name.
    pub async fn encrypt(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        #[derive(Deserialize)]
        struct Encrypted {
            ciphertext: String,
        }
        let body = json!({ "plaintext": STANDARD.encode(secret), "associated_data": STANDARD.encode(name) });
        let path = format!("{}/encrypt/{}", self.mount, self.key);
        let encrypted: Encrypted = self.call(Method::POST, &path, "encrypt", Some(&body)).await?;
        Ok(encrypted.ciphertext.into_bytes())
    }

    /// Decrypts a secret that was encrypted under this name.
    pub async fn decrypt(&self, name: &str, encrypted: &[u8]) -> Result<Redacted<Vec<u8>>, VaultError> {
        #[derive(Deserialize)]
        struct Decrypted {
            plaintext: Redacted<String>,
        }
        // What a key file has encrypted is not text.
        let encrypted = str::from_utf8(encrypted).map_err(|_| VaultError::DoesNotOpen(self.key_path()))?;
        let body = json!({ "ciphertext": encrypted, "associated_data": STANDARD.encode(name) });
        let path = format!("{}/decrypt/{}", self.mount, self.key);
        let decrypted: Decrypted = self.call(Method::POST, &path, "decrypt", Some(&body)).await?;
        let secret = STANDARD.decode(decrypted.plaintext.expose()).map_err(|_| self.malformed())?;
        Ok(Redacted::new(secret))
    }

    /// Creates a new version of the key. It encrypts from now on, and the old versions still
    /// decrypt.
    pub async fn rotate(&self) -> Result<(), VaultError> {
        let path = format!("{}/rotate", self.key_path());
        self.call::<Value>(Method::POST, &path, "rotate its key", Some(&json!({}))).await.map(drop)
    }

    fn key_path(&self) -> String {
        format!("{}/keys/{}", self.mount, self.key)
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        what: &'static str,
        body: Option<&Value>,
    ) -> Result<T, VaultError> {
        let mut delay = FIRST_RETRY_DELAY;
        for _ in 1..MAX_ATTEMPTS {
            match self.try_call(method.clone(), path, what, body).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, ?delay, "a call to the key service failed, retrying");
                }
                done => return done,
            }
            let jittered = delay.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::time::sleep(jittered).await;
            delay = (delay * 2).min(MAX_RETRY_DELAY);
        }
        self.try_call(method, path, what, body).await
    }

    async fn try_call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        what: &'static str,
        body: Option<&Value>,
    ) -> Result<T, VaultError> {
        #[derive(Deserialize)]
        struct Response<T> {
            data: T,
        }
        let url = self.address.join(&format!("v1/{path}")).map_err(|_| self.malformed())?;
        let token = self.read_token()?;
        let mut request = self
            .http
            .request(method, url)
            .header("x-vault-token", sensitive(token.expose()).ok_or_else(|| self.malformed())?)
            // A Vault agent in between requires it. OpenBao and Vault themselves do not.
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        let body = self.read_body(response).await?;
        if status.is_success() {
            // The response to a rotation may be empty.
            let body = if body.expose().is_empty() { b"{\"data\":null}".as_slice() } else { body.expose() };
            return serde_json::from_slice(body)
                .map(|response: Response<T>| response.data)
                .map_err(|_| self.malformed());
        }
        Err(self.refusal(status, what, &error_message(body.expose())))
    }

    /// Reads a response, which may contain secrets, up to a limit.
    async fn read_body(&self, mut response: reqwest::Response) -> Result<Redacted<Vec<u8>>, VaultError> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|source| self.unreachable(source))? {
            if body.len() + piece.len() > MAX_RESPONSE_BYTES {
                return Err(self.malformed());
            }
            body.extend_from_slice(&piece);
        }
        Ok(Redacted::new(body))
    }

    fn refusal(&self, status: StatusCode, what: &'static str, words: &str) -> VaultError {
        let address = self.address.to_string();
        let path = self.key_path();
        let no_key = words.contains("encryption key not found");
        match status.as_u16() {
            403 => {
                let (mount, key) = (self.mount.clone(), self.key.clone());
                VaultError::Denied { address, what, mount, key }
            }
            404 => VaultError::NoKey { address, create: path.clone(), path },
            400 if no_key => VaultError::NoKey { address, create: path.clone(), path },
            // Another key, name or version encrypted it.
            400 if what == "decrypt" => VaultError::DoesNotOpen(path),
            501 | 503 if words.contains("sealed") || status.as_u16() == 501 => VaultError::Sealed(address),
            _ => VaultError::Refused { address, status, words: words.to_owned() },
        }
    }

    fn read_token(&self) -> Result<Redacted<String>, VaultError> {
        match &self.token {
            TokenSource::Given(token) => Ok(token.clone()),
            TokenSource::File(path) => read_token_file(path),
        }
    }

    fn unreachable(&self, source: reqwest::Error) -> VaultError {
        VaultError::Unreachable { address: self.address.to_string(), source: source.without_url() }
    }

    fn malformed(&self) -> VaultError {
        VaultError::Malformed(self.address.to_string())
    }
}

/// Parses an address. Secrets are sent there, so it must use TLS or be this host, and contain no
/// credentials.
fn parse_address(text: &str) -> Result<Url, VaultError> {
    let refused = || {
        VaultError::Address(text.chars().take(MAX_MESSAGE_CHARACTERS).filter(|c| !c.is_control()).collect())
    };
    let url = Url::parse(text).map_err(|_| refused())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(VaultError::Address("an address with a name or password".to_owned()));
    }
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" if is_plain => Ok(url),
        "http" if is_plain && is_here => Ok(url),
        _ => Err(refused()),
    }
}

fn is_name(text: &str, may_have_parts: bool) -> bool {
    let is_part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=100).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(plain)
    };
    text.split('/').all(is_part) && (may_have_parts || !text.contains('/'))
}

fn read_certificates(path: &std::path::Path) -> Result<Vec<Certificate>, VaultError> {
    let failed = |source| VaultError::Certificates { path: path.to_owned(), source };
    let pem = fs::read(path).map_err(|error| failed(error.into()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(failed("it contains none".into())),
        Err(error) => Err(failed(error.into())),
    }
}

fn read_token_file(path: &std::path::Path) -> Result<Redacted<String>, VaultError> {
    use std::io::Read as _;

    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text))
        .map_err(|source| VaultError::Token { path: path.to_owned(), source })?;
    let token = Redacted::new(text.trim().to_owned());
    let is_token = !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(token) } else { Err(VaultError::MalformedToken(path.to_owned())) }
}

/// A header value that is never logged.
fn sensitive(token: &str) -> Option<http::HeaderValue> {
    let mut value = http::HeaderValue::from_str(token).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The service's error messages in one line.
fn error_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<String>,
    }
    let message =
        serde_json::from_slice::<Errors>(body).map(|body| body.errors.join("; ")).unwrap_or_default();
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_needs_tls_or_loopback() {
        for good in
            ["https://vault:8200", "https://vault.example.org/", "http://127.0.0.1:8200", "http://[::1]:8200"]
        {
            assert!(parse_address(good).is_ok(), "{good}");
        }
        for bad in ["vault:8200", "http://vault:8200", "https://v/path", "https://v?token=x", "ftp://v", ""] {
            assert!(matches!(parse_address(bad), Err(VaultError::Address(_))), "{bad}");
        }
        let refused = parse_address("https://root:secret@vault").expect_err("a password");
        assert!(!refused.to_string().contains("secret"));
    }

    #[test]
    fn name_cannot_leave_its_path() {
        assert!(is_name("transit", true) && is_name("team/transit", true) && is_name("burrow-1", false));
        for bad in ["", "a/../b", "..", "a//b", "a b", "a?b", "ü"] {
            assert!(!is_name(bad, true), "{bad}");
        }
        assert!(!is_name("a/b", false));
    }

    #[test]
    fn token_is_read_from_file_and_redacted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        assert!(matches!(read_token_file(&path), Err(VaultError::Token { .. })));
        for bad in ["", "\n", "two words", "ü"] {
            fs::write(&path, bad).expect("written");
            assert!(matches!(read_token_file(&path), Err(VaultError::MalformedToken(_))), "{bad:?}");
        }
        fs::write(&path, "s.secret\n").expect("written");
        let token = read_token_file(&path).expect("read");
        assert_eq!(token.expose(), "s.secret");
        assert!(!format!("{:?} {:?}", token, TokenSource::Given(token.clone())).contains("secret"));
        assert!(!format!("{:?}", sensitive("s.secret")).contains("secret"));
    }
}
