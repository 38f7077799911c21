//! Enums that are stored as text. One conversion for both directions: an unknown text is an error,
//! never a default.

use protocol::{
    api::{
        audit::AuditOutcome,
        auth::TokenScope,
        budget::BudgetResource,
        port::PortVisibility,
        snapshot::{Consistency, SnapshotKind},
        user::Role,
    },
    workspace::{HomeNotice, Phase, StartPriority, Tier},
};
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef},
};

/// An enum with a name in the database for each variant. A table's check constraint lists the same
/// names.
pub trait TextEnum: Copy + PartialEq + Send + Sync + 'static {
    /// Every variant with its name.
    const NAMES: &'static [(Self, &'static str)];
}

/// A [`TextEnum`] as a column. In a query: `phase as "phase: Text<Phase>"`, and `Text(phase) as _`
/// as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<T: TextEnum> Text<T> {
    /// The name in the database.
    pub fn name(self) -> &'static str {
        let named = T::NAMES.iter().find(|(value, _)| *value == self.0);
        named.expect("every variant has a name").1
    }
}

#[derive(Debug, thiserror::Error)]
#[error("Cannot read {0:?} from the database: unknown {1}. Was it written by a newer version?")]
struct UnknownText(String, &'static str);

impl<T> Type<Postgres> for Text<T> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <str as Type<Postgres>>::compatible(info)
    }
}

impl<'r, T: TextEnum> Decode<'r, Postgres> for Text<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let text = <&str as Decode<Postgres>>::decode(value)?;
        let named = T::NAMES.iter().find(|(_, name)| *name == text);
        let known = named.ok_or_else(|| UnknownText(text.to_owned(), std::any::type_name::<T>()))?;
        Ok(Self(known.0))
    }
}

impl<T: TextEnum> Encode<'_, Postgres> for Text<T> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<Postgres>>::encode(self.name(), buffer)
    }
}

impl TextEnum for Phase {
    const NAMES: &'static [(Self, &'static str)] = &[
        (Self::Queued, "queued"),
        (Self::Provisioning, "provisioning"),
        (Self::Running, "running"),
        (Self::Stopping, "stopping"),
        (Self::Persisting, "persisting"),
        (Self::Terminated, "terminated"),
    ];
}

impl TextEnum for PortVisibility {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Self::Private, "private"), (Self::Members, "members"), (Self::Public, "public")];
}

impl TextEnum for Tier {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Self::Microvm, "microvm"), (Self::Gvisor, "gvisor"), (Self::Container, "container")];
}

impl TextEnum for Role {
    const NAMES: &'static [(Self, &'static str)] = &[
        (Self::Member, "member"),
        (Self::Auditor, "auditor"),
        (Self::Teacher, "teacher"),
        (Self::Owner, "owner"),
    ];
}

impl TextEnum for AuditOutcome {
    const NAMES: &'static [(Self, &'static str)] = &[(Self::Allowed, "allowed"), (Self::Refused, "refused")];
}

impl TextEnum for BudgetResource {
    const NAMES: &'static [(Self, &'static str)] = &[
        (Self::Running, "running"),
        (Self::Vcpus, "vcpus"),
        (Self::Memory, "memory"),
        (Self::Scratch, "scratch"),
        (Self::Starts, "starts"),
        (Self::Workspaces, "workspaces"),
        (Self::Homes, "homes"),
        (Self::History, "history"),
        (Self::Egress, "egress"),
    ];
}

impl TextEnum for StartPriority {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Self::Interactive, "interactive"), (Self::Class, "class"), (Self::Batch, "batch")];
}

impl TextEnum for TokenScope {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Self::Read, "read"), (Self::Workspaces, "workspaces"), (Self::Admin, "admin")];
}

impl TextEnum for SnapshotKind {
    const NAMES: &'static [(Self, &'static str)] =
        &[(Self::Stream, "stream"), (Self::Stop, "stop"), (Self::Requested, "requested")];
}

impl TextEnum for Consistency {
    const NAMES: &'static [(Self, &'static str)] = &[(Self::Crash, "crash"), (Self::Clean, "clean")];
}

impl TextEnum for HomeNotice {
    const NAMES: &'static [(Self, &'static str)] = &[
        (Self::StoreUnavailable, "store_unavailable"),
        (Self::Throttled, "throttled"),
        (Self::HostDiskFull, "host_disk_full"),
        (Self::UploadsPaced, "uploads_paced"),
        (Self::HomeFull, "home_full"),
        (Self::HomeOutOfInodes, "home_out_of_inodes"),
        (Self::OutOfMemory, "out_of_memory"),
        (Self::ProcessLimit, "process_limit"),
        (Self::IdleStop, "idle_stop"),
    ];
}
