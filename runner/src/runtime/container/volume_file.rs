//! A FUSE file system with one file, which is a volume: the host's kernel mounts a home from it. The
//! supervisor mounts it, and the session serves it.
//!
//! Requests are performed as tasks of the session's runtime, so a slow one does not delay others. The
//! kernel bounds how many there are: those of one loop device.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session,
    SessionACL, WriteFlags,
};
use rustix::mount::MountFlags;
use tokio::runtime::Handle;
use volume::{Volume, VolumeError};

use super::super::{RuntimeError, cannot};

/// Name of the file.
pub const NAME: &str = "home";
const INODE: INodeNo = INodeNo(2);
/// Attributes never change, so the kernel may keep them.
const ATTRIBUTES_TTL: Duration = Duration::from_hours(24);
const BLOCK_BYTES: u32 = 4096;

/// Mounts a file system on `target`, in the calling thread's mount namespace, whose file [`NAME`] is to be
/// served on the returned device.
pub fn mount(target: &Path) -> Result<File, RuntimeError> {
    let failed = || cannot("mount the home's volume");
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(failed())?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0\0", device.as_raw_fd());
    let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).expect("one zero at the end");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("burrow-home", target, "fuse", flags, options)
        .map_err(|errno| failed()(errno.into()))?;
    Ok(device)
}

/// Serves the volume until the file system is unmounted. The file may be larger than the volume: its end
/// reads as zeros. Its thread must not be in the namespace of the mount: it would keep what it serves. The
/// kernel's own requests come from root, which the session is not.
pub fn serve(volume: &Volume, bytes: u64, device: OwnedFd) -> Result<(), RuntimeError> {
    let bytes = bytes.max(volume.size_bytes());
    let file = VolumeFile { volume: volume.clone(), bytes, runtime: Handle::current() };
    let serve = move || {
        let session = Session::from_fd(file, device, SessionACL::RootAndOwner, Config::default());
        if let Err(error) = session.and_then(Session::run) {
            tracing::debug!(%error, "the home's volume is unmounted");
        }
    };
    let thread = thread::Builder::new().name("home-volume".to_owned()).spawn(serve);
    thread.map(drop).map_err(cannot("serve the home's volume"))
}

struct VolumeFile {
    volume: Volume,
    /// Size of the file.
    bytes: u64,
    runtime: Handle,
}

impl VolumeFile {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_file = inode == INODE;
        FileAttr {
            ino: inode,
            size: if is_file { self.bytes } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        }
    }
}

/// Reads `length` bytes, of which those beyond the volume are zeros.
async fn read(volume: &Volume, offset: u64, length: u64) -> Result<Bytes, VolumeError> {
    let within = (offset + length).min(volume.size_bytes()).saturating_sub(offset);
    if within == length {
        return volume.read(offset, length).await;
    }
    let mut bytes = BytesMut::zeroed(usize::try_from(length).expect("a request is short"));
    if within > 0 {
        let end = usize::try_from(within).expect("a request is short");
        bytes[..end].copy_from_slice(&volume.read(offset, within).await?);
    }
    Ok(bytes.freeze())
}

fn to_errno(error: &VolumeError) -> Errno {
    tracing::error!(%error, "a request to the home failed");
    match error {
        VolumeError::Full | VolumeError::OutOfRange { .. } => Errno::ENOSPC,
        _ => Errno::EIO,
    }
}

fn reply_empty(reply: ReplyEmpty, result: Result<(), VolumeError>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(to_errno(&error)),
    }
}

impl Filesystem for VolumeFile {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&ATTRIBUTES_TTL, &self.attributes(INODE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&ATTRIBUTES_TTL, &self.attributes(inode));
    }

    /// Without the page cache: the file system on the loop device has its own.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let length = self.bytes.saturating_sub(offset).min(size.into());
        let volume = self.volume.clone();
        self.runtime.spawn(async move {
            match read(&volume, offset, length).await {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(to_errno(&error)),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (volume, bytes) = (self.volume.clone(), Bytes::copy_from_slice(data));
        self.runtime.spawn(async move {
            let length = u32::try_from(bytes.len()).expect("a request is short");
            match volume.write(offset, bytes).await {
                Ok(()) => reply.written(length),
                Err(error) => reply.error(to_errno(&error)),
            }
        });
    }

    /// A closed file is not flushed: the file system on it does that when it has to.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let volume = self.volume.clone();
        self.runtime.spawn(async move { reply_empty(reply, volume.flush().await) });
    }

    /// The loop device discards with holes and zeros, which are the same in a volume.
    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) == 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let within = offset.saturating_add(length).min(self.volume.size_bytes()).saturating_sub(offset);
        if within == 0 {
            return reply.ok();
        }
        let volume = self.volume.clone();
        self.runtime.spawn(async move { reply_empty(reply, volume.discard(offset, within).await) });
    }
}
