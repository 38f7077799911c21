//! Grants: short-lived, signed permissions to open streams to one workspace.
//!
//! Only the controller signs grants. The gateway requests one for each stream with the caller's
//! credential, verifies it, and sends it to the runner's front, which verifies it again and checks
//! that it admits the route. Neither has to trust the other, and the guest never sees a credential.
//! A stream outlives its grant: from then on the gateway asks whether its session is still valid.
//!
//! The format is PASETO v4.public: a signature over readable JSON, without a choice of algorithm in
//! the token. The current time is an argument.
//!
//! ```
//! use burrow_protocol::{Epoch, SessionId, UserId, WorkspaceId};
//! use burrow_protocol::Access;
//! use burrow_protocol::grant::{Grant, SigningKey};
//!
//! let key = SigningKey::generate().unwrap();
//! let grant = Grant {
//!     user: UserId::random(),
//!     session: SessionId::random(),
//!     workspace: WorkspaceId::random(),
//!     epoch: Epoch(1),
//!     access: Access::Write,
//!     preview_port: None,
//!     expires_at: 1_800_000_030,
//! };
//! let token = key.sign(&grant);
//! assert_eq!(key.verifying_key().verify(&token, 1_800_000_000), Ok(grant));
//! ```

use std::fmt;

use pasetors::{
    Public,
    keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate},
    token::UntrustedToken,
    version4::{PublicToken, V4},
};
use serde::{Deserialize, Serialize};

use crate::{Access, Epoch, SessionId, UserId, WorkspaceId, agent::Route};

/// Longest life of a grant, in seconds. A grant that expires later is refused.
pub const MAX_GRANT_SECONDS: i64 = 60;

/// Length of a token, in bytes. A longer one is refused before it is parsed.
pub const MAX_TOKEN_BYTES: usize = 2048;

/// Part of every signature, so that a token that the same key signed for another purpose is not a grant.
const PURPOSE: &[u8] = b"burrow grant v1";

/// The permission for `user` to open streams of `workspace` in placement `epoch` with `access`
/// until `expires_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who may open streams.
    pub user: UserId,
    /// The user's session. Its end revokes the streams.
    pub session: SessionId,
    /// The workspace whose streams may be opened.
    pub workspace: WorkspaceId,
    /// The placement that the grant is for.
    pub epoch: Epoch,
    /// The access to the streams.
    pub access: Access,
    /// The only port that the grant connects to: it is a visitor's of a preview, and opens nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_port: Option<u16>,
    /// Unix seconds.
    pub expires_at: i64,
}

/// Why a grant is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// The token cannot be parsed.
    #[error("the grant is not a valid token")]
    Malformed,
    /// Another key signed the token.
    #[error("the grant's signature is not the controller's")]
    Forged,
    /// The grant has expired, or would live longer than [`MAX_GRANT_SECONDS`].
    #[error("the grant has expired")]
    Expired,
    /// The grant is for another workspace.
    #[error("the grant is for another workspace")]
    OtherWorkspace,
    /// The grant is for an older or newer placement.
    #[error("the grant is for another placement of the workspace")]
    OtherEpoch,
    /// The grant is for a preview of another port, or the route is none of a preview.
    #[error("the grant is for another port")]
    OtherPort,
    /// The route needs write access.
    #[error("the grant is read-only")]
    ReadOnly,
}

/// The private key, which only the controller has.
pub struct SigningKey(AsymmetricSecretKey<V4>);

/// The public key, which gateway and runners have.
#[derive(Clone)]
pub struct VerifyingKey(AsymmetricPublicKey<V4>);

impl SigningKey {
    /// Generates a key from the system's randomness.
    pub fn generate() -> Result<Self, GrantRefusal> {
        AsymmetricKeyPair::<V4>::generate().map(|pair| Self(pair.secret)).map_err(|_| GrantRefusal::Malformed)
    }

    /// Reads a key that [`Self::to_bytes`] returned.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GrantRefusal> {
        AsymmetricSecretKey::from(bytes).map(Self).map_err(|_| GrantRefusal::Malformed)
    }

    /// Returns the key as 64 bytes. Encrypt them before you store them.
    pub fn to_bytes(&self) -> crate::Redacted<Vec<u8>> {
        crate::Redacted::new(self.0.as_bytes().to_vec())
    }

    /// Returns the public key.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(AsymmetricPublicKey::try_from(&self.0).expect("a secret key holds its public key"))
    }

    /// Signs a grant and returns the token.
    pub fn sign(&self, grant: &Grant) -> String {
        let claims = serde_json::to_vec(grant).expect("a grant is plain data");
        PublicToken::sign(&self.0, &claims, None, Some(PURPOSE)).expect("signing has no failing input")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

impl VerifyingKey {
    /// Returns the key as 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.as_bytes().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// Reads a key that [`Self::to_hex`] returned.
    pub fn from_hex(text: &str) -> Result<Self, GrantRefusal> {
        let bytes: crate::ManifestId = text.parse().map_err(|_| GrantRefusal::Malformed)?;
        AsymmetricPublicKey::from(&bytes.0).map(Self).map_err(|_| GrantRefusal::Malformed)
    }

    /// Verifies a token's signature and expiry and returns its grant. `now` is in Unix seconds.
    /// Call [`Grant::admits`] next.
    pub fn verify(&self, token: &str, now: i64) -> Result<Grant, GrantRefusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(GrantRefusal::Malformed);
        }
        let untrusted = UntrustedToken::<Public, V4>::try_from(token).map_err(|_| GrantRefusal::Malformed)?;
        let trusted = PublicToken::verify(&self.0, &untrusted, None, Some(PURPOSE))
            .map_err(|_| GrantRefusal::Forged)?;
        let grant: Grant = serde_json::from_str(trusted.payload()).map_err(|_| GrantRefusal::Malformed)?;
        if now >= grant.expires_at || grant.expires_at - now > MAX_GRANT_SECONDS {
            return Err(GrantRefusal::Expired);
        }
        Ok(grant)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.to_hex())
    }
}

impl Grant {
    /// Checks that this grant opens `route` of `workspace` in placement `epoch`.
    pub fn admits(&self, workspace: WorkspaceId, epoch: Epoch, route: &Route) -> Result<(), GrantRefusal> {
        if self.workspace != workspace {
            return Err(GrantRefusal::OtherWorkspace);
        }
        if self.epoch != epoch {
            return Err(GrantRefusal::OtherEpoch);
        }
        if route.preview_port != self.preview_port {
            return Err(GrantRefusal::OtherPort);
        }
        if route.access > self.access {
            return Err(GrantRefusal::ReadOnly);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn grant() -> Grant {
        Grant {
            user: UserId::random(),
            session: SessionId::random(),
            workspace: WorkspaceId::random(),
            epoch: Epoch(7),
            access: Access::Read,
            preview_port: None,
            expires_at: NOW + 30,
        }
    }

    #[test]
    fn signed_grant_verifies() {
        let key = SigningKey::generate().expect("randomness");
        let grant = grant();
        assert_eq!(key.verifying_key().verify(&key.sign(&grant), NOW), Ok(grant));
    }

    #[test]
    fn changed_token_is_refused() {
        let key = SigningKey::generate().expect("randomness");
        let token = key.sign(&grant());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII stays ASCII");
            assert!(key.verifying_key().verify(&changed, NOW).is_err(), "byte {at}");
        }
    }

    #[test]
    fn expired_and_foreign_grants_are_refused() {
        let key = SigningKey::generate().expect("randomness");
        let token = key.sign(&grant());
        assert_eq!(key.verifying_key().verify(&token, NOW + 30), Err(GrantRefusal::Expired));
        assert_eq!(key.verifying_key().verify(&token, NOW - 31), Err(GrantRefusal::Expired));
        let other = SigningKey::generate().expect("randomness");
        assert_eq!(other.verifying_key().verify(&token, NOW), Err(GrantRefusal::Forged));
    }

    #[test]
    fn preview_grant_opens_its_port_only() {
        let preview = Grant { access: Access::Write, preview_port: Some(3000), ..grant() };
        let admits = |grant: &Grant, route: Option<Route>| {
            grant.admits(grant.workspace, grant.epoch, &route.expect("a route"))
        };
        let stream = |port| Route::of_preview("CONNECT", &Route::preview_path(port));
        assert_eq!(admits(&preview, stream(3000)), Ok(()));
        assert_eq!(admits(&preview, stream(3001)), Err(GrantRefusal::OtherPort));
        for (method, path) in
            [("GET", "files"), ("GET", "exec"), ("GET", "ports"), ("CONNECT", "ports/3000/connect")]
        {
            assert_eq!(admits(&preview, Route::of(method, path)), Err(GrantRefusal::OtherPort), "{path}");
        }
        let owner = Grant { access: Access::Write, ..grant() };
        assert_eq!(admits(&owner, stream(3000)), Err(GrantRefusal::OtherPort));
        assert_eq!(admits(&owner, Route::of("CONNECT", "ports/3000/connect")), Ok(()));
        assert_eq!(admits(&grant(), Route::of("CONNECT", "ports/3000/connect")), Err(GrantRefusal::ReadOnly));
    }

    #[test]
    fn keys_round_trip() {
        let signing = SigningKey::generate().expect("randomness");
        let again = SigningKey::from_bytes(signing.to_bytes().expose()).expect("own bytes");
        let key = signing.verifying_key();
        assert_eq!(again.verifying_key().to_hex(), key.to_hex());
        assert_eq!(VerifyingKey::from_hex(&key.to_hex()).expect("own text").to_hex(), key.to_hex());
    }
}
