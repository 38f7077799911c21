//! `burrow admin disk`: what is used of the server's disk, and by whom.

use clap::Args;
use protocol::api::disk::{DiskKindUsage, DiskReport, DiskUserUsage, DiskWrites};

use crate::{
    context::Context,
    output::{self, CommandError, Record, size},
};

/// Show what is used of the server's disk, by kind and by user
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow admin disk
  burrow admin disk -o json

The use is measured every minute or so. A user whose writes are slowed or wait has written more than the
object store has taken so far; others are not affected.")]
pub struct Disk {}

impl Disk {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let report = context.server()?.disk_usage().await?;
        if !context.output.format.is_human() {
            return context.output.one(&report);
        }
        context.output.one(&report)?;
        output::line("")?;
        context.output.list(&report.kinds)?;
        output::line("")?;
        context.output.list(&report.users)
    }
}

/// A size, or a dash if there is none.
fn optional(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), size)
}

impl Record for DiskReport {
    const COLUMNS: &'static [&'static str] = &[
        "disk",
        "free",
        "for the database",
        "used by burrow",
        "budget",
        "room",
        "your users",
        "their limit",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            size(self.total_bytes),
            size(self.free_bytes),
            size(self.reserve_bytes),
            size(self.used_bytes),
            optional(self.budget_bytes),
            size(self.room_bytes),
            size(self.used_by_tenant_bytes),
            optional(self.tenant_limit_bytes),
        ]
    }

    fn name(&self) -> String {
        self.room_bytes.to_string()
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

impl Record for DiskKindUsage {
    const COLUMNS: &'static [&'static str] = &["kind", "size"];

    fn cells(&self) -> Vec<String> {
        vec![self.kind.name().to_owned(), size(self.bytes)]
    }

    fn name(&self) -> String {
        self.kind.name().to_owned()
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

impl Record for DiskUserUsage {
    const COLUMNS: &'static [&'static str] =
        &["user", "caches", "scratch", "objects", "used", "limit", "not uploaded", "may be", "writes"];

    fn cells(&self) -> Vec<String> {
        let writes = match self.writes {
            DiskWrites::Free => "free",
            DiskWrites::Slowed => "slowed",
            DiskWrites::Waiting => "waiting",
        };
        vec![
            output::printable(&self.name),
            size(self.cache_bytes),
            size(self.scratch_bytes),
            size(self.object_bytes),
            size(self.used_bytes),
            optional(self.limit_bytes),
            size(self.unsaved_bytes),
            optional(self.max_unsaved_bytes),
            writes.to_owned(),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.user.to_string()
    }
}
