//! The exit status of the program.

/// The exit status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl From<()> for ExitStatus {
    fn from((): ()) -> Self {
        Self(0)
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}
