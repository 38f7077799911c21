//! Identifiers: a type for each noun, so that a workspace is never passed where a tenant is meant.
//!
//! All are UUIDs (version 7: ordered by time of making, so indexes stay dense) and travel as their hyphenated text.

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
            /// A fresh identifier.
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
    /// An organisation; owns everything.
    TenantId
    /// A person with an account in a tenant.
    UserId
    /// A person's machine.
    WorkspaceId
    /// A home: the block device that outlives the machine.
    VolumeId
    /// A home at an instant.
    SnapshotId
    /// A roster of students and their workspaces.
    ClassId
    /// An offer to become a user, redeemable once.
    InvitationId
    /// A signed-in client.
    SessionId
    /// A PTY that outlives sessions.
    TerminalId
    /// One HTTP request, for people to quote and logs to find.
    RequestId
}
