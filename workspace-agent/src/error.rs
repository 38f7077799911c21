//! Errors of the API: a problem document (RFC 9457) with a stable code and a sentence for the user.

use std::io;

use axum::response::{IntoResponse, Response};
use protocol::{Code, Problem, files::BadPath, git::BadGitPath};
use rustix::io::Errno;

use crate::files::home_directory::OutOfInodes;

/// The error of a handler, which becomes a problem response.
#[derive(Debug)]
pub struct ApiError(Box<Problem>);

/// The result of a handler.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error with the status of `code`. `detail` is shown to the user.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    fn bad_path(reason: &str) -> Self {
        Self::new(Code::Invalid, format!("Cannot use this path: {reason}."))
            .with_field("path", reason.to_owned())
    }

    /// Names the field of the request that caused the error.
    #[must_use]
    pub fn with_field(self, field: &str, message: String) -> Self {
        Self(Box::new(self.0.field(field, message)))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        transport::problem::response(*self.0)
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> Self {
        Self::new(io_error_code(&error), io_error_message(&error))
    }
}

impl From<Errno> for ApiError {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<BadPath> for ApiError {
    fn from(error: BadPath) -> Self {
        Self::bad_path(&error.to_string())
    }
}

impl From<BadGitPath> for ApiError {
    fn from(error: BadGitPath) -> Self {
        Self::bad_path(&error.to_string())
    }
}

/// The problem code of an error from the kernel.
pub fn io_error_code(error: &io::Error) -> Code {
    if is_out_of_inodes(error) {
        return Code::DiskFull;
    }
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Code::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Code::Forbidden,
        // RESOLVE_BENEATH reports EXDEV for a path that leads out of the home.
        Some(Errno::XDEV | Errno::LOOP) => Code::Forbidden,
        Some(Errno::NOSPC | Errno::DQUOT) => Code::DiskFull,
        Some(Errno::EXIST | Errno::NOTEMPTY | Errno::BUSY) => Code::Conflict,
        Some(Errno::ISDIR | Errno::NXIO) => Code::Unsupported,
        Some(Errno::NAMETOOLONG | Errno::INVAL) => Code::Invalid,
        _ => Code::Internal,
    }
}

/// A sentence for the user about an error from the kernel.
pub fn io_error_message(error: &io::Error) -> String {
    if is_out_of_inodes(error) {
        return "The home holds as many files as it can. Nothing was changed. Delete some files, even small \
                ones, and try again."
            .to_owned();
    }
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "The file or directory does not exist.".to_owned(),
        Some(Errno::NOTDIR) => "A part of the path is not a directory.".to_owned(),
        Some(Errno::ACCESS | Errno::PERM) => {
            "Permission denied. Check the owner and mode of the file in a terminal.".to_owned()
        }
        Some(Errno::XDEV | Errno::LOOP) => "A symbolic link in the path leaves the home.".to_owned(),
        Some(Errno::NOSPC) => {
            "The home has no free space. Nothing was changed. Delete some files and try again.".to_owned()
        }
        Some(Errno::EXIST) => "A file or directory with this name already exists.".to_owned(),
        Some(Errno::NOTEMPTY) => "The directory is not empty.".to_owned(),
        Some(Errno::ISDIR) => "The path is a directory.".to_owned(),
        _ => format!("{error}."),
    }
}

fn is_out_of_inodes(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<OutOfInodes>)
}
