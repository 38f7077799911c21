//! `burrow grow`: a larger home.

use clap::Args;
use protocol::api::workspace::EditWorkspace;

use super::workspace::{self, WorkspaceArgument};
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind},
};

/// Make the home of a workspace larger
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow grow demo 20G   # to 20 GiB
  burrow grow demo +5G   # by 5 GiB

Works while the workspace is running. A home cannot become smaller.")]
pub struct Grow {
    #[command(flatten)]
    pub target: WorkspaceArgument,
    /// New size, such as 512M, 20G or 1T; with a leading +, the size to add
    #[arg(value_parser = parse_size_change, allow_hyphen_values = true)]
    pub size: SizeChange,
}

impl Grow {
    /// Grows the home, or says that it already has the size.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find(&server, &self.target.workspace).await?;
        let name = &workspace.name;
        let old = workspace.resources.home_mib;
        let new = self.size.apply_to(old).ok_or_else(|| {
            CommandError::new(ErrorKind::Usage, "Cannot grow the home: the size is too large")
        })?;
        let text = |mib: u32| output::size(u64::from(mib) << 20);
        if new < old {
            let what = format!("Cannot shrink the home of {name}: it has {}", text(old));
            let error = CommandError::new(ErrorKind::Usage, what);
            return Err(match self.size {
                SizeChange::To(_) => error.hint(format!("burrow grow {name} +5G makes it larger")),
                SizeChange::By(_) => error,
            });
        }
        if new == old {
            context.output.say(&format!("The home of {name} already has {}", text(old)));
            return workspace::print_record(context, &workspace);
        }
        let request = EditWorkspace { home_mib: Some(new), ..EditWorkspace::default() };
        let grown = server.edit_workspace(workspace.id, &request).await?;
        let (name, new) = (&grown.name, grown.resources.home_mib);
        context.output.say(&format!("The home of {name}: {} → {}", text(old), text(new)));
        workspace::print_record(context, &grown)
    }
}

/// The size that a home gets, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeChange {
    /// The new size.
    To(u32),
    /// The size to add.
    By(u32),
}

impl SizeChange {
    /// The size of a home that has `home_mib` now. None: the result overflows.
    pub fn apply_to(self, home_mib: u32) -> Option<u32> {
        match self {
            Self::To(mib) => Some(mib),
            Self::By(mib) => home_mib.checked_add(mib),
        }
    }
}

/// Parses "20G", "+5G" or "512MiB".
fn parse_size_change(text: &str) -> Result<SizeChange, String> {
    let (change, size): (fn(u32) -> SizeChange, &str) = match text.strip_prefix('+') {
        Some(size) => (SizeChange::By, size),
        None => (SizeChange::To, text),
    };
    let (number, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
    let factor: u32 = match unit.to_ascii_lowercase().as_str() {
        "m" | "mib" => 1,
        "g" | "gib" => 1024,
        "t" | "tib" => 1024 * 1024,
        "" if !number.is_empty() => return Err("the unit is missing: M, G or T".to_owned()),
        _ => return Err("expected a size such as 20G, 512M or +5G".to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| "expected a size such as 20G, 512M or +5G".to_owned())?;
    match number.checked_mul(factor) {
        None => Err("the size is too large".to_owned()),
        Some(0) => Err("the size must be greater than zero".to_owned()),
        Some(mib) => Ok(change(mib)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_units() {
        for (text, change) in [
            ("20G", SizeChange::To(20 * 1024)),
            ("512M", SizeChange::To(512)),
            ("1t", SizeChange::To(1024 * 1024)),
            ("20GiB", SizeChange::To(20 * 1024)),
            ("+5G", SizeChange::By(5 * 1024)),
        ] {
            assert_eq!(parse_size_change(text), Ok(change), "{text}");
        }
        for text in ["", "20", "G", "+", "-5G", "1.5G", "0G", "20GB", "5 G", "4294967295G", "99999999999G"] {
            assert!(parse_size_change(text).is_err(), "{text}");
        }
    }

    #[test]
    fn changes_apply_to_present_size() {
        assert_eq!(SizeChange::To(20).apply_to(10), Some(20));
        assert_eq!(SizeChange::By(20).apply_to(10), Some(30));
        assert_eq!(SizeChange::By(u32::MAX).apply_to(1), None);
    }
}
