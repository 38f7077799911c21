//! Entry points for fuzzers: what the NBD export decodes from a hostile VMM. Each takes any bytes
//! and must not panic.

use crate::export::wire::{OptionHeader, Request, decode_info, decode_name};

/// Decodes a handshake option: its header and its data.
pub fn nbd_option(bytes: &[u8]) {
    if let Some((header, data)) = bytes.split_first_chunk() {
        let _ = OptionHeader::decode(header).map(OptionHeader::kind);
        let _ = (decode_info(data), decode_name(data));
    }
}

/// Decodes the header of a transmission request.
pub fn nbd_request(bytes: &[u8]) {
    if let Some((header, _)) = bytes.split_first_chunk() {
        let _ = Request::decode(header);
    }
}
