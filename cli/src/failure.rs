//! The one error that a command ends with: what happened, why, what to type next, and the exit status that says so to a
//! script. It knows no command and prints nothing by itself but through `report`.

use std::{error::Error, fmt, io::Write};

use protocol::{Code, Problem, problem::FieldError};

/// Exit statuses, which scripts rely on. Listed in `burrow --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Error = 1,
    Usage = 2,
    NotFound = 3,
    AuthRequired = 4,
    Conflict = 5,
    Quota = 6,
    Unavailable = 7,
    /// Ctrl-C, as shells say it.
    Interrupted = 130,
    /// `exec` and `attach` pass the remote status on, so that their own failure needs a status of its own, as in ssh.
    Transport = 255,
}

impl Kind {
    pub fn status(self) -> u8 {
        self as u8
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
            Code::Unavailable | Code::Timeout => Self::Unavailable,
            Code::BadRequest
            | Code::Forbidden
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

/// What, why, next.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    what: String,
    why: Option<String>,
    next: Option<String>,
    request_id: Option<String>,
    /// The server's own name for it, where it comes from the server.
    code: Option<Code>,
}

impl Failure {
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), why: None, next: None, request_id: None, code: None }
    }

    pub fn error(what: impl Into<String>) -> Self {
        Self::new(Kind::Error, what)
    }

    /// The cause, with the causes behind it.
    #[must_use]
    pub fn because(mut self, cause: &(dyn Error + 'static)) -> Self {
        self.why = Some(chain(cause));
        self
    }

    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// What to type or do now.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    #[must_use]
    pub fn with_request_id(mut self, request_id: Option<String>) -> Self {
        self.request_id = request_id.filter(|id| !id.is_empty());
        self
    }

    /// Whether the server refused for this reason.
    pub fn is(&self, code: Code) -> bool {
        self.code == Some(code)
    }

    /// What and why in one line, for one of many things.
    pub fn words(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {why}", self.what),
            None => self.what.clone(),
        }
    }

    /// Writes it for a person to standard error.
    pub fn report(&self) {
        // Nobody is left to tell when standard error is closed.
        let _ = write!(std::io::stderr().lock(), "{self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.what)?;
        if let Some(why) = &self.why {
            writeln!(f, "  why: {why}")?;
        }
        if let Some(next) = &self.next {
            writeln!(f, "  next: {next}")?;
        }
        if let Some(id) = &self.request_id {
            writeln!(f, "  request id: {id}")?;
        }
        Ok(())
    }
}

impl Error for Failure {}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let fields = problem.fields.iter().map(|field| format!("{}: {}", field.field, field.message));
        // Where one field is wrong, the sentence is often the field's own.
        let said =
            |field: &FieldError| field.message.trim_end_matches('.') == problem.detail.trim_end_matches('.');
        let detail = Some(problem.detail.clone()).filter(|_| !problem.fields.iter().any(said));
        let details: Vec<String> = detail.into_iter().chain(fields).filter(|text| !text.is_empty()).collect();
        let mut failure = Self::new(Kind::of(problem.code), problem.title.clone())
            .with_request_id(Some(problem.request_id.clone()));
        failure.code = Some(problem.code);
        if !details.is_empty() {
            failure = failure.why(details.join("; "));
        }
        match failure.kind {
            Kind::AuthRequired => failure.next("burrow login"),
            _ => failure,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let mut causes = error.chain().map(ToString::to_string);
        let what = causes.next().unwrap_or_default();
        let why: Vec<String> = causes.collect();
        let failure = Self::error(what);
        if why.is_empty() { failure } else { failure.why(why.join(": ")) }
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // Many libraries repeat their cause in their own words.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_the_status_that_scripts_expect() {
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
            assert_eq!(Failure::from(Problem::new(code, "x")).kind.status(), status, "{code:?}");
        }
    }

    #[test]
    fn a_problem_keeps_its_request_id_and_fields() {
        let mut problem = Problem::new(Code::Invalid, "Check the fields.").field("name", "too long");
        problem.request_id = "abc".to_owned();
        let text = Failure::from(problem).to_string();
        assert!(text.contains("request id: abc"), "{text}");
        assert!(text.contains("name: too long"), "{text}");
        let problem = Problem::new(Code::Invalid, "Too long.").field("name", "Too long.");
        let text = Failure::from(problem).to_string();
        assert!(text.contains("why: name: Too long.\n"), "said once: {text}");
    }

    #[test]
    fn missing_authentication_names_the_next_command() {
        let text = Failure::from(Problem::new(Code::Unauthenticated, "No session.")).to_string();
        assert!(text.contains("next: burrow login"), "{text}");
    }
}
