//! Why a server did not do what it was asked, as one that asks it sees it. Holds no token; addresses hold no query.

use std::error::Error;

use protocol::{Code, Problem};

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server's own word.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// Something answers there, but no Burrow: a proxy, another program.
    #[error("{url} answered {status}, and not as Burrow does")]
    NotBurrow { url: String, status: u16, request_id: Option<String> },
    #[error("{url} {}", if *.late { "does not answer in time" } else { "cannot be reached" })]
    Unreachable { url: String, late: bool, source: Box<dyn Error + Send + Sync> },
    #[error("the connection broke off")]
    Broken { source: Box<dyn Error + Send + Sync> },
    /// An answer that this version does not understand.
    #[error("{url} answered something unexpected")]
    Malformed { url: String, request_id: Option<String>, source: Box<dyn Error + Send + Sync> },
    #[error("the server's answer is too large")]
    TooLarge { request_id: Option<String> },
    #[error("the HTTP client cannot be made")]
    Setup { source: Box<dyn Error + Send + Sync> },
}

impl ApiError {
    /// The server's name for it, where it is the server's word.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            _ => None,
        }
    }

    /// Whether the server refused for this reason.
    pub fn is(&self, code: Code) -> bool {
        self.code() == Some(code)
    }

    /// Whether the same request may well succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.code, Code::Unavailable | Code::Timeout),
            Self::NotBurrow { status, .. } => matches!(status, 502..=504),
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Malformed { .. } | Self::TooLarge { .. } | Self::Setup { .. } => false,
        }
    }

    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(problem.request_id.as_str()).filter(|id| !id.is_empty()),
            Self::NotBurrow { request_id, .. }
            | Self::Malformed { request_id, .. }
            | Self::TooLarge { request_id } => request_id.as_deref(),
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Setup { .. } => None,
        }
    }

    pub(crate) fn broken(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken { source: source.into() }
    }

    /// What an answer with this status and body means; `is_problem`: as its type says.
    pub(crate) fn of_answer(
        url: &str,
        status: u16,
        request_id: Option<String>,
        is_problem: bool,
        body: &[u8],
    ) -> Self {
        match serde_json::from_slice::<Problem>(body) {
            Ok(mut told) if is_problem => {
                if told.request_id.is_empty() {
                    told.request_id = request_id.unwrap_or_default();
                }
                Self::Problem(Box::new(told))
            }
            _ => Self::NotBurrow { url: url.to_owned(), status, request_id },
        }
    }
}
