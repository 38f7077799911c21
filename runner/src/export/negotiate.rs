//! The NBD handshake: options, until the client chooses the export or disconnects.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Duration, timeout},
};
use volume::BLOCK_BYTES;

use super::{
    ExportError,
    wire::{self, OptionHeader, OptionKind},
};

/// A client sends its options at once.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// More options than any client sends.
const MAX_OPTIONS: usize = 64;

/// The export's name. The empty name means the same export.
pub const NAME: &str = "home";

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeOutcome {
    /// The client chose the export: requests follow.
    Transmission,
    /// The client disconnected in order.
    Disconnect,
}

/// Performs the handshake for a disk of `size_bytes`.
pub async fn negotiate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    size_bytes: u64,
) -> Result<HandshakeOutcome, ExportError> {
    timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, size_bytes))
        .await
        .unwrap_or(Err(ExportError::HandshakeTimeout))
}

async fn shake_hands(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    size_bytes: u64,
) -> Result<HandshakeOutcome, ExportError> {
    let ours = wire::HANDSHAKE_FIXED_NEWSTYLE | wire::HANDSHAKE_NO_ZEROES;
    let mut greeting = wire::MAGIC.to_be_bytes().to_vec();
    greeting.extend_from_slice(&wire::OPTION_MAGIC.to_be_bytes());
    greeting.extend_from_slice(&ours.to_be_bytes());
    stream.write_all(&greeting).await?;
    let theirs = stream.read_u32().await?;
    if theirs & !u32::from(ours) != 0 {
        return Err(ExportError::Protocol("unknown handshake flags"));
    }
    let no_zeroes = theirs & u32::from(wire::HANDSHAKE_NO_ZEROES) != 0;

    for _ in 0..MAX_OPTIONS {
        let mut header = [0; wire::OPTION_HEADER_BYTES];
        stream.read_exact(&mut header).await?;
        let header = OptionHeader::decode(&header)
            .ok_or(ExportError::Protocol("an option without its magic number"))?;
        if header.length > wire::MAX_OPTION_BYTES {
            let reply = wire::option_reply(header.code, wire::REPLY_TOO_BIG, b"the option is too long");
            stream.write_all(&reply).await?;
            return Err(ExportError::Protocol("an option is too long"));
        }
        let mut data = vec![0; header.length as usize];
        stream.read_exact(&mut data).await?;
        if header.kind() == OptionKind::ExportName {
            return choose_export_by_name(stream, &data, size_bytes, no_zeroes).await;
        }
        let (reply, outcome) = answer_option(header, &data, size_bytes);
        stream.write_all(&reply).await?;
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
    }
    Err(ExportError::Protocol("too many options"))
}

/// The reply to an option, and the end of the handshake if it ends it.
fn answer_option(header: OptionHeader, data: &[u8], size_bytes: u64) -> (Vec<u8>, Option<HandshakeOutcome>) {
    let reply = |kind, data: &[u8]| wire::option_reply(header.code, kind, data);
    match header.kind() {
        OptionKind::Abort => (reply(wire::REPLY_ACK, &[]), Some(HandshakeOutcome::Disconnect)),
        OptionKind::List if !data.is_empty() => (reply(wire::REPLY_INVALID, b"LIST has no data"), None),
        OptionKind::List => {
            let mut named = (NAME.len() as u32).to_be_bytes().to_vec();
            named.extend_from_slice(NAME.as_bytes());
            ([reply(wire::REPLY_SERVER, &named), reply(wire::REPLY_ACK, &[])].concat(), None)
        }
        kind @ (OptionKind::Info | OptionKind::Go) => match wire::decode_info(data) {
            None => (reply(wire::REPLY_INVALID, b"malformed"), None),
            Some(name) if !is_export_name(name) => (reply(wire::REPLY_UNKNOWN, b"no such export"), None),
            Some(_) => {
                let replies = [
                    reply(wire::REPLY_INFO, &export_info(size_bytes)),
                    reply(wire::REPLY_INFO, &block_size_info()),
                    reply(wire::REPLY_ACK, &[]),
                ];
                (replies.concat(), (kind == OptionKind::Go).then_some(HandshakeOutcome::Transmission))
            }
        },
        OptionKind::ExportName | OptionKind::Other(_) => (reply(wire::REPLY_UNSUPPORTED, &[]), None),
    }
}

/// The oldest way to choose an export: the only reply is the export itself, and a wrong name closes
/// the connection.
async fn choose_export_by_name(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    name: &[u8],
    size_bytes: u64,
    no_zeroes: bool,
) -> Result<HandshakeOutcome, ExportError> {
    if !wire::decode_name(name).is_some_and(is_export_name) {
        return Err(ExportError::Protocol("no such export"));
    }
    let mut reply = size_bytes.to_be_bytes().to_vec();
    reply.extend_from_slice(&wire::TRANSMISSION_FLAGS.to_be_bytes());
    if !no_zeroes {
        reply.extend_from_slice(&[0; 124]);
    }
    stream.write_all(&reply).await?;
    Ok(HandshakeOutcome::Transmission)
}

fn is_export_name(name: &str) -> bool {
    name.is_empty() || name == NAME
}

fn export_info(size_bytes: u64) -> Vec<u8> {
    let mut info = wire::INFO_EXPORT.to_be_bytes().to_vec();
    info.extend_from_slice(&size_bytes.to_be_bytes());
    info.extend_from_slice(&wire::TRANSMISSION_FLAGS.to_be_bytes());
    info
}

/// Any byte can be addressed; whole blocks are cheaper.
fn block_size_info() -> Vec<u8> {
    let mut info = wire::INFO_BLOCK_SIZE.to_be_bytes().to_vec();
    for size in [1, BLOCK_BYTES as u32, wire::MAX_PAYLOAD_BYTES] {
        info.extend_from_slice(&size.to_be_bytes());
    }
    info
}
