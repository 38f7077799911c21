//! The file that holds the guest's memory. The VMM opens it under a name that its root directory does
//! not have: the kernel asks this process, which passes a descriptor.
//!
//! Many guests can share the memory of one prototype, copy on write. QEMU opens such a file for writing
//! all the same, and frees unused pages in the file itself. Either would let one guest change the
//! memory of all others. So this process answers two system calls of the VMM: opening the file gives a
//! descriptor that cannot write, and freeing pages of the file does nothing. (QEMU then also frees the
//! guest's own copies of these pages, which is what it is for.)

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd},
        unix::fs::FileExt as _,
    },
};

use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, poll},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};

/// The name under which the VMM opens the file.
pub const PATH: &str = "/guest-memory";
const OPEN_MODE: u64 = libc::O_ACCMODE as u64;

/// The file of a guest's memory.
pub struct GuestMemory {
    file: File,
    /// Whether the VMM's changes stay its own.
    is_private: bool,
}

impl GuestMemory {
    /// Memory that changes with the guest. `file` must be open for writing.
    pub fn shared(file: File) -> Self {
        Self { file, is_private: false }
    }

    /// Memory of a prototype, of which the guest changes a copy. `file` must be open for reading only.
    pub fn private(file: File) -> Self {
        Self { file, is_private: true }
    }

    /// Answers the VMM's calls until it has ended. Blocks. `socket` receives the listener from
    /// [`install`].
    pub fn supervise(self, socket: &OwnedFd) {
        match receive_listener(socket) {
            Ok(Some(listener)) => {
                if let Err(error) = self.answer_calls(&listener) {
                    tracing::warn!(%error, "cannot answer system calls of the VMM any more");
                }
            }
            // The VMM was not started.
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot supervise the VMM"),
        }
    }

    fn answer_calls(&self, listener: &OwnedFd) -> io::Result<()> {
        let mut descriptor = None;
        loop {
            let mut watched = [PollFd::new(listener, PollFlags::IN)];
            poll(&mut watched, None)?;
            if !watched[0].revents().contains(PollFlags::IN) {
                return Ok(());
            }
            let call = match kernel::receive(listener) {
                Ok(call) => call,
                // The thread was interrupted or has ended.
                Err(nix::Error::ENOENT | nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let result = match decide(&call.data, self.is_private, descriptor, || names_memory(&call)) {
                Answer::Continue => kernel::let_continue(listener, &call),
                Answer::Succeed => kernel::succeed(listener, &call),
                Answer::PassMemory => kernel::pass(listener, &call, self.file.as_fd()).map(|number| {
                    descriptor = Some(number);
                }),
            };
            match result {
                Ok(()) | Err(nix::Error::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What this process does about a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The kernel executes it.
    Continue,
    /// It returns 0 and does nothing.
    Succeed,
    /// It returns a descriptor of the file.
    PassMemory,
}

/// Decides about one system call. `descriptor` is the one that was passed, if any.
fn decide(
    call: &libc::seccomp_data,
    is_private: bool,
    descriptor: Option<RawFd>,
    names_memory: impl FnOnce() -> bool,
) -> Answer {
    let is_memory = |number: u64| descriptor.is_some_and(|passed| number == u64::from(passed.unsigned_abs()));
    match i64::from(call.nr) {
        libc::SYS_openat if descriptor.is_none() && names_memory() => Answer::PassMemory,
        libc::SYS_fallocate if is_private && is_memory(call.args[0]) => Answer::Succeed,
        _ => Answer::Continue,
    }
}

/// Whether a call to `openat` names the file.
fn names_memory(call: &libc::seccomp_notif) -> bool {
    let mut name = [0; PATH.len() + 1];
    let memory = File::open(format!("/proc/{}/mem", call.pid));
    let read = memory.and_then(|memory| memory.read_exact_at(&mut name, call.data.args[1]));
    read.is_ok() && name[..PATH.len()] == *PATH.as_bytes() && name[PATH.len()] == 0
}

/// Makes the kernel ask about the calling process's opening of files for writing, and its freeing of
/// pages in files. Sends the listener over `socket`. Runs between fork and exec: allocates nothing.
/// Needs `no_new_privs`.
pub fn install(socket: BorrowedFd<'_>) -> io::Result<()> {
    let listener = kernel::listen()?;
    let descriptors = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The listener; `None` if the other end closed without sending one.
fn receive_listener(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let listener = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(listener)
}

/// The kernel's interface, which no library wraps. See seccomp_unotify(2).
mod kernel {
    #![allow(unsafe_code)]

    use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

    use libc::{seccomp_notif, seccomp_notif_addfd, seccomp_notif_resp, sock_filter, sock_fprog};

    use super::OPEN_MODE;

    nix::ioctl_readwrite!(notif_recv, b'!', 0, seccomp_notif);
    nix::ioctl_readwrite!(notif_send, b'!', 1, seccomp_notif_resp);
    nix::ioctl_write_ptr!(notif_addfd, b'!', 3, seccomp_notif_addfd);

    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// Offsets in `struct seccomp_data`: the call's number, and the lower half of the third argument.
    const NUMBER: u32 = 0;
    const THIRD_ARGUMENT: u32 = 32;

    const fn step(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
        sock_filter { code, jt, jf, k }
    }

    /// Asks about `openat` for reading and writing, and about `fallocate`. The jail's main filter
    /// refuses foreign architectures, whose numbers differ.
    const FILTER: [sock_filter; 8] = [
        step(LOAD, NUMBER, 0, 0),
        step(JUMP_IF_EQUAL, libc::SYS_fallocate as u32, 5, 0),
        step(JUMP_IF_EQUAL, libc::SYS_openat as u32, 0, 3),
        step(LOAD, THIRD_ARGUMENT, 0, 0),
        step(AND, OPEN_MODE as u32, 0, 0),
        step(JUMP_IF_EQUAL, libc::O_RDWR as u32, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
    ];

    /// Installs the filter for the calling thread, and returns its listener.
    pub fn listen() -> std::io::Result<OwnedFd> {
        let mut filter = FILTER;
        let program = sock_fprog { len: FILTER.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the kernel reads the program, which lives until after the call, and returns a new
        // descriptor that nothing else owns.
        let listener = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const program,
            )
        };
        let listener = RawFd::try_from(listener).ok().filter(|number| *number >= 0);
        let listener = listener.ok_or_else(std::io::Error::last_os_error)?;
        // SAFETY: see above.
        Ok(unsafe { OwnedFd::from_raw_fd(listener) })
    }

    /// The next call.
    pub fn receive(listener: &OwnedFd) -> nix::Result<seccomp_notif> {
        // SAFETY: the structure has only integers, and the kernel requires zeros.
        let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel fills the structure.
        unsafe { notif_recv(listener.as_raw_fd(), &raw mut call) }.map(|_| call)
    }

    /// The kernel executes the call.
    pub fn let_continue(listener: &OwnedFd, call: &seccomp_notif) -> nix::Result<()> {
        respond(listener, call, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32)
    }

    /// The call returns 0.
    pub fn succeed(listener: &OwnedFd, call: &seccomp_notif) -> nix::Result<()> {
        respond(listener, call, 0)
    }

    fn respond(listener: &OwnedFd, call: &seccomp_notif, flags: u32) -> nix::Result<()> {
        let mut response = seccomp_notif_resp { id: call.id, val: 0, error: 0, flags };
        // SAFETY: the kernel reads the structure.
        unsafe { notif_send(listener.as_raw_fd(), &raw mut response) }.map(drop)
    }

    /// The call returns a duplicate of `file`. Returns its number in the caller.
    pub fn pass(listener: &OwnedFd, call: &seccomp_notif, file: BorrowedFd<'_>) -> nix::Result<RawFd> {
        let addition = seccomp_notif_addfd {
            id: call.id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: file.as_raw_fd().unsigned_abs(),
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC.unsigned_abs(),
        };
        // SAFETY: the kernel reads the structure, and `file` is open.
        unsafe { notif_addfd(listener.as_raw_fd(), &raw const addition) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: i64, first: u64) -> libc::seccomp_data {
        libc::seccomp_data {
            nr: i32::try_from(number).expect("small"),
            arch: 0,
            instruction_pointer: 0,
            args: [first, 0, 0, 0, 0, 0],
        }
    }

    #[test]
    fn only_private_memory_ignores_freed_pages() {
        for (is_private, descriptor, file, expected) in [
            (true, Some(9), 9, Answer::Succeed),
            (true, Some(9), 8, Answer::Continue),
            (true, None, 9, Answer::Continue),
            (false, Some(9), 9, Answer::Continue),
        ] {
            let answer = decide(&call(libc::SYS_fallocate, file), is_private, descriptor, || false);
            assert_eq!(answer, expected, "{is_private} {descriptor:?} {file}");
        }
    }

    #[test]
    fn memory_is_passed_once() {
        let open = call(libc::SYS_openat, 0);
        assert_eq!(decide(&open, true, None, || true), Answer::PassMemory);
        assert_eq!(decide(&open, true, Some(9), || true), Answer::Continue);
        assert_eq!(decide(&open, true, None, || false), Answer::Continue);
    }
}
