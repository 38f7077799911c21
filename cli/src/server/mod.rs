//! Which server a command talks to, as which user, and its errors as [`CommandError`]s. The client
//! itself is [`client::Api`].

use std::path::Path;

pub use client::{Api as Server, Event, api::API_VERSION as API};
use client::{ApiError, TrustedAuthorities};
use hyper_util::client::proxy::matcher::Matcher;
use protocol::{
    Redacted,
    api::auth::{NewToken, TOKEN_PREFIX, TokenSecret},
};

use self::credentials::{Credentials, DEFAULT_URL};
use crate::output::{CommandError, ErrorKind};

pub mod credentials;
pub mod local;

/// The server that the options, the environment or the last `burrow login` name, signed in as the
/// current user.
///
/// With an address and `BURROW_TOKEN`, neither a home directory nor the credentials file is needed.
pub fn signed_in(url: Option<&str>, ca_file: Option<&Path>) -> Result<Server, CommandError> {
    let authorities = authorities(ca_file)?;
    let token = token_of_environment()?;
    if let (Some(url), Some(token)) = (url, &token) {
        return Ok(Server::with_token(&parse_address(url)?, token.clone(), authorities)?);
    }
    let credentials = Credentials::load(&credentials::path()?)?;
    let url = parse_address(url.or(credentials.current()).unwrap_or(DEFAULT_URL))?;
    let token = match token {
        Some(token) => token,
        None => saved_token(&credentials, &url)?,
    };
    Ok(Server::with_token(&url, token, authorities)?)
}

/// Creates a token in the session of a browser, and ends the session.
pub async fn exchange_session(session: &Server, token: &NewToken) -> Result<TokenSecret, CommandError> {
    let secret = session.create_token(token).await;
    // The token stays. A session that could not be ended is only one more in the list.
    let _ = session.sign_out().await;
    Ok(secret?)
}

/// The authorities of the system, and those of a file of the user.
pub fn authorities(ca_file: Option<&Path>) -> Result<TrustedAuthorities, CommandError> {
    TrustedAuthorities::load(ca_file).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        CommandError::new(ErrorKind::Usage, format!("Cannot use {} as a CA file", error.path.display()))
            .cause(cause)
            .hint("give a file of certificates in PEM with --ca-file, or unset BURROW_CA_FILE")
    })
}

/// The token of `BURROW_TOKEN`, if it is set. What cannot be a token is refused here, because a server's
/// answer to it would only say that no user is signed in.
fn token_of_environment() -> Result<Option<Redacted<String>>, CommandError> {
    let refused = |cause: &str| {
        CommandError::new(ErrorKind::AuthRequired, "Cannot use BURROW_TOKEN")
            .cause(cause)
            .hint("copy the whole token, or unset BURROW_TOKEN to use the login of `burrow login`")
    };
    let text = match std::env::var("BURROW_TOKEN") {
        Ok(text) => text.trim().to_owned(),
        Err(std::env::VarError::NotPresent) => return Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => return Err(refused("it is not text")),
    };
    if text.is_empty() {
        Ok(None)
    } else if !text.chars().all(|letter| letter.is_ascii_graphic()) {
        Err(refused("a token has only letters, digits, - and _"))
    } else if !text.starts_with(TOKEN_PREFIX) {
        Err(refused(&format!("a token begins with {TOKEN_PREFIX}")))
    } else {
        Ok(Some(Redacted::new(text)))
    }
}

fn parse_address(url: &str) -> Result<String, CommandError> {
    credentials::normalise(url).map_err(|text| {
        CommandError::new(ErrorKind::Usage, text).hint("give an address such as https://burrow.example.org")
    })
}

/// Another server that the user has signed in to. `BURROW_TOKEN` is not sent to it.
pub fn signed_in_to(url: &str, ca_file: Option<&Path>) -> Result<Server, CommandError> {
    let credentials = Credentials::load(&credentials::path()?)?;
    let url = parse_address(url)?;
    Ok(Server::with_token(&url, saved_token(&credentials, &url)?, authorities(ca_file)?)?)
}

fn saved_token(credentials: &Credentials, url: &str) -> Result<Redacted<String>, CommandError> {
    credentials.get(url).map(|login| login.token.clone()).ok_or_else(|| {
        CommandError::new(ErrorKind::AuthRequired, format!("Not signed in to {url}"))
            .hint(format!("burrow login {url}"))
    })
}

impl From<ApiError> for CommandError {
    fn from(error: ApiError) -> Self {
        let what = capitalise(&error.to_string());
        let request_id = error.request_id().map(str::to_owned);
        let transient = error.is_transient();
        let kind = if transient { ErrorKind::Unavailable } else { ErrorKind::Error };
        let converted = match error {
            ApiError::Problem(problem) => return Self::from(*problem),
            ApiError::NotBurrow { .. } => Self::new(kind, what).hint("check the address: burrow auth status"),
            ApiError::Unreachable { url, source, .. } => {
                let hint = unreachable_hint(&url, proxy_for(&url));
                Self::new(kind, what).because(source.as_ref()).hint(hint)
            }
            ApiError::Untrusted { .. } => Self::new(kind, what).hint(
                "for a server with `burrow up --tls self`, set BURROW_CA_FILE to the CA certificate: the \
                 file tls/ca.crt in its data directory",
            ),
            ApiError::Broken { source } | ApiError::Setup { source } => {
                Self::new(kind, what).because(source.as_ref())
            }
            ApiError::Malformed { source, .. } => {
                Self::error(what).because(source.as_ref()).hint("compare the versions: burrow version")
            }
            ApiError::TooLarge { .. } => Self::error(what),
        };
        converted.with_request_id(request_id)
    }
}

/// What to check if a server cannot be reached.
fn unreachable_hint(url: &str, proxy: Option<&str>) -> String {
    if let Some(variable) = proxy {
        return format!(
            "requests go through the proxy of {variable}: check that it runs, or add the host to NO_PROXY"
        );
    }
    match url.strip_prefix("https://") {
        _ if url == DEFAULT_URL => "burrow up".to_owned(),
        Some(host) => {
            format!("check the address and whether the server is running; without TLS it is http://{host}")
        }
        None => "check the address and whether the server is running".to_owned(),
    }
}

/// The environment variable that names the proxy for an address, if one does.
fn proxy_for(url: &str) -> Option<&'static str> {
    let target: http::Uri = url.parse().ok()?;
    Matcher::from_env().intercept(&target)?;
    let own: [&str; 2] = if url.starts_with("https://") {
        ["HTTPS_PROXY", "https_proxy"]
    } else {
        ["HTTP_PROXY", "http_proxy"]
    };
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    own.into_iter().find(is_set).or_else(|| ["ALL_PROXY", "all_proxy"].into_iter().find(is_set))
}

/// Capitalises the first letter, but not that of an address.
fn capitalise(text: &str) -> String {
    if text.starts_with("http") {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl From<credentials::CredentialsError> for CommandError {
    fn from(error: credentials::CredentialsError) -> Self {
        let converted = Self::error(error.to_string()).hint(error.hint());
        match std::error::Error::source(&error) {
            Some(source) => converted.because(source),
            None => converted,
        }
    }
}
