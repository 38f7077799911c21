//! A short-lived, signed permission to open streams to one workspace.
//!
//! Only the controller makes one; gateway and runner check it, each for itself. The form is PASETO v4.public: a signature
//! over readable JSON, no choice of algorithm in the token. The clock is an argument.

use std::fmt;

use pasetors::{
    Public,
    keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate},
    token::UntrustedToken,
    version4::{PublicToken, V4},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Epoch, SessionId, UserId, WorkspaceId, agent::Route};

/// Longest life of a grant, in seconds. A stream outlives its grant; the gateway asks again about live streams' sessions.
pub const MAX_GRANT_SECONDS: i64 = 60;

/// Longest token that is looked at at all.
pub const MAX_TOKEN_BYTES: usize = 2048;

/// Bound into every signature, so that a token made for another purpose by the same key is worthless here.
const PURPOSE: &[u8] = b"burrow grant v1";

/// What a grant's bearer may do with a kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Watch: everything a viewer sends upstream but acknowledgements is dropped outside the guest.
    Read,
    Write,
}

/// User `user` may open streams of workspace `workspace` (at `epoch`) with `access` until `expires_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub user: UserId,
    /// The session behind it, by which it is revoked.
    pub session: SessionId,
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
    pub access: Access,
    /// Unix seconds.
    pub expires_at: i64,
}

/// Why a grant does not admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    #[error("the grant is not a valid token")]
    Malformed,
    #[error("the grant's signature is not the controller's")]
    Forged,
    #[error("the grant has expired")]
    Expired,
    #[error("the grant is for another workspace")]
    OtherWorkspace,
    #[error("the grant is for another placement of the workspace")]
    OtherEpoch,
    #[error("the grant allows to watch only")]
    ReadOnly,
}

/// The controller's half of the key pair.
pub struct SigningKey(AsymmetricSecretKey<V4>);

/// The half that everyone may have.
#[derive(Clone)]
pub struct VerifyingKey(AsymmetricPublicKey<V4>);

impl SigningKey {
    /// A fresh key, from the system's randomness.
    pub fn generate() -> Result<Self, GrantRefusal> {
        AsymmetricKeyPair::<V4>::generate().map(|pair| Self(pair.secret)).map_err(|_| GrantRefusal::Malformed)
    }

    /// From what [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GrantRefusal> {
        AsymmetricSecretKey::from(bytes).map(Self).map_err(|_| GrantRefusal::Malformed)
    }

    /// 64 bytes to be kept sealed.
    pub fn to_bytes(&self) -> crate::Redacted<Vec<u8>> {
        crate::Redacted::new(self.0.as_bytes().to_vec())
    }

    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(AsymmetricPublicKey::try_from(&self.0).expect("a secret key holds its public key"))
    }

    /// The grant as a token.
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
    pub fn to_hex(&self) -> String {
        self.0.as_bytes().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    pub fn from_hex(text: &str) -> Result<Self, GrantRefusal> {
        let bytes: crate::ManifestId = text.parse().map_err(|_| GrantRefusal::Malformed)?;
        AsymmetricPublicKey::from(&bytes.0).map(Self).map_err(|_| GrantRefusal::Malformed)
    }

    /// Checks signature and expiry. `now` in Unix seconds.
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
    /// Whether this grant opens `route` of `workspace` in `epoch`.
    pub fn admits(&self, workspace: WorkspaceId, epoch: Epoch, route: &Route) -> Result<(), GrantRefusal> {
        if self.workspace != workspace {
            return Err(GrantRefusal::OtherWorkspace);
        }
        if self.epoch != epoch {
            return Err(GrantRefusal::OtherEpoch);
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
            expires_at: NOW + 30,
        }
    }

    #[test]
    fn a_signed_grant_comes_back() {
        let key = SigningKey::generate().expect("randomness");
        let grant = grant();
        assert_eq!(key.verifying_key().verify(&key.sign(&grant), NOW), Ok(grant));
    }

    #[test]
    fn no_changed_byte_is_accepted() {
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
    fn time_and_key_are_checked() {
        let key = SigningKey::generate().expect("randomness");
        let token = key.sign(&grant());
        assert_eq!(key.verifying_key().verify(&token, NOW + 30), Err(GrantRefusal::Expired));
        assert_eq!(key.verifying_key().verify(&token, NOW - 31), Err(GrantRefusal::Expired));
        let other = SigningKey::generate().expect("randomness");
        assert_eq!(other.verifying_key().verify(&token, NOW), Err(GrantRefusal::Forged));
    }

    #[test]
    fn keys_survive_their_wire_forms() {
        let signing = SigningKey::generate().expect("randomness");
        let again = SigningKey::from_bytes(signing.to_bytes().expose()).expect("own bytes");
        let key = signing.verifying_key();
        assert_eq!(again.verifying_key().to_hex(), key.to_hex());
        assert_eq!(VerifyingKey::from_hex(&key.to_hex()).expect("own text").to_hex(), key.to_hex());
    }
}
