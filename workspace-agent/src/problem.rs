//! Errors become answers.

use std::io;

use axum::response::{IntoResponse, Response};
use protocol::{Code, Problem};

/// The error of a handler.
#[derive(Debug)]
pub struct Refusal(Box<Problem>);

pub type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        transport::problem::response(*self.0)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::new(code_of(&error), sentence(&error))
    }
}

impl From<rustix::io::Errno> for Refusal {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<protocol::files::BadPath> for Refusal {
    fn from(error: protocol::files::BadPath) -> Self {
        Self::new(Code::Invalid, format!("{error}.")).with_field("path", error.to_string())
    }
}

impl Refusal {
    #[must_use]
    pub fn with_field(self, field: &str, message: String) -> Self {
        Self(Box::new(self.0.field(field, message)))
    }
}

/// The stable code of what the kernel said.
pub fn code_of(error: &io::Error) -> Code {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Code::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Code::Forbidden,
        // RESOLVE_BENEATH says EXDEV where a path leads out of the home.
        Some(Errno::XDEV | Errno::LOOP) => Code::Forbidden,
        Some(Errno::NOSPC | Errno::DQUOT) => Code::DiskFull,
        Some(Errno::EXIST | Errno::NOTEMPTY | Errno::BUSY) => Code::Conflict,
        Some(Errno::ISDIR | Errno::NXIO) => Code::Unsupported,
        Some(Errno::NAMETOOLONG | Errno::INVAL) => Code::Invalid,
        _ => Code::Internal,
    }
}

pub fn sentence(error: &io::Error) -> String {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "There is no such file or directory.".to_owned(),
        Some(Errno::NOTDIR) => "A part of the path is not a directory.".to_owned(),
        Some(Errno::ACCESS | Errno::PERM) => "The home's owner may not do this to the file.".to_owned(),
        Some(Errno::XDEV | Errno::LOOP) => "The path leads out of the home by a symbolic link.".to_owned(),
        Some(Errno::NOSPC) => {
            "The home is full: delete something and try again. Nothing was changed.".to_owned()
        }
        Some(Errno::EXIST) => "Something of this name exists already.".to_owned(),
        Some(Errno::NOTEMPTY) => "The directory is not empty.".to_owned(),
        Some(Errno::ISDIR) => "It is a directory.".to_owned(),
        _ => format!("{error}."),
    }
}
