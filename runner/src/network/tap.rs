//! The guest's tap: created in the calling thread's namespace, and passed to the VMM as an open
//! descriptor.

use std::{
    fs::OpenOptions,
    os::fd::{AsRawFd as _, OwnedFd},
};

use super::{NetworkError, TUN, cannot};

mod calls {
    #![allow(unsafe_code)]

    use std::{io, os::fd::RawFd};

    use nix::libc::{IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, ifreq};

    nix::ioctl_write_ptr_bad!(tun_set_iff, nix::libc::TUNSETIFF, ifreq);

    /// Turns an open `/dev/net/tun` into the tap `name`.
    pub fn name_tap(descriptor: RawFd, name: &str) -> io::Result<()> {
        // SAFETY: all fields of the structure may be zero.
        let mut request: ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero and terminates the name.
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) as i16;
        // SAFETY: the kernel reads the structure, which outlives the call; the descriptor is open.
        unsafe { tun_set_iff(descriptor, &raw const request) }?;
        Ok(())
    }
}

/// Creates a tap. It exists as long as the descriptor is open.
pub fn create(name: &str) -> Result<OwnedFd, NetworkError> {
    let tun = OpenOptions::new().read(true).write(true).open(TUN).map_err(cannot("create a tap"))?;
    calls::name_tap(tun.as_raw_fd(), name).map_err(cannot("create a tap"))?;
    Ok(tun.into())
}
