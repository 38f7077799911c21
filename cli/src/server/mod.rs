//! Which server a command talks to, as which user, and its errors as [`CommandError`]s. The client
//! itself is [`client::Api`].

use client::ApiError;
pub use client::{Api as Server, Event, api::API_VERSION as API};
use protocol::Redacted;

use self::credentials::{Credentials, DEFAULT_URL};
use crate::output::{CommandError, ErrorKind};

pub mod credentials;

/// The server that the options, the environment or the last `burrow login` name, signed in as the
/// current user.
pub fn signed_in(url: Option<&str>) -> Result<Server, CommandError> {
    let credentials = Credentials::load(&credentials::path()?)?;
    let wanted = url.or(credentials.current()).unwrap_or(DEFAULT_URL);
    let url = credentials::normalise(wanted).map_err(|text| CommandError::new(ErrorKind::Usage, text))?;
    let from_environment = std::env::var("BURROW_TOKEN").ok().filter(|token| !token.is_empty());
    let token = match from_environment {
        Some(token) => Redacted::new(token),
        None => saved_token(&credentials, &url)?,
    };
    Ok(Server::with_token(&url, token)?)
}

/// Another server that the user has signed in to. `BURROW_TOKEN` is not sent to it.
pub fn signed_in_to(url: &str) -> Result<Server, CommandError> {
    let credentials = Credentials::load(&credentials::path()?)?;
    let url = credentials::normalise(url).map_err(|text| CommandError::new(ErrorKind::Usage, text))?;
    Ok(Server::with_token(&url, saved_token(&credentials, &url)?)?)
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
                let hint = if url == DEFAULT_URL {
                    "burrow up"
                } else {
                    "check the address and whether the server is running"
                };
                Self::new(kind, what).because(source.as_ref()).hint(hint)
            }
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
