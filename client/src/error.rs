//! Why a request failed, as the client sees it. Errors contain no token, and their URLs contain no
//! query.

use std::error::Error;

use protocol::{Code, Problem};

/// The error of every request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server answered with a problem.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// Something answered that is not Burrow: a proxy or another program.
    #[error("{url} answered with status {status} and is not a Burrow server")]
    NotBurrow {
        /// Address of the request, without its query.
        url: String,
        /// HTTP status of the response.
        status: u16,
        /// The `x-request-id` of the response, if it has one.
        request_id: Option<String>,
    },
    /// No response: the connection failed, or (`is_timeout`) took too long.
    #[error(
        "cannot reach {url}: {}",
        if *.is_timeout { "no answer in time" } else { "the connection failed" }
    )]
    Unreachable {
        /// Address of the request, without its query.
        url: String,
        /// Whether the server was too slow. Otherwise the connection failed.
        is_timeout: bool,
        /// The HTTP client's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server's certificate is not trusted, so nothing was sent to it.
    #[error("cannot trust the certificate of {url}: {problem}")]
    Untrusted {
        /// Address of the request, without its query.
        url: String,
        /// What is wrong with the certificate, in words for users.
        problem: String,
    },
    /// A connection that was open broke.
    #[error("the connection broke")]
    Broken {
        /// The connection's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A response that this version cannot parse.
    #[error("cannot parse the response of {url}")]
    Malformed {
        /// Address of the request, without its query.
        url: String,
        /// The `x-request-id` of the response, if it has one.
        request_id: Option<String>,
        /// The parser's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A response beyond the client's limit.
    #[error("the server's response is too large")]
    TooLarge {
        /// The `x-request-id` of the response, if it has one.
        request_id: Option<String>,
    },
    /// The request could not be built.
    #[error("cannot build the request")]
    Setup {
        /// What is wrong with an address, a header or the TLS configuration.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ApiError {
    /// The problem's code, if the server answered with one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            _ => None,
        }
    }

    /// Whether the server answered with a problem of this code.
    pub fn is(&self, code: Code) -> bool {
        self.code() == Some(code)
    }

    /// Whether the same request may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.code, Code::Unavailable | Code::Timeout),
            Self::NotBurrow { status, .. } => matches!(status, 502..=504),
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Untrusted { .. } | Self::Malformed { .. } | Self::TooLarge { .. } | Self::Setup { .. } => {
                false
            }
        }
    }

    /// The id of the request, to quote to the server's operator.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(problem.request_id.as_str()).filter(|id| !id.is_empty()),
            Self::NotBurrow { request_id, .. }
            | Self::Malformed { request_id, .. }
            | Self::TooLarge { request_id } => request_id.as_deref(),
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::Broken { .. } | Self::Setup { .. } => {
                None
            }
        }
    }

    pub(crate) fn broken(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken { source: source.into() }
    }

    /// Builds the error for a response that is not a success. `is_problem`: its content type is a problem's.
    pub(crate) fn from_response(
        url: &str,
        status: u16,
        request_id: Option<String>,
        is_problem: bool,
        body: &[u8],
    ) -> Self {
        match serde_json::from_slice::<Problem>(body) {
            Ok(mut problem) if is_problem => {
                if problem.request_id.is_empty() {
                    problem.request_id = request_id.unwrap_or_default();
                }
                Self::Problem(Box::new(problem))
            }
            _ => Self::NotBurrow { url: url.to_owned(), status, request_id },
        }
    }
}
