//! Enters the reader's sandbox and attempts one action. The exit status says whether the action
//! succeeded.
//!
//! `sandbox-probe complete|without-filter|none PROBE [ARGUMENT]`

use std::{env, fs, io, net::TcpStream, process::ExitCode};

use burrow_reader::sandbox;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let argument = arguments.get(2).cloned().unwrap_or_default();
    match arguments[0].as_str() {
        "complete" => drop(sandbox::enter()),
        "without-filter" => drop(sandbox::enter_without_filter()),
        _ => {}
    }
    match attempt(&arguments[1], &argument) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(probe: &str, argument: &str) -> io::Result<()> {
    match probe {
        "read" => fs::read(argument).map(drop),
        "list-root" => match fs::read_dir("/")?.next() {
            Some(entry) => entry.map(drop),
            None => Err(io::ErrorKind::NotFound.into()),
        },
        "write" => ["/x", "x", "/tmp/x", "/dev/shm/x"]
            .into_iter()
            .map(|path| fs::write(path, "x").map(|()| drop(fs::remove_file(path))))
            .find(Result::is_ok)
            .unwrap_or(Err(io::ErrorKind::NotFound.into())),
        "connect" => TcpStream::connect(argument).map(drop),
        "socket" => {
            socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
            Ok(())
        }
        // Sends no signal, but checks whether one could be sent.
        "signal-parent" => {
            nix::sys::signal::kill(nix::unistd::getppid(), None)?;
            Ok(())
        }
        "thread" => std::thread::Builder::new().spawn(|| ()).map(drop),
        "fork" => fork(),
        "become-root" => {
            nix::unistd::setuid(nix::unistd::Uid::from_raw(0))?;
            // setuid succeeds for a process that is root already. Only a read proves root's rights.
            fs::read("/etc/shadow").map(drop)
        }
        "namespace" => Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?),
        "execute" => {
            Err(std::os::unix::process::CommandExt::exec(&mut std::process::Command::new("/bin/true")))
        }
        "executable-memory" => executable_memory(),
        "much-memory" => {
            let mut bytes = Vec::<u8>::new();
            bytes.try_reserve_exact(600 << 20).map_err(io::Error::other)
        }
        // Succeeds in every mode: proves that the test sees a success.
        "print" => {
            eprintln!("words");
            Ok(())
        }
        other => panic!("no probe {other}"),
    }
}

#[allow(unsafe_code)]
fn fork() -> io::Result<()> {
    // SAFETY: the process has one thread, and the child only exits.
    match unsafe { nix::unistd::fork() }? {
        // SAFETY: the child owns nothing that needs cleanup.
        nix::unistd::ForkResult::Child => unsafe { libc::_exit(0) },
        nix::unistd::ForkResult::Parent { child } => {
            nix::sys::wait::waitpid(child, None)?;
            Ok(())
        }
    }
}

#[allow(unsafe_code)]
fn executable_memory() -> io::Result<()> {
    // SAFETY: a new anonymous mapping that nothing uses.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}
