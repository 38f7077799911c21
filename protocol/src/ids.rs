//! Identifiers, one type per noun, so that a workspace's id is never passed where a tenant's is expected.
//!
//! All are UUIDs, written as hyphenated text. Version 7 orders them by creation time, which keeps
//! database indexes dense.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Creates a new identifier from the current time and randomness.
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// An organisation. Every row and object belongs to exactly one.
    TenantId
    /// An account in a tenant.
    UserId
    /// A workspace: what a user creates, starts, stops and deletes.
    WorkspaceId
    /// The block device that stores a home. It outlives the sandbox.
    VolumeId
    /// The content of a home at an instant.
    SnapshotId
    /// One restore of files into a running home. Undo refers to it.
    RestoreId
    /// A teacher's group of users and their workspaces.
    ClassId
    /// A link by which a new user joins, valid once.
    InvitationId
    /// One signed-in browser or one token.
    SessionId
    /// A terminal of a workspace. It outlives the clients attached to it.
    TerminalId
    /// One HTTP request. Users quote it, operators find it in the log.
    RequestId
}

/// The hash of a manifest's content, which names a snapshot in the object store. Written as 64
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestId(pub [u8; 32]);

/// The error for a text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a manifest id has 64 hexadecimal digits")]
pub struct NotAManifestId;

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManifestId({self})")
    }
}

impl FromStr for ManifestId {
    type Err = NotAManifestId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(NotAManifestId);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| NotAManifestId)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotAManifestId)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for ManifestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ManifestId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
