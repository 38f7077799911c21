//! Finds the caller's credential in the headers: a bearer token, else the session cookie. The
//! controller checks it.

use http::{HeaderMap, HeaderValue, header};
use protocol::{
    Redacted,
    api::auth::{COOKIE, COOKIE_PLAIN},
};

/// Length of a credential, in bytes. A longer one is treated as none.
const MAX_CREDENTIAL_BYTES: usize = 512;

/// A credential that has not been checked.
#[derive(Debug)]
pub enum Credential {
    /// Set on purpose by a program. A page of another origin cannot send it.
    Bearer(Redacted<String>),
    /// Added by the browser to every request, even to one that a page of another origin makes.
    Cookie(Redacted<String>),
}

impl Credential {
    /// Finds the credential. A request with an `authorization` header has no other credential, even
    /// if that header is not valid.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            return bearer(value.to_str().ok()?).map(|token| Self::Bearer(Redacted::new(token)));
        }
        [COOKIE, COOKIE_PLAIN]
            .into_iter()
            .find_map(|name| cookie(headers, name))
            .map(|value| Self::Cookie(Redacted::new(value)))
    }

    /// The token, or the cookie's value.
    pub fn into_secret(self) -> Redacted<String> {
        match self {
            Self::Bearer(secret) | Self::Cookie(secret) => secret,
        }
    }
}

/// Removes the session cookie for plain http from a request that came by https. Only `__Host-` cookies
/// prove that they were not set by another page of the same domain.
pub fn remove_plain_cookie(headers: &mut HeaderMap, is_secure: bool) {
    if !is_secure {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(header::COOKIE).into_iter().cloned().collect();
    headers.remove(header::COOKIE);
    for line in lines {
        if let Some(kept) = without_cookie(&line, COOKIE_PLAIN) {
            headers.append(header::COOKIE, kept);
        }
    }
}

/// The cookies of a line other than `name`. `None` if there is no other.
fn without_cookie(line: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let is_named = |pair: &&[u8]| {
        let key = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        key.trim_ascii() == name.as_bytes()
    };
    let kept: Vec<&[u8]> =
        line.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_named(pair)).collect();
    let mut kept = HeaderValue::from_bytes(kept.join(&b';').trim_ascii()).ok()?;
    kept.set_sensitive(true);
    (!kept.is_empty()).then_some(kept)
}

fn bearer(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && is_plausible(token)).then(|| token.to_owned())
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && is_plausible(value))
        .map(|(_, value)| value.to_owned())
}

/// Whether a secret has a length and characters that ours may have.
pub fn is_plausible(secret: &str) -> bool {
    (1..=MAX_CREDENTIAL_BYTES).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&'static str, &str)]) -> Option<(bool, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("valid"));
        }
        Credential::from_headers(&headers).map(|credential| {
            (matches!(credential, Credential::Bearer(_)), credential.into_secret().expose().clone())
        })
    }

    #[test]
    fn finds_tokens_and_cookies() {
        assert_eq!(found(&[("authorization", "bearer abc")]), Some((true, "abc".to_owned())));
        assert_eq!(found(&[("cookie", "x=1; __Host-burrow=s")]), Some((false, "s".to_owned())));
        assert_eq!(found(&[("cookie", "x=1"), ("cookie", "burrow=s")]), Some((false, "s".to_owned())));
        assert_eq!(found(&[("cookie", "burrow=p; __Host-burrow=s")]), Some((false, "s".to_owned())));
    }

    #[test]
    fn ignores_other_headers() {
        let long = format!("Bearer {}", "x".repeat(MAX_CREDENTIAL_BYTES + 1));
        for header in ["Basic abc", "Bearer", "Bearer ", "Bearer a b", &long] {
            // An unusable `authorization` header must not fall back to the browser's session.
            assert_eq!(found(&[("authorization", header), ("cookie", "burrow=s")]), None, "{header}");
        }
        assert_eq!(found(&[("cookie", "xburrow=s; burrow=")]), None);
    }
}
