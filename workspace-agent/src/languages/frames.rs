//! The framing of LSP's messages: headers, and a body of as many bytes as they say. A server may send
//! anything, so everything is bounded. Pure.

use serde_json::Value;

/// Most bytes of the headers of a message.
const MAX_HEADER_BYTES: usize = 4 * 1024;
/// Most bytes of a message from a server.
pub const MAX_FRAME_BYTES: usize = 8 * 1024 * 1024;
/// Most values of a message. In memory, a value takes up to 70 times its text.
const MAX_FRAME_VALUES: usize = 1_000_000;
const HEADER_END: &[u8] = b"\r\n\r\n";

/// Why the output of a server cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The headers do not end.
    #[error("it has sent headers without an end")]
    EndlessHeaders,
    /// There is no length.
    #[error("it has sent something that is not a message")]
    NoLength,
    /// The message is too large.
    #[error("it has sent a message of more than 8 MiB")]
    TooLarge,
    /// The body is not a JSON object.
    #[error("it has sent a message that is not JSON")]
    NotJson,
}

/// Finds messages in the output of a server.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// Length of the body that has begun.
    body: Option<usize>,
}

impl FrameDecoder {
    /// Adds output. Call [`Self::next`] until it returns nothing before more is added.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message, an object.
    pub fn next(&mut self) -> Result<Option<Value>, FrameError> {
        let length = match self.body {
            Some(length) => length,
            None => match self.take_headers()? {
                Some(length) => *self.body.insert(length),
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        self.body = None;
        let rest = self.buffer.split_off(length);
        let body = std::mem::replace(&mut self.buffer, rest);
        let separators = body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
        if separators > MAX_FRAME_VALUES {
            return Err(FrameError::TooLarge);
        }
        let message: Value = serde_json::from_slice(&body).map_err(|_| FrameError::NotJson)?;
        if message.is_object() { Ok(Some(message)) } else { Err(FrameError::NotJson) }
    }

    /// Removes complete headers, and returns the length of the body.
    fn take_headers(&mut self) -> Result<Option<usize>, FrameError> {
        let searched = &self.buffer[..self.buffer.len().min(MAX_HEADER_BYTES)];
        let Some(end) = searched.windows(HEADER_END.len()).position(|window| window == HEADER_END) else {
            let is_endless = self.buffer.len() >= MAX_HEADER_BYTES;
            return if is_endless { Err(FrameError::EndlessHeaders) } else { Ok(None) };
        };
        let length = std::str::from_utf8(&self.buffer[..end]).ok().and_then(content_length);
        let length = length.ok_or(FrameError::NoLength)?;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge);
        }
        self.buffer.drain(..end + HEADER_END.len());
        Ok(Some(length))
    }
}

fn content_length(headers: &str) -> Option<usize> {
    let mut lines = headers.split("\r\n").filter_map(|line| line.split_once(':'));
    let (_, length) = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    length.trim().parse().ok()
}

/// A message with its headers.
pub fn encode_frame(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<Vec<Value>, FrameError> {
        let mut decoder = FrameDecoder::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(3) {
            decoder.push(piece);
            while let Some(message) = decoder.next()? {
                found.push(message);
            }
        }
        Ok(found)
    }

    #[test]
    fn messages_are_found_in_pieces() {
        let messages = [json!({ "id": 1, "result": "\u{1f600}" }), json!({}), json!({ "method": "x" })];
        let bytes: Vec<u8> = messages.iter().flat_map(encode_frame).collect();
        assert_eq!(decode(&bytes), Ok(messages.to_vec()));
        let other = b"content-type: x\r\nCONTENT-LENGTH:  2 \r\n\r\n{}";
        assert_eq!(decode(other), Ok(vec![json!({})]));
    }

    #[test]
    fn hostile_output_is_refused() {
        let endless = vec![b'x'; 2 * MAX_HEADER_BYTES];
        let deep = "[".repeat(100_000);
        let deep = format!("Content-Length: {}\r\n\r\n{deep}", deep.len());
        let wide = format!("[{}0]", "0,".repeat(MAX_FRAME_VALUES));
        let wide = format!("Content-Length: {}\r\n\r\n{wide}", wide.len());
        for (bytes, error) in [
            (&endless[..], FrameError::EndlessHeaders),
            (b"warning: something\r\n\r\n{}", FrameError::NoLength),
            (b"Content-Length: -1\r\n\r\n{}", FrameError::NoLength),
            (b"Content-Length: 99999999\r\n\r\n", FrameError::TooLarge),
            (b"Content-Length: 99999999999999999999\r\n\r\n", FrameError::NoLength),
            (b"Content-Length: 2\r\n\r\n{]", FrameError::NotJson),
            (b"Content-Length: 2\r\n\r\n[]", FrameError::NotJson),
            (deep.as_bytes(), FrameError::NotJson),
            (wide.as_bytes(), FrameError::TooLarge),
        ] {
            assert_eq!(decode(bytes), Err(error));
        }
    }
}
