//! Usage of a period: the caller's own, a class's or the whole tenant's, as JSON and as CSV.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use protocol::{
    ClassId, UserId,
    api::usage::{MAX_USAGE_DAYS, UsageGroup, UsageReport},
};
use serde::Deserialize;
use time::{Date, Duration};
use utoipa::IntoParams;

use super::{
    error::{ApiError, Result},
    extract::{Query, Signed},
};
use crate::{
    authz::{Action, authorize},
    core::{App, Core},
    db::Scope,
    usage::{
        csv::write_csv,
        day_of,
        query::{self, Filter, Period},
    },
};

time::serde::format_description!(iso_date, Date, "[year]-[month]-[day]");

/// Days of a report that names none, with today.
const DEFAULT_DAYS: i64 = 30;
/// No usage is older, and the database has no days of all years.
const MIN_YEAR: i32 = 2000;

/// Which usage.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// The first day, in UTC. Absent: 29 days before the last one.
    #[serde(default, with = "iso_date::option")]
    #[param(value_type = Option<String>, format = Date, example = "2026-03-02")]
    from: Option<Date>,
    /// The last day, in UTC. Absent: today.
    #[serde(default, with = "iso_date::option")]
    #[param(value_type = Option<String>, format = Date, example = "2026-03-08")]
    to: Option<Date>,
    /// What the rows are for. Absent: workspaces.
    #[serde(default)]
    by: UsageGroup,
    /// Usage of the whole organisation. For owners and auditors. Otherwise it is the caller's own.
    #[serde(default)]
    everyone: bool,
    /// Usage of the workspaces of this class. For its teacher, owners and auditors.
    #[serde(default)]
    class: Option<ClassId>,
    /// Only the workspaces of this user, with `everyone` or `class`.
    #[serde(default)]
    user: Option<UserId>,
}

/// Get usage
///
/// Time of machines, sizes of homes and bytes of the network in a period of at most 400 days: the caller's
/// own, of a class, or of everyone. Running workspaces count up to the last report of their runner, homes
/// up to the last full hour. What was used stays when workspaces, classes and users are deleted.
#[utoipa::path(
    get,
    path = "/usage",
    tag = "usage",
    params(UsageQuery),
    responses((status = 200, body = UsageReport, description = "What was used")),
    extensions(("x-problem-codes" = json!(["not_found"]))),
)]
pub async fn get_usage(
    State(app): State<App>,
    signed: Signed,
    Query(query): Query<UsageQuery>,
) -> Result<Json<UsageReport>> {
    read(&app, &signed, &query).await.map(Json)
}

/// Export usage as CSV
///
/// The rows of `get_usage` as a table with a heading, for spreadsheets. A name that a spreadsheet would take
/// for a formula begins with `'`.
#[utoipa::path(
    get,
    path = "/usage/export",
    tag = "usage",
    params(UsageQuery),
    responses((status = 200, body = String, content_type = "text/csv", description = "The table")),
    extensions(("x-problem-codes" = json!(["not_found"]))),
)]
pub async fn export_usage(
    State(app): State<App>,
    signed: Signed,
    Query(query): Query<UsageQuery>,
) -> Result<Response> {
    let report = read(&app, &signed, &query).await?;
    let file = format!("attachment; filename=\"usage-{}-{}.csv\"", report.from, report.to);
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, file)];
    Ok((headers, write_csv(&report)).into_response())
}

async fn read(app: &Core, signed: &Signed, query: &UsageQuery) -> Result<UsageReport> {
    let period = choose_period(query.from, query.to, day_of(app.now()))?;
    let (mut scope, filter) = open(app, signed, query).await?;
    Ok(query::report(&mut scope, period, filter, query.by).await?)
}

fn choose_period(from: Option<Date>, to: Option<Date>, today: Date) -> Result<Period> {
    let to = to.unwrap_or(today);
    let from = from.unwrap_or_else(|| to.saturating_sub(Duration::days(DEFAULT_DAYS - 1)));
    if from.year() < MIN_YEAR {
        return Err(ApiError::invalid("from", "Use days from 2000-01-01 on."));
    }
    if from > to {
        return Err(ApiError::invalid("from", "The first day must not be after the last one."));
    }
    if (to - from).whole_days() >= MAX_USAGE_DAYS {
        return Err(ApiError::invalid("from", "A period has at most 400 days."));
    }
    Ok(Period { from, to })
}

/// Authorizes the caller for what the query names.
async fn open(app: &Core, signed: &Signed, query: &UsageQuery) -> Result<(Scope, Filter)> {
    let caller = signed.caller();
    let filter = Filter { user: query.user, class: query.class };
    if query.everyone {
        return Ok((app.db.scope(authorize(caller, Action::ReadUsage)?).await?, filter));
    }
    let mut scope = app.db.scope(authorize(caller, Action::UseWorkspaces)?).await?;
    match (query.class, query.user) {
        (Some(class), _) => {
            let facts = query::find_class(&mut scope, class).await?;
            let facts = facts.ok_or_else(|| ApiError::not_found("class"))?;
            authorize(caller, Action::ReadClassUsage(facts)).map_err(|_| ApiError::not_found("class"))?;
            Ok((scope, filter))
        }
        (None, Some(user)) if user != caller.user => {
            Err(ApiError::invalid("user", "Use it with `everyone` or `class`."))
        }
        (None, _) => Ok((scope, Filter { user: Some(caller.user), class: None })),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    #[test]
    fn period_has_defaults_and_bounds() {
        let today = date!(2026 - 03 - 30);
        let choose = |from, to| choose_period(from, to, today).ok();
        assert_eq!(choose(None, None), Some(Period { from: date!(2026 - 03 - 01), to: today }));
        let day = Some(date!(2026 - 01 - 01));
        assert_eq!(choose(day, day), Some(Period { from: date!(2026 - 01 - 01), to: date!(2026 - 01 - 01) }));
        assert_eq!(choose(Some(date!(2026 - 03 - 31)), None), None);
        let longest = today - Duration::days(MAX_USAGE_DAYS - 1);
        assert_eq!(choose(Some(longest), None), Some(Period { from: longest, to: today }));
        assert_eq!(choose(longest.previous_day(), None), None);
        assert_eq!(choose(None, Some(Date::MIN)), None);
    }
}
