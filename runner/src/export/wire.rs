//! The messages of NBD, fixed newstyle: constants, decoders and encoders. Pure. All numbers are
//! big-endian.

/// Longest payload of a read or write. The block size information announces it, and QEMU respects it.
pub const MAX_PAYLOAD_BYTES: u32 = 32 << 20;
/// Longest option: a name of 4096 bytes and some information requests.
pub const MAX_OPTION_BYTES: u32 = 8192;
const MAX_NAME_BYTES: usize = 4096;

/// The first bytes that a server sends.
pub const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Begins the handshake's second part, and each option.
pub const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// Handshake flag: unknown options get a reply.
pub const HANDSHAKE_FIXED_NEWSTYLE: u16 = 1;
/// Handshake flag: no padding after the export.
pub const HANDSHAKE_NO_ZEROES: u16 = 2;

/// Supported: FLUSH, FUA, TRIM and WRITE_ZEROES; a flush on one connection covers the writes of all.
pub const TRANSMISSION_FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8;

/// Reply to an option: done.
pub const REPLY_ACK: u32 = 1;
/// Reply to an option: the name of an export.
pub const REPLY_SERVER: u32 = 2;
/// Reply to an option: information about the export.
pub const REPLY_INFO: u32 = 3;
/// Refused option: unknown or not supported.
pub const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;
/// Refused option: malformed.
pub const REPLY_INVALID: u32 = 1 << 31 | 3;
/// Refused option: no such export.
pub const REPLY_UNKNOWN: u32 = 1 << 31 | 6;
/// Refused option: too long.
pub const REPLY_TOO_BIG: u32 = 1 << 31 | 9;

/// Information: size and flags of the export.
pub const INFO_EXPORT: u16 = 0;
/// Information: minimum, preferred and maximum block size.
pub const INFO_BLOCK_SIZE: u16 = 3;

/// Length of the header of an option.
pub const OPTION_HEADER_BYTES: usize = 16;
/// Length of a request without its payload.
pub const REQUEST_BYTES: usize = 28;

/// The kind of a handshake option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    ExportName,
    Abort,
    List,
    Info,
    Go,
    /// Unsupported options, such as TLS and structured replies.
    Other(u32),
}

/// The header in front of an option's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHeader {
    pub code: u32,
    pub length: u32,
}

impl OptionHeader {
    /// `None`: the magic number is wrong.
    pub fn decode(bytes: &[u8; OPTION_HEADER_BYTES]) -> Option<Self> {
        let magic = u64::from_be_bytes(*bytes.first_chunk()?);
        let code = u32::from_be_bytes(*bytes[8..].first_chunk()?);
        let length = u32::from_be_bytes(*bytes[12..].first_chunk()?);
        (magic == OPTION_MAGIC).then_some(Self { code, length })
    }

    /// The option's kind.
    pub fn kind(self) -> OptionKind {
        match self.code {
            1 => OptionKind::ExportName,
            2 => OptionKind::Abort,
            3 => OptionKind::List,
            6 => OptionKind::Info,
            7 => OptionKind::Go,
            other => OptionKind::Other(other),
        }
    }
}

/// Decodes the data of INFO and GO: a name, then a list of requested information. The server sends
/// everything that it has, so the list is only validated.
pub fn decode_info(bytes: &[u8]) -> Option<&str> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (count, requested) = rest.split_first_chunk::<2>()?;
    let is_complete = requested.len() == usize::from(u16::from_be_bytes(*count)) * 2;
    if is_complete { decode_name(name) } else { None }
}

/// Decodes an export name. `None`: it is too long or not UTF-8.
pub fn decode_name(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok().filter(|name| name.len() <= MAX_NAME_BYTES)
}

/// Encodes the reply to an option.
pub fn option_reply(code: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&code.to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NbdCommand {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    WriteZeroes,
    Other(u16),
}

/// A request without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub flags: u16,
    pub command: NbdCommand,
    pub cookie: u64,
    pub offset: u64,
    pub length: u32,
}

/// Force unit access: the data must be on disk before the reply.
pub const FLAG_FUA: u16 = 1;
/// Write zeros without punching a hole.
pub const FLAG_NO_HOLE: u16 = 2;

impl Request {
    /// `None`: the magic number is wrong.
    pub fn decode(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let magic = u32::from_be_bytes(*bytes.first_chunk()?);
        let command = match u16::from_be_bytes(*bytes[6..].first_chunk()?) {
            0 => NbdCommand::Read,
            1 => NbdCommand::Write,
            2 => NbdCommand::Disconnect,
            3 => NbdCommand::Flush,
            4 => NbdCommand::Trim,
            6 => NbdCommand::WriteZeroes,
            other => NbdCommand::Other(other),
        };
        let request = Self {
            flags: u16::from_be_bytes(*bytes[4..].first_chunk()?),
            command,
            cookie: u64::from_be_bytes(*bytes[8..].first_chunk()?),
            offset: u64::from_be_bytes(*bytes[16..].first_chunk()?),
            length: u32::from_be_bytes(*bytes[24..].first_chunk()?),
        };
        (magic == REQUEST_MAGIC).then_some(request)
    }

    /// Whether the request has the FUA flag.
    pub fn has_fua(self) -> bool {
        self.flags & FLAG_FUA != 0
    }

    /// Whether all of the request's flags are defined for its command.
    pub fn has_valid_flags(self) -> bool {
        let known = match self.command {
            NbdCommand::WriteZeroes => FLAG_FUA | FLAG_NO_HOLE,
            // FUA is harmless on all other commands, and some clients set it.
            _ => FLAG_FUA,
        };
        self.flags & !known == 0
    }
}

/// Errors in a reply, with the numbers of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NbdError {
    Io = 5,
    Invalid = 22,
    NoSpace = 28,
    Overflow = 75,
    Shutdown = 108,
}

/// Encodes the header of a reply. The content of a read follows it.
pub fn simple_reply(cookie: u64, error: Option<NbdError>) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.map_or(0, |error| error as u32).to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}
