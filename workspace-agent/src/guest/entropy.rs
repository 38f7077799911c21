//! Seeding the kernel's random pool, with the ioctls that no library wraps.

use std::fs::File;

use anyhow::Context as _;

/// Most bytes that are added at once.
const MAX_ENTROPY_BYTES: usize = 64;
/// Fewer bytes would not seed the generator.
const MIN_ENTROPY_BYTES: usize = 32;

mod ioctl {
    #![allow(unsafe_code)]

    use std::{
        ffi::c_int,
        fs::File,
        os::fd::{AsFd as _, AsRawFd as _},
    };

    use super::MAX_ENTROPY_BYTES;

    nix::ioctl_none!(rndreseedcrng, b'R', 7);
    nix::ioctl_write_ptr!(rndaddentropy, b'R', 3, [c_int; 2]);

    /// `struct rand_pool_info` with a buffer of a fixed size.
    #[repr(C)]
    struct RandomPool {
        bits: c_int,
        bytes: c_int,
        content: [u8; MAX_ENTROPY_BYTES],
    }

    /// Adds at most [`MAX_ENTROPY_BYTES`] to the pool and reseeds the generator.
    pub fn add_entropy(random: &File, bytes: &[u8]) -> nix::Result<()> {
        let length = bytes.len().min(MAX_ENTROPY_BYTES);
        let mut pool =
            RandomPool { bits: length as c_int * 8, bytes: length as c_int, content: [0; MAX_ENTROPY_BYTES] };
        pool.content[..length].copy_from_slice(&bytes[..length]);
        // SAFETY: the kernel reads two integers and then `bytes` bytes. All are in `pool`, which
        // outlives the call.
        unsafe { rndaddentropy(random.as_fd().as_raw_fd(), (&raw const pool).cast()) }?;
        // Guests that were restored from one prototype must not share the state of one generator.
        // SAFETY: the ioctl has no argument, and the borrow keeps the descriptor open.
        unsafe { rndreseedcrng(random.as_fd().as_raw_fd()) }.map(drop)
    }
}

/// Adds hexadecimal random bytes to the kernel's pool and reseeds its generator.
pub fn add_hexadecimal(text: &str) -> anyhow::Result<()> {
    let bytes = decode_hexadecimal(text).context("the entropy is not hexadecimal")?;
    anyhow::ensure!(
        bytes.len() >= MIN_ENTROPY_BYTES,
        "the entropy is shorter than {MIN_ENTROPY_BYTES} bytes"
    );
    let random = File::options().write(true).open("/dev/random").context("cannot open /dev/random")?;
    ioctl::add_entropy(&random, &bytes).context("cannot add entropy")
}

fn decode_hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_hexadecimal_refuses_other_text() {
        assert_eq!(decode_hexadecimal("00ff7f"), Some(vec![0, 255, 127]));
        for wrong in ["0", "0g", "é0", "+f"] {
            assert_eq!(decode_hexadecimal(wrong), None, "{wrong}");
        }
    }
}
