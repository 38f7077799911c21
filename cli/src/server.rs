//! Which server a command speaks to, and its errors in our words. The server itself is [`client::Api`].

use protocol::Redacted;

use client::ApiError;
pub use client::{Api as Server, Event, api::API};

use crate::{
    credentials::{self, Credentials, DEFAULT_URL},
    failure::{Failure, Kind},
};

/// The server that the options, the environment or `burrow login` name, as the person who signed in.
pub fn signed_in(url: Option<&str>) -> Result<Server, Failure> {
    let credentials = Credentials::load(&credentials::path()?)?;
    let wanted = url.or(credentials.current()).unwrap_or(DEFAULT_URL);
    let url = credentials::normalise(wanted).map_err(|words| Failure::new(Kind::Usage, words))?;
    let from_environment = std::env::var("BURROW_TOKEN").ok().filter(|token| !token.is_empty());
    let token = match from_environment {
        Some(token) => Redacted::new(token),
        None => token(&credentials, &url)?,
    };
    Ok(Server::with_token(&url, token)?)
}

/// A server besides the one that commands are for. The environment's token is not for it.
pub fn signed_in_to(url: &str) -> Result<Server, Failure> {
    let credentials = Credentials::load(&credentials::path()?)?;
    let url = credentials::normalise(url).map_err(|words| Failure::new(Kind::Usage, words))?;
    Ok(Server::with_token(&url, token(&credentials, &url)?)?)
}

fn token(credentials: &Credentials, url: &str) -> Result<Redacted<String>, Failure> {
    credentials.server(url).map(|server| server.token.clone()).ok_or_else(|| {
        Failure::new(Kind::AuthRequired, format!("Not signed in to {url}"))
            .next(format!("burrow login {url}"))
    })
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let words = capitalised(&error.to_string());
        let request_id = error.request_id().map(str::to_owned);
        let transient = error.is_transient();
        let kind = if transient { Kind::Unavailable } else { Kind::Error };
        let failure = match error {
            ApiError::Problem(problem) => return Self::from(*problem),
            ApiError::NotBurrow { .. } => {
                Self::new(kind, words).next("check the address: burrow auth status")
            }
            ApiError::Unreachable { url, source, .. } => {
                let next = if url == DEFAULT_URL {
                    "burrow up"
                } else {
                    "check the address and that the server runs"
                };
                Self::new(kind, words).because(source.as_ref()).next(next)
            }
            ApiError::Broken { source } | ApiError::Setup { source } => {
                Self::new(kind, words).because(source.as_ref())
            }
            ApiError::Malformed { source, .. } => {
                Self::error(words).because(source.as_ref()).next("compare the versions: burrow version")
            }
            ApiError::TooLarge { .. } => Self::error(words),
        };
        failure.with_request_id(request_id)
    }
}

/// As a sentence begins; an address stays as it is.
fn capitalised(text: &str) -> String {
    if text.starts_with("http") {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
