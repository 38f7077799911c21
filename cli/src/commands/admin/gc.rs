//! `burrow admin gc`: deletes objects that no kept snapshot needs.

use clap::Args;
use protocol::api::admin::GcReport;

use crate::{
    context::Context,
    output::{self, CommandError, Record, progress::Step},
};

/// Delete objects that no snapshot needs from the object store
#[derive(Debug, Args)]
#[command(
    alias = "collect",
    after_long_help = "\
Examples:
  burrow admin gc
  burrow admin gc -o json

The server does this regularly by itself. An object is deleted once it was found unused twice, some
time apart."
)]
pub struct Gc {}

impl Gc {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let step = Step::begin(context.style, "Collecting unused objects");
        let report = server.run_gc().await?;
        step.done();
        context.output.one(&report)
    }
}

impl Record for GcReport {
    const COLUMNS: &'static [&'static str] =
        &["objects", "size", "unused", "unused size", "deleted", "freed"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.objects.to_string(),
            output::size(self.bytes),
            self.garbage.to_string(),
            output::size(self.garbage_bytes),
            self.deleted.to_string(),
            output::size(self.deleted_bytes),
        ]
    }

    fn name(&self) -> String {
        self.deleted.to_string()
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}
