//! The error that a command ends with: what failed, why, what to do next, and the exit status that
//! tells it to scripts.
//!
//! Every message has the same order: *Cannot VERB OBJECT: CAUSE*, then a hint. This module knows no
//! command.

use std::{error::Error, fmt, io::Write};

use protocol::{Code, Problem, problem::FieldError};

use super::exit_status::ExitStatus;

/// The kinds of error. Their numbers are the exit statuses that scripts rely on; `burrow --help`
/// lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorKind {
    /// Any error without a kind of its own.
    Error = 1,
    /// The command line is not valid, or a confirmation is missing.
    Usage = 2,
    /// The object does not exist, or the user may not see it.
    NotFound = 3,
    /// Not signed in, or the token is not valid.
    AuthRequired = 4,
    /// The state of the object does not allow it.
    Conflict = 5,
    /// A quota or a rate limit is reached.
    Quota = 6,
    /// The server cannot be reached, or did not answer in time.
    Unavailable = 7,
    /// Ctrl-C. Shells use the same number.
    Interrupted = 130,
    /// An error of `exec` or `attach` themselves. They pass the remote status through, so theirs is
    /// different, as in ssh.
    Connection = 255,
}

impl ErrorKind {
    /// The exit status.
    pub fn status(self) -> ExitStatus {
        ExitStatus(self as u8)
    }

    fn of(code: Code) -> Self {
        match code {
            Code::NotFound => Self::NotFound,
            Code::Unauthenticated | Code::BadCredentials => Self::AuthRequired,
            Code::Conflict
            | Code::NameTaken
            | Code::Fenced
            | Code::PreconditionFailed
            | Code::NotRunning
            | Code::Expired => Self::Conflict,
            Code::QuotaExceeded | Code::RateLimited => Self::Quota,
            Code::Unavailable | Code::Timeout | Code::TooManyStreams => Self::Unavailable,
            Code::BadRequest
            | Code::Forbidden
            | Code::ConfirmationRequired
            | Code::ForeignOrigin
            | Code::MethodNotAllowed
            | Code::AuthorizationPending
            | Code::TooLarge
            | Code::Invalid
            | Code::Unsupported
            | Code::DiskFull
            | Code::Internal => Self::Error,
        }
    }
}

/// An error with its cause and a hint. It is printed as
///
/// ```text
/// error: Cannot listen on 127.0.0.1:8080: another program uses this port
///   hint: burrow up --port 8081
/// ```
#[derive(Debug)]
pub struct CommandError {
    /// Decides the exit status.
    pub kind: ErrorKind,
    what: String,
    cause: Option<String>,
    hint: Option<String>,
    request_id: Option<String>,
    /// The server's code, if the error comes from the server.
    code: Option<Code>,
}

impl CommandError {
    /// An error of this kind. `what`: what failed, as in "Cannot read the answer".
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), cause: None, hint: None, request_id: None, code: None }
    }

    /// An error of kind [`ErrorKind::Error`].
    pub fn error(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Error, what)
    }

    /// Adds an error as the cause, with the causes behind it.
    #[must_use]
    pub fn because(mut self, cause: &(dyn Error + 'static)) -> Self {
        self.cause = Some(chain(cause));
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what to type or do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with another kind, and so with another exit status.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds the id under which the server has logged the request.
    #[must_use]
    pub fn with_request_id(mut self, request_id: Option<String>) -> Self {
        self.request_id = request_id.filter(|id| !id.is_empty());
        self
    }

    /// Whether the server refused with this code.
    pub fn is(&self, code: Code) -> bool {
        self.code == Some(code)
    }

    /// What failed and why, in one line.
    pub fn summary(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}: {cause}", self.what),
            None => self.what.clone(),
        }
    }

    /// Prints the error to standard error.
    pub fn report(&self) {
        // If standard error is closed, nobody can read the error.
        let _ = write!(std::io::stderr().lock(), "{self}");
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.summary())?;
        if let Some(hint) = &self.hint {
            writeln!(f, "  hint: {hint}")?;
        }
        if let Some(id) = &self.request_id {
            writeln!(f, "  request ID: {id}")?;
        }
        Ok(())
    }
}

impl Error for CommandError {}

impl From<Problem> for CommandError {
    fn from(problem: Problem) -> Self {
        let fields = problem.fields.iter().map(|field| format!("{}: {}", field.field, field.message));
        // If one field is invalid, the detail often repeats the message of the field.
        let repeats =
            |field: &FieldError| field.message.trim_end_matches('.') == problem.detail.trim_end_matches('.');
        let detail = Some(problem.detail.clone()).filter(|_| !problem.fields.iter().any(repeats));
        let details: Vec<String> = detail.into_iter().chain(fields).filter(|text| !text.is_empty()).collect();
        let mut error = Self::new(ErrorKind::of(problem.code), problem.title.clone())
            .with_request_id(Some(problem.request_id.clone()));
        error.code = Some(problem.code);
        if !details.is_empty() {
            error = error.cause(details.join("; "));
        }
        match error.kind {
            ErrorKind::AuthRequired if has_token_variable() => error.hint(
                "BURROW_TOKEN has expired, was revoked or is of another server; unset it to use the \
                 login of `burrow login`",
            ),
            ErrorKind::AuthRequired => error.hint("burrow login"),
            _ => error,
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        let mut causes = error.chain().map(ToString::to_string);
        let what = causes.next().unwrap_or_default();
        let causes: Vec<String> = causes.collect();
        let error = Self::error(what);
        if causes.is_empty() { error } else { error.cause(causes.join(": ")) }
    }
}

/// Whether the token comes from the environment, which wins over `burrow login`.
fn has_token_variable() -> bool {
    std::env::var_os("BURROW_TOKEN").is_some_and(|token| !token.is_empty())
}

/// The error and the causes behind it, joined by colons.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        // Many libraries include the message of the cause in their own.
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_codes_map_to_exit_statuses() {
        for (code, status) in [
            (Code::NotFound, 3),
            (Code::Unauthenticated, 4),
            (Code::NameTaken, 5),
            (Code::NotRunning, 5),
            (Code::QuotaExceeded, 6),
            (Code::Unavailable, 7),
            (Code::Timeout, 7),
            (Code::Internal, 1),
        ] {
            assert_eq!(
                CommandError::from(Problem::new(code, "x")).kind.status(),
                ExitStatus(status),
                "{code:?}"
            );
        }
    }

    #[test]
    fn problem_keeps_request_id_and_fields() {
        let mut problem = Problem::new(Code::Invalid, "Check the fields.").field("name", "too long");
        problem.request_id = "abc".to_owned();
        let text = CommandError::from(problem).to_string();
        assert!(text.contains("request ID: abc"), "{text}");
        assert!(text.contains("name: too long"), "{text}");
        let problem = Problem::new(Code::Invalid, "Too long.").field("name", "Too long.");
        let text = CommandError::from(problem).to_string();
        assert!(text.contains(": name: Too long.\n") && !text.contains("Too long.;"), "not repeated: {text}");
    }

    #[test]
    fn unauthenticated_hints_at_login() {
        let text = CommandError::from(Problem::new(Code::Unauthenticated, "No session.")).to_string();
        assert!(text.contains("hint: burrow login"), "{text}");
    }
}
