//! `admin retention`, `admin collect`, `admin forget-tenant`: what an installation's owner decides.

use protocol::api::{
    admin::{Collected, ForgetTenant as Request},
    snapshot::Retention as Record,
};

use super::Context;
use crate::{
    arguments::{Admin, ForgetTenant, Retention},
    failure::{Failure, Kind},
    output::{self, Shown},
    progress::Step,
    up::rotate,
};

impl Shown for Record {
    const COLUMNS: &'static [&'static str] = &["every one", "one a minute", "one an hour", "one a day"];

    fn cells(&self) -> Vec<String> {
        [self.all_hours, self.minutely_hours, self.hourly_hours, self.daily_hours].map(lasting).to_vec()
    }

    fn name(&self) -> String {
        self.cells().join(" ")
    }

    fn id(&self) -> String {
        Shown::name(self)
    }
}

fn lasting(hours: u32) -> String {
    match hours {
        0 => "not kept".to_owned(),
        hours if hours.is_multiple_of(24) && hours > 24 => format!("for {} days", hours / 24),
        1 => "for 1 hour".to_owned(),
        hours => format!("for {hours} hours"),
    }
}

impl Shown for Collected {
    const COLUMNS: &'static [&'static str] = &["objects", "of size", "unused", "of size", "deleted", "freed"];

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
        Shown::name(self)
    }
}

pub async fn admin(context: &Context, admin: Admin) -> Result<(), Failure> {
    match admin {
        Admin::RotateMasterKey(wanted) => rotate::master_key(context, wanted).await,
        Admin::ForgetTenant(wanted) => forget_tenant(context, &wanted).await,
        Admin::Retention(wanted) => {
            let server = context.server()?;
            let present = server.retention().await?;
            let next = edited(present, &wanted);
            if next == present {
                return context.output.one(&present);
            }
            if is_shorter(next, present) {
                let deed = "lets snapshots of all homes go sooner: those that are too old by it go for good";
                context.confirm(wanted.yes, deed, "retention")?;
            }
            let kept = server.set_retention(&next).await?;
            context.output.say("Snapshots of all homes thin out by it from now on");
            context.output.one(&kept)
        }
        Admin::Collect => {
            let server = context.server()?;
            let step = Step::begin(context.style, "Collecting what no home refers to");
            let collected = server.collect().await?;
            step.done();
            context.output.one(&collected)
        }
    }
}

async fn forget_tenant(context: &Context, wanted: &ForgetTenant) -> Result<(), Failure> {
    let server = context.server()?;
    let user = server.session().await?.user;
    let deed = format!(
        "destroys the key of every home of {}: nothing brings one of them back, no snapshot and no backup",
        user.tenant_name
    );
    // No `--yes`: what cannot be undone is named.
    match &wanted.name {
        Some(name) if *name == user.tenant_name => {}
        Some(_) => {
            return Err(Failure::new(Kind::Usage, "That is another organisation's name; nothing was done"));
        }
        None if !context.asks => {
            return Err(Failure::new(Kind::Usage, format!("This {deed}"))
                .why("it is not done without the organisation's name")
                .next("add --name NAME"));
        }
        None => context.confirm(false, &deed, &user.tenant_name)?,
    }
    let step = Step::begin(context.style, "Ending machines and destroying the key");
    server.forget_tenant(&Request { tenant: user.tenant }).await?;
    step.done();
    context.output.say(&format!("The homes of {} are unreadable from now on", user.tenant_name));
    Ok(())
}

fn edited(present: Record, wanted: &Retention) -> Record {
    Record {
        all_hours: wanted.all_hours.unwrap_or(present.all_hours),
        minutely_hours: wanted.minutely_hours.unwrap_or(present.minutely_hours),
        hourly_hours: wanted.hourly_hours.unwrap_or(present.hourly_hours),
        daily_hours: wanted.daily_hours.unwrap_or(present.daily_hours),
    }
}

/// Whether something goes that would have stayed.
fn is_shorter(next: Record, present: Record) -> bool {
    next.all_hours < present.all_hours
        || next.minutely_hours < present.minutely_hours
        || next.hourly_hours < present.hourly_hours
        || next.daily_hours < present.daily_hours
}
