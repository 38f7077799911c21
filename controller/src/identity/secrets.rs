//! Random secrets and their text forms. Only the hash of a secret is stored, so a stolen database
//! opens nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use protocol::{Redacted, api::auth::TOKEN_PREFIX};

/// 256 bits cannot be guessed, so the hash needs no salt and need not be slow.
const SECRET_BYTES: usize = 32;
/// Bytes of the checksum in a token. It detects a mistyped or truncated token, and lets secret
/// scanners avoid false alarms.
const CHECKSUM_BYTES: usize = 4;
/// Longest credential that is examined.
const MAX_TEXT_BYTES: usize = 128;
/// Letters that are not mistaken for others. Without vowels no words appear.
const CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters of a user code: 20^8 = 2.6·10^10 of them, valid for minutes, behind a rate limit.
const CODE_LENGTH: usize = 8;

/// The hash of a secret, as the database stores it.
pub type SecretHash = [u8; 32];

/// Generates a secret as text for URL fragments, cookies and headers.
pub fn generate_secret() -> Redacted<String> {
    Redacted::new(URL_SAFE_NO_PAD.encode(random_bytes()))
}

/// Hashes a secret for the database.
pub fn hash_secret(secret: &str) -> SecretHash {
    *blake3::hash(secret.as_bytes()).as_bytes()
}

/// Generates a personal access token: prefix, secret, checksum.
pub fn generate_token() -> Redacted<String> {
    let secret = generate_secret();
    Redacted::new(format!("{TOKEN_PREFIX}{}{}", secret.expose(), checksum(secret.expose())))
}

/// Whether a text has the form of a token. Only the database knows whether it is one.
pub fn is_token(text: &str) -> bool {
    let Some(body) = text.strip_prefix(TOKEN_PREFIX).filter(|body| body.is_ascii()) else { return false };
    let secret_length = SECRET_BYTES.div_ceil(3) * 4 - 1;
    if body.len() <= secret_length || text.len() > MAX_TEXT_BYTES {
        return false;
    }
    let (secret, sum) = body.split_at(secret_length);
    checksum(secret) == sum
}

/// Whether a text has the form of [`generate_secret`].
pub fn is_secret(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES
        && URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == SECRET_BYTES)
}

/// Generates a user code of a device login, for a user to compare: `BCDF-GHJK`.
pub fn generate_user_code() -> String {
    let mut code = String::with_capacity(CODE_LENGTH + 1);
    // Twelve times 20 is 240. Larger bytes would make some letters more likely.
    let letters = std::iter::repeat_with(random_bytes).flatten().filter(|byte| *byte < 240);
    for (index, byte) in letters.take(CODE_LENGTH).enumerate() {
        if index == CODE_LENGTH / 2 {
            code.push('-');
        }
        code.push(char::from(CODE_LETTERS[usize::from(byte) % CODE_LETTERS.len()]));
    }
    code
}

/// The form of [`generate_user_code`] from what a user typed. None if it cannot be one.
pub fn normalize_user_code(typed: &str) -> Option<String> {
    let letters: Vec<u8> = typed
        .bytes()
        .take(MAX_TEXT_BYTES)
        .filter(|byte| !matches!(byte, b'-' | b' '))
        .map(|byte| byte.to_ascii_uppercase())
        .collect();
    let valid = letters.len() == CODE_LENGTH && letters.iter().all(|letter| CODE_LETTERS.contains(letter));
    let text = valid.then(|| String::from_utf8(letters).expect("letters are ASCII"))?;
    let (left, right) = text.split_at(CODE_LENGTH / 2);
    Some(format!("{left}-{right}"))
}

fn checksum(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(&blake3::hash(secret.as_bytes()).as_bytes()[..CHECKSUM_BYTES])
}

fn random_bytes() -> [u8; SECRET_BYTES] {
    let mut bytes = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's randomness does not fail once it is seeded");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_recognized() {
        assert!(is_secret(generate_secret().expose()));
        assert!(is_token(generate_token().expose()));
        for text in ["", "brw_", "brw_short", "x", "brw_ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ"]
        {
            assert!(!is_token(text) && !is_secret(text), "{text}");
        }
        assert!(!is_secret(generate_token().expose()));
    }

    #[test]
    fn token_checksum_detects_any_changed_byte() {
        let token = generate_token();
        for at in 0..token.expose().len() {
            let mut bytes = token.expose().clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_token(str::from_utf8(&bytes).expect("ASCII")), "byte {at}");
        }
    }

    #[test]
    fn user_code_is_normalized() {
        let code = generate_user_code();
        assert_eq!(code.len(), 9);
        assert_eq!(normalize_user_code(&code.to_lowercase().replace('-', " ")).as_ref(), Some(&code));
        assert_eq!(normalize_user_code("AAAA-AAAA"), None);
        assert_eq!(normalize_user_code(""), None);
    }
}
