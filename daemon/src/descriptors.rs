//! Descriptors that processes of ours pass to their children.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
};

use tokio::process::Command;

/// Passes a descriptor to the child of `command`, which has it as `number`. A descriptor that already has
/// this number in the child must not be needed there.
pub fn pass_as(command: &mut Command, descriptor: OwnedFd, number: RawFd) {
    // SAFETY: between fork and exec there are system calls only. The closure owns the descriptor.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            let descriptor = descriptor.as_raw_fd();
            let result = if descriptor == number {
                libc::fcntl(descriptor, libc::F_SETFD, 0)
            } else {
                libc::dup2(descriptor, number)
            };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
}

/// Takes over a descriptor that was inherited under this number. Call it once for each, and before the
/// process opens others.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: the call changes nothing but a flag, and fails if the descriptor is not open.
    #[allow(unsafe_code)]
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the parent has passed it for this purpose, and the caller takes it once.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
