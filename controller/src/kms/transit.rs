//! The master key in a key service: the transit engine of OpenBao or HashiCorp Vault, over its HTTP API. The service encrypts and
//! decrypts; its key never comes here, and what it seals it seals with the secret's name as associated data.
//!
//! Each call has a deadline and is tried again while the service fails for a moment. Nothing here writes a token or a secret to a
//! log, an error or an address.

use std::{fs, io, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use protocol::Redacted;
use rand::RngExt as _;
use reqwest::{Certificate, Client, Method, StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::{Value, json};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One call; the service answers within milliseconds unless something is wrong.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// With the pauses between them, what a leader's change in a cluster takes.
const ATTEMPTS: u32 = 4;
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Longest answer that is read: a ciphertext and some words about it.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Longest token that is taken from a file.
const MAX_TOKEN_BYTES: u64 = 4096;
/// Of what the service says went wrong, as far as it is repeated.
const MAX_WORDS: usize = 200;

/// Types of keys that bind what they encrypt to associated data.
const AEAD_TYPES: [&str; 4] = ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// Of a fingerprint of a key in a service. Those of key files are hexadecimal digits.
pub const FINGERPRINT_PREFIX: &str = "transit:";

#[derive(Clone, Debug)]
pub struct TransitConfig {
    /// `https://host:port`; without TLS on this host only.
    pub address: String,
    /// Where the transit engine is mounted.
    pub mount: String,
    /// The key's name there.
    pub key: String,
    pub token: TokenSource,
    /// PEM certificates to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    pub namespace: Option<String>,
}

/// Where the token that the service wants comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// Read for every call: whoever renews the token writes it there.
    File(PathBuf),
    Given(Redacted<String>),
}

#[derive(Debug, thiserror::Error)]
pub enum TransitError {
    #[error("{0:?} is no address of a key service")]
    Address(String),
    #[error("{0:?} is no name of a mount or key")]
    Name(String),
    #[error("the certificates in {path} cannot be used: {source}")]
    Certificates { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the key service's token cannot be read from {path}: {source}")]
    Token { path: PathBuf, source: io::Error },
    #[error("the key service's token in {0} is empty or malformed")]
    MalformedToken(PathBuf),
    #[error("the key service at {address} cannot be reached: {source}")]
    Unreachable { address: String, source: reqwest::Error },
    #[error("the key service at {0} is sealed or not initialised")]
    Sealed(String),
    #[error("the key service at {address} refuses the token: it has ended, or may not {what}")]
    Denied { address: String, what: &'static str, mount: String, key: String },
    #[error("the key service at {address} has no key {path}")]
    NoKey { address: String, path: String, create: String },
    #[error("the key {path} cannot bind what it encrypts: {why}")]
    Unfit { path: String, why: String, create: String },
    #[error("a sealed secret does not open with the key {0} of the key service")]
    DoesNotOpen(String),
    #[error("the key service at {address} answered {status}: {words}")]
    Refused { address: String, status: StatusCode, words: String },
    #[error("the key service at {0} answered something else than its interface says")]
    Malformed(String),
}

impl TransitError {
    /// What whoever runs the server does next.
    pub fn next(&self) -> String {
        match self {
            Self::Address(_) => {
                "give it as https://host:8200, without a path; http:// is for this host only".to_owned()
            }
            Self::Name(_) => "use letters, digits, - _ and ., and / in a mount".to_owned(),
            Self::Certificates { .. } => "name a file of PEM certificates with --vault-cacert".to_owned(),
            Self::Token { .. } | Self::MalformedToken(_) => {
                "name a file that holds a token, readable by this user, with --vault-token-file".to_owned()
            }
            Self::Unreachable { .. } => {
                "check that it runs, its address, and that --vault-cacert has its certificate's authority".to_owned()
            }
            Self::Sealed(_) => "unseal it (bao operator unseal, or vault operator unseal), then try again".to_owned(),
            Self::Denied { mount, key, .. } => format!(
                "renew it, or give it a policy with `read` on {mount}/keys/{key} and `update` on {mount}/encrypt/{key}, \
                 {mount}/decrypt/{key} and, for rotations, {mount}/keys/{key}/rotate"
            ),
            Self::NoKey { create, .. } => {
                format!("make it with `bao write -f {create}`, or check --vault-mount and --vault-key")
            }
            Self::Unfit { create, .. } => {
                format!("make a key that can: `bao write {create} type=aes256-gcm96`, and name it with --vault-key")
            }
            Self::DoesNotOpen(_) => {
                "is it another service's key of the same name, or were old versions of it removed? Bring back the key that sealed it"
                    .to_owned()
            }
            Self::Refused { .. } | Self::Malformed(_) => {
                "check that the address is that of OpenBao or Vault, and its log".to_owned()
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
pub struct Transit {
    http: Client,
    address: Url,
    mount: String,
    key: String,
    token: TokenSource,
    namespace: Option<String>,
}

impl Transit {
    /// Connects to nothing yet; [`Self::prove`] does.
    pub fn new(config: &TransitConfig) -> Result<Self, TransitError> {
        let address = address(&config.address)?;
        let mount = config.mount.trim_matches('/').to_owned();
        for (name, may_have_parts) in [(&mount, true), (&config.key, false)] {
            if !is_name(name, may_have_parts) {
                return Err(TransitError::Name(name.clone()));
            }
        }
        let mut http = Client::builder()
            .user_agent(concat!("burrow/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            // Neither a proxy nor whoever a redirect names is meant to have the token.
            .no_proxy()
            .redirect(redirect::Policy::none());
        if let Some(path) = &config.ca_file {
            http = http.tls_certs_only(certificates(path)?);
        }
        let http = http
            .build()
            .map_err(|source| TransitError::Unreachable { address: config.address.clone(), source })?;
        let (key, token, namespace) = (config.key.clone(), config.token.clone(), config.namespace.clone());
        Ok(Self { http, address, mount, key, token, namespace })
    }

    /// Mount and name: the service may move, and its key with it.
    pub fn fingerprint(&self) -> String {
        format!("{FINGERPRINT_PREFIX}{}/{}", self.mount, self.key)
    }

    /// That the service answers, knows us and has a key that does what is asked of it.
    pub async fn prove(&self) -> Result<(), TransitError> {
        #[derive(Deserialize)]
        struct Key {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            derived: bool,
        }
        let path = self.key_path();
        let found: Key = self.call(Method::GET, &path, "read its key", None).await?;
        let unfit = |why: String| {
            let create = path.clone();
            Err(TransitError::Unfit { path: path.clone(), why, create })
        };
        match found {
            Key { kind, .. } if !AEAD_TYPES.contains(&kind.as_str()) => unfit(format!("its type is {kind}")),
            Key { derived: true, .. } => unfit("it is derived".to_owned()),
            _ => Ok(()),
        }
    }

    pub async fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, TransitError> {
        #[derive(Deserialize)]
        struct Sealed {
            ciphertext: String,
        }
        let body = json!({ "plaintext": STANDARD.encode(secret), "associated_data": STANDARD.encode(name) });
        let path = format!("{}/encrypt/{}", self.mount, self.key);
        let sealed: Sealed = self.call(Method::POST, &path, "encrypt", Some(&body)).await?;
        Ok(sealed.ciphertext.into_bytes())
    }

    pub async fn open(&self, name: &str, sealed: &[u8]) -> Result<Redacted<Vec<u8>>, TransitError> {
        #[derive(Deserialize)]
        struct Opened {
            plaintext: Redacted<String>,
        }
        // What another keeper has sealed is no text, or none of the service's.
        let sealed = str::from_utf8(sealed).map_err(|_| TransitError::DoesNotOpen(self.key_path()))?;
        let body = json!({ "ciphertext": sealed, "associated_data": STANDARD.encode(name) });
        let path = format!("{}/decrypt/{}", self.mount, self.key);
        let opened: Opened = self.call(Method::POST, &path, "decrypt", Some(&body)).await?;
        let secret = STANDARD.decode(opened.plaintext.expose()).map_err(|_| self.malformed())?;
        Ok(Redacted::new(secret))
    }

    /// A new version of the key: what is sealed from now on is sealed with it, and what was sealed before still opens.
    pub async fn rotate(&self) -> Result<(), TransitError> {
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
    ) -> Result<T, TransitError> {
        let mut pause = PAUSE_FIRST;
        for _ in 1..ATTEMPTS {
            match self.try_call(method.clone(), path, what, body).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, ?pause, "the key service failed, trying again");
                }
                done => return done,
            }
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::time::sleep(jittered).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        self.try_call(method, path, what, body).await
    }

    async fn try_call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        what: &'static str,
        body: Option<&Value>,
    ) -> Result<T, TransitError> {
        #[derive(Deserialize)]
        struct Answer<T> {
            data: T,
        }
        let url = self.address.join(&format!("v1/{path}")).map_err(|_| self.malformed())?;
        let token = self.token()?;
        let mut request = self
            .http
            .request(method, url)
            .header("x-vault-token", sensitive(token.expose()).ok_or_else(|| self.malformed())?)
            // What an agent in between demands; OpenBao and Vault themselves do not care.
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        let body = self.bounded(response).await?;
        if status.is_success() {
            // A rotation may be answered with nothing.
            let body = if body.expose().is_empty() { b"{\"data\":null}".as_slice() } else { body.expose() };
            return serde_json::from_slice(body)
                .map(|answer: Answer<T>| answer.data)
                .map_err(|_| self.malformed());
        }
        Err(self.refusal(status, what, &errors(body.expose())))
    }

    /// Secrets may be in it.
    async fn bounded(&self, mut response: reqwest::Response) -> Result<Redacted<Vec<u8>>, TransitError> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|source| self.unreachable(source))? {
            if body.len() + piece.len() > MAX_ANSWER_BYTES {
                return Err(self.malformed());
            }
            body.extend_from_slice(&piece);
        }
        Ok(Redacted::new(body))
    }

    fn refusal(&self, status: StatusCode, what: &'static str, words: &str) -> TransitError {
        let address = self.address.to_string();
        let path = self.key_path();
        let no_key = words.contains("encryption key not found");
        match status.as_u16() {
            403 => {
                let (mount, key) = (self.mount.clone(), self.key.clone());
                TransitError::Denied { address, what, mount, key }
            }
            404 => TransitError::NoKey { address, create: path.clone(), path },
            400 if no_key => TransitError::NoKey { address, create: path.clone(), path },
            // Another key, another name, another version than there is, or what another keeper has sealed.
            400 if what == "decrypt" => TransitError::DoesNotOpen(path),
            501 | 503 if words.contains("sealed") || status.as_u16() == 501 => TransitError::Sealed(address),
            _ => TransitError::Refused { address, status, words: words.to_owned() },
        }
    }

    fn token(&self) -> Result<Redacted<String>, TransitError> {
        match &self.token {
            TokenSource::Given(token) => Ok(token.clone()),
            TokenSource::File(path) => token_in(path),
        }
    }

    fn unreachable(&self, source: reqwest::Error) -> TransitError {
        TransitError::Unreachable { address: self.address.to_string(), source: source.without_url() }
    }

    fn malformed(&self) -> TransitError {
        TransitError::Malformed(self.address.to_string())
    }
}

/// A secret goes there: encrypted, or not farther than this host; and nothing of it in the address itself.
fn address(text: &str) -> Result<Url, TransitError> {
    let refused =
        || TransitError::Address(text.chars().take(MAX_WORDS).filter(|c| !c.is_control()).collect());
    let url = Url::parse(text).map_err(|_| refused())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TransitError::Address("an address with a name or password".to_owned()));
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

fn certificates(path: &std::path::Path) -> Result<Vec<Certificate>, TransitError> {
    let failed = |source| TransitError::Certificates { path: path.to_owned(), source };
    let pem = fs::read(path).map_err(|error| failed(error.into()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(failed("it holds none".into())),
        Err(error) => Err(failed(error.into())),
    }
}

fn token_in(path: &std::path::Path) -> Result<Redacted<String>, TransitError> {
    use std::io::Read as _;

    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text))
        .map_err(|source| TransitError::Token { path: path.to_owned(), source })?;
    let token = Redacted::new(text.trim().to_owned());
    let is_token = !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(token) } else { Err(TransitError::MalformedToken(path.to_owned())) }
}

fn sensitive(token: &str) -> Option<http::HeaderValue> {
    let mut value = http::HeaderValue::from_str(token).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What the service says went wrong, in one line.
fn errors(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<String>,
    }
    let said = serde_json::from_slice::<Errors>(body).map(|said| said.errors.join("; ")).unwrap_or_default();
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_encrypted_or_of_this_host() {
        for good in
            ["https://vault:8200", "https://vault.example.org/", "http://127.0.0.1:8200", "http://[::1]:8200"]
        {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["vault:8200", "http://vault:8200", "https://v/path", "https://v?token=x", "ftp://v", ""] {
            assert!(matches!(address(bad), Err(TransitError::Address(_))), "{bad}");
        }
        let refused = address("https://root:secret@vault").expect_err("a password");
        assert!(!refused.to_string().contains("secret"));
    }

    #[test]
    fn names_cannot_leave_their_place() {
        assert!(is_name("transit", true) && is_name("team/transit", true) && is_name("burrow-1", false));
        for bad in ["", "a/../b", "..", "a//b", "a b", "a?b", "ü"] {
            assert!(!is_name(bad, true), "{bad}");
        }
        assert!(!is_name("a/b", false));
    }

    #[test]
    fn a_token_comes_from_its_file_and_is_never_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        assert!(matches!(token_in(&path), Err(TransitError::Token { .. })));
        for bad in ["", "\n", "two words", "ü"] {
            fs::write(&path, bad).expect("written");
            assert!(matches!(token_in(&path), Err(TransitError::MalformedToken(_))), "{bad:?}");
        }
        fs::write(&path, "s.secret\n").expect("written");
        let token = token_in(&path).expect("read");
        assert_eq!(token.expose(), "s.secret");
        assert!(!format!("{:?} {:?}", token, TokenSource::Given(token.clone())).contains("secret"));
        assert!(!format!("{:?}", sensitive("s.secret")).contains("secret"));
    }
}
