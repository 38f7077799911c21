//! Reads usage for a report.

use std::collections::HashMap;

use protocol::{
    ClassId, UserId,
    api::usage::{MAX_USAGE_ROWS, UsageAmounts, UsageGroup, UsageReport, UsageRow},
};
use time::Date;
use uuid::Uuid;

use super::counters::MAX_AMOUNT;
use crate::{authz::ClassFacts, db::Scope};

/// Days, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub from: Date,
    pub to: Date,
}

/// Whose usage. None does not restrict it within the tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub user: Option<UserId>,
    pub class: Option<ClassId>,
}

/// Reads the usage of a period. The caller of the scope must be allowed to see it.
pub async fn report(
    scope: &mut Scope,
    period: Period,
    filter: Filter,
    by: UsageGroup,
) -> Result<UsageReport, sqlx::Error> {
    let mut total = UsageAmounts::default();
    let mut rows = Vec::new();
    for (key, amounts) in read_amounts(scope, period, filter, by).await? {
        match key {
            Key::Total => total = amounts,
            key => rows.push((key, amounts)),
        }
    }
    let is_truncated = rows.len() > MAX_USAGE_ROWS;
    rows.truncate(MAX_USAGE_ROWS);
    let rows = match by {
        UsageGroup::Day => fill_days(period, rows),
        _ => name_rows(scope, by, rows).await?,
    };
    Ok(UsageReport { from: period.from, to: period.to, by, total, rows, is_truncated })
}

/// What a sum is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Total,
    Day(Date),
    /// A workspace, user or class. None: no class.
    Id(Option<Uuid>),
}

async fn read_amounts(
    scope: &mut Scope,
    period: Period,
    filter: Filter,
    by: UsageGroup,
) -> Result<Vec<(Key, UsageAmounts)>, sqlx::Error> {
    let tenant = scope.tenant();
    let rows = sqlx::query!(
        r#"select grouping(id) = 1 as "is_total!", id, max(day) as day,
                  least(div(coalesce(sum(machine_ms), 0), 1000), $7::bigint)::bigint as "machine_seconds!",
                  least(div(coalesce(sum(vcpu_ms), 0), 1000), $7::bigint)::bigint as "vcpu_seconds!",
                  least(div(coalesce(sum(home_byte_hours), 0), 24), $7::bigint)::bigint as "home_byte_days!",
                  least(div(coalesce(sum(stored_byte_hours), 0), 24), $7::bigint)::bigint
                      as "stored_byte_days!",
                  least(coalesce(sum(sent_bytes), 0), $7::bigint)::bigint as "sent_bytes!",
                  least(coalesce(sum(received_bytes), 0), $7::bigint)::bigint as "received_bytes!"
           from (select case $6::text when 'workspace' then workspace_id::text when 'user' then user_id::text
                          when 'class' then coalesce(class_id::text, '') else day::text end as id, *
                 from usage_days
                 where tenant_id = $1 and day between $2 and $3 and ($4::uuid is null or user_id = $4)
                     and ($5::uuid is null or class_id = $5)) used
           group by grouping sets ((id), ())
           order by grouping(id) desc, sum(machine_ms) desc, sum(stored_byte_hours) desc, id limit $8"#,
        tenant,
        period.from,
        period.to,
        filter.user.map(|user| user.0),
        filter.class.map(|class| class.0),
        by.as_str(),
        MAX_AMOUNT.cast_signed(),
        // The total, and one row more than is listed.
        MAX_USAGE_ROWS as i64 + 2,
    )
    .fetch_all(scope.connection())
    .await?;
    let amounts = rows.into_iter().map(|row| {
        let key = match (row.is_total, row.day) {
            (true, _) => Key::Total,
            (false, Some(day)) if by == UsageGroup::Day => Key::Day(day),
            (false, _) => Key::Id(row.id.and_then(|id| id.parse().ok())),
        };
        let amounts = UsageAmounts {
            machine_seconds: row.machine_seconds.unsigned_abs(),
            vcpu_seconds: row.vcpu_seconds.unsigned_abs(),
            home_byte_days: row.home_byte_days.unsigned_abs(),
            stored_byte_days: row.stored_byte_days.unsigned_abs(),
            sent_bytes: row.sent_bytes.unsigned_abs(),
            received_bytes: row.received_bytes.unsigned_abs(),
        };
        (key, amounts)
    });
    Ok(amounts.collect())
}

/// One row for each day of the period, in their order.
fn fill_days(period: Period, used: Vec<(Key, UsageAmounts)>) -> Vec<UsageRow> {
    let days = std::iter::successors(Some(period.from), |day| day.next_day().filter(|day| *day <= period.to));
    let row = |day: Date| {
        let amounts = used.iter().find(|(key, _)| *key == Key::Day(day)).map(|(_, amounts)| *amounts);
        let key = day.to_string();
        UsageRow { name: key.clone(), key, owner: None, amounts: amounts.unwrap_or_default() }
    };
    days.map(row).collect()
}

/// Adds names. What is deleted keeps its name as long as its row exists.
async fn name_rows(
    scope: &mut Scope,
    by: UsageGroup,
    used: Vec<(Key, UsageAmounts)>,
) -> Result<Vec<UsageRow>, sqlx::Error> {
    let mut names = read_names(scope, by, &used).await?;
    let row = |(key, amounts)| {
        let Key::Id(id) = key else { unreachable!("days have no names") };
        let Some(id) = id else {
            return UsageRow { key: String::new(), name: "No class".to_owned(), owner: None, amounts };
        };
        let (name, owner) = names.remove(&id).unwrap_or_else(|| (id.to_string(), None));
        UsageRow { key: id.to_string(), name, owner, amounts }
    };
    let mut rows: Vec<UsageRow> = used.into_iter().map(row).collect();
    rows.sort_by(|one, other| {
        let time = |row: &UsageRow| (row.amounts.machine_seconds, row.amounts.stored_byte_days);
        time(other)
            .cmp(&time(one))
            .then_with(|| one.name.cmp(&other.name))
            .then_with(|| one.key.cmp(&other.key))
    });
    Ok(rows)
}

/// Name and owner of workspaces, or names of users or classes.
async fn read_names(
    scope: &mut Scope,
    by: UsageGroup,
    used: &[(Key, UsageAmounts)],
) -> Result<HashMap<Uuid, (String, Option<String>)>, sqlx::Error> {
    let tenant = scope.tenant();
    let ids: Vec<Uuid> =
        used.iter().filter_map(|(key, _)| if let Key::Id(id) = key { *id } else { None }).collect();
    let rows = sqlx::query!(
        r#"select w.workspace_id as "id!", w.name as "name!", u.email as owner
           from workspaces w join users u on u.tenant_id = w.tenant_id and u.user_id = w.owner_id
           where w.tenant_id = $1 and $2::text = 'workspace' and w.workspace_id = any($3)
           union all select user_id, email, null from users
           where tenant_id = $1 and $2 = 'user' and user_id = any($3)
           union all select class_id, name, null from classes
           where tenant_id = $1 and $2 = 'class' and class_id = any($3)"#,
        tenant,
        by.as_str(),
        &ids,
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, (row.name, row.owner))).collect())
}

/// The facts of a class, also of one that is deleted: its usage stays. None if there never was one.
pub async fn find_class(scope: &mut Scope, class: ClassId) -> Result<Option<ClassFacts>, sqlx::Error> {
    let tenant = scope.caller().tenant;
    let teacher = sqlx::query_scalar!(
        "select teacher_id from classes where tenant_id = $1 and class_id = $2",
        tenant.0,
        class.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(teacher.map(|teacher| ClassFacts { tenant, teacher: UserId(teacher) }))
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    #[test]
    fn days_without_usage_have_rows() {
        let period = Period { from: date!(2026 - 02 - 27), to: date!(2026 - 03 - 02) };
        let amounts = UsageAmounts { machine_seconds: 5, ..UsageAmounts::default() };
        let rows = fill_days(period, vec![(Key::Day(date!(2026 - 03 - 01)), amounts)]);
        let seconds: Vec<_> =
            rows.iter().map(|row| (row.key.as_str(), row.amounts.machine_seconds)).collect();
        assert_eq!(seconds, [("2026-02-27", 0), ("2026-02-28", 0), ("2026-03-01", 5), ("2026-03-02", 0)]);
    }
}
