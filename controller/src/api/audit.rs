//! The audit log of the tenant: search, export, verification and retention.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use protocol::{
    Code, TenantId,
    api::audit::{AuditEntry, AuditOutcome, AuditPage, AuditRetention, AuditVerification, MAX_AUDIT_PAGE},
};
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa::IntoParams;

use super::{
    browse::{Sender, download, send},
    error::{ApiError, Result},
    extract::{Input, Query, Signed},
};
use crate::{
    audit::{
        self,
        maintenance::{self, MaintenanceError},
        query::{self, Filter, Position},
    },
    authz::{Action, Allowed, authorize},
    core::{App, Core},
    snapshots::browser::BrowseError,
};

const DEFAULT_PAGE: u32 = 100;
/// Entries that an export reads at once.
const EXPORT_BATCH: i64 = 1000;
/// Longest text in a filter.
const MAX_FILTER_BYTES: usize = 300;
const MIN_DAYS: u32 = 30;
const MAX_DAYS: u32 = 3650;

/// Which entries. Absent parameters do not restrict them.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditFilter {
    /// Id or email address of the user who acted.
    #[serde(default)]
    actor: Option<String>,
    /// An action such as `workspace.start`, or all that begin so: `workspace.`.
    #[serde(default)]
    action: Option<String>,
    /// What it was done to: an id or a path, as in the entries.
    #[serde(default)]
    subject: Option<String>,
    /// `allowed` or `refused`.
    #[serde(default)]
    outcome: Option<AuditOutcome>,
    /// Not before this instant.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// Before this instant.
    #[serde(default, with = "time::serde::rfc3339::option")]
    until: Option<OffsetDateTime>,
}

/// Which page.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditPosition {
    /// Newest first, from the entry before the one with this number.
    #[serde(default)]
    before: Option<u64>,
    /// Oldest first, from the entry after the one with this number.
    #[serde(default)]
    after: Option<u64>,
    /// 1 to 500; absent: 100.
    #[serde(default)]
    limit: Option<u32>,
}

impl AuditFilter {
    fn into_filter(self) -> Result<Filter> {
        for (field, text) in [("actor", &self.actor), ("action", &self.action), ("subject", &self.subject)] {
            if text.as_ref().is_some_and(|text| text.len() > MAX_FILTER_BYTES) {
                return Err(ApiError::invalid(field, "Use at most 300 characters."));
            }
        }
        let actor = self.actor.as_deref().and_then(|actor| actor.parse().ok());
        Ok(Filter {
            actor,
            actor_email: self.actor.filter(|_| actor.is_none()),
            action: self.action,
            subject: self.subject,
            outcome: self.outcome,
            from: self.from,
            until: self.until,
        })
    }
}

impl AuditPosition {
    fn position(self) -> Position {
        let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        match (self.before, self.after) {
            (_, Some(after)) => Position::After(number(after)),
            (before, None) => Position::Before(before.map_or(i64::MAX, number)),
        }
    }
}

/// List entries of the audit log
///
/// For owners and auditors. Without `after`, the newest entries come first; the next page begins with
/// `before` and the number of the last one. With `after`, the oldest come first, to follow the log.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "audit",
    params(AuditFilter, AuditPosition),
    responses((status = 200, body = AuditPage, description = "A page of entries")),
)]
pub async fn list_audit_entries(
    State(app): State<App>,
    signed: Signed,
    Query(filter): Query<AuditFilter>,
    Query(page): Query<AuditPosition>,
) -> Result<Json<AuditPage>> {
    let allowed = authorize(signed.caller(), Action::ReadAudit)?;
    let limit = page.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_AUDIT_PAGE).contains(&limit) {
        return Err(ApiError::invalid("limit", "Use 1 to 500."));
    }
    let limit = limit as usize;
    let mut entries = list(&app, allowed, &filter.into_filter()?, page.position(), limit as i64 + 1).await?;
    let has_more = entries.len() > limit;
    entries.truncate(limit);
    Ok(Json(AuditPage { entries, has_more }))
}

async fn list(
    app: &Core,
    allowed: Allowed,
    filter: &Filter,
    position: Position,
    limit: i64,
) -> std::result::Result<Vec<AuditEntry>, sqlx::Error> {
    let mut scope = app.db.scope(allowed).await?;
    let tenant = TenantId(scope.tenant());
    query::list(scope.connection(), tenant, filter, position, limit).await
}

/// Export the audit log
///
/// For owners and auditors. Streams the entries as JSON lines, the oldest first. Without a filter, the
/// lines can be verified without the server: `burrow audit verify --file`. The export is itself recorded.
#[utoipa::path(
    get,
    path = "/audit/export",
    tag = "audit",
    params(AuditFilter),
    responses((
        status = 200,
        content_type = "application/x-ndjson",
        body = AuditEntry,
        description = "One entry in each line",
    )),
)]
pub async fn export_audit_log(
    State(app): State<App>,
    signed: Signed,
    Query(filter): Query<AuditFilter>,
) -> Result<Response> {
    let allowed = authorize(signed.caller(), Action::ReadAudit)?;
    let filter = filter.into_filter()?;
    let mut scope = app.db.scope(allowed).await?;
    let tenant = TenantId(scope.tenant());
    audit::write(&mut scope, "audit.export", &tenant.to_string(), serde_json::json!({})).await?;
    let head = query::find_head(scope.connection(), tenant).await?.map_or(0, |head| head.seq);
    scope.commit().await?;
    let core = app.clone();
    let mut response = download(&app, "audit export", "audit.jsonl", async move |sender| {
        send_entries(&core, allowed, &filter, head, &sender).await;
    });
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// Sends the entries up to this one. An error aborts the response.
async fn send_entries(core: &Core, allowed: Allowed, filter: &Filter, up_to: i64, sender: &Sender) {
    let mut after = 0;
    loop {
        let batch = match list(core, allowed, filter, Position::After(after), EXPORT_BATCH).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "cannot read the audit log for an export");
                let failed = BrowseError::ReaderFailed("the database failed".to_owned());
                send(sender, Err(failed)).await;
                return;
            }
        };
        let mut lines = Vec::new();
        for entry in batch.iter().filter(|entry| entry.seq <= up_to.unsigned_abs()) {
            serde_json::to_writer(&mut lines, entry).expect("plain data");
            lines.push(b'\n');
        }
        let Some(last) = batch.last() else { return };
        after = last.seq.cast_signed();
        if lines.is_empty() || !send(sender, Ok(Bytes::from(lines))).await {
            return;
        }
    }
}

/// Verify the audit log
///
/// For owners and auditors. Reads all entries, computes their hashes again, and compares them with the
/// anchors in the object store. One verification runs at a time.
#[utoipa::path(
    post,
    path = "/audit/verify",
    tag = "audit",
    responses((status = 200, body = AuditVerification, description = "What was found")),
    extensions(("x-problem-codes" = json!(["conflict", "unavailable"]))),
)]
pub async fn verify_audit_log(State(app): State<App>, signed: Signed) -> Result<Json<AuditVerification>> {
    authorize(signed.caller(), Action::ReadAudit)?;
    Ok(Json(maintenance::verify(&app, signed.caller().tenant).await?))
}

/// Get the retention of the audit log
#[utoipa::path(
    get,
    path = "/audit/retention",
    tag = "audit",
    responses((status = 200, body = AuditRetention, description = "How long entries are kept")),
)]
pub async fn get_audit_retention(State(app): State<App>, signed: Signed) -> Result<Json<AuditRetention>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ReadAudit)?).await?;
    let tenant = TenantId(scope.tenant());
    let days = query::find_retention_days(scope.connection(), tenant).await?;
    Ok(Json(AuditRetention { days }))
}

/// Set the retention of the audit log
///
/// For owners with a confirmed session. Older entries are removed within minutes; what stays can still be
/// verified.
#[utoipa::path(
    put,
    path = "/audit/retention",
    tag = "audit",
    request_body = AuditRetention,
    responses((status = 200, body = AuditRetention, description = "The new retention")),
    extensions(("x-problem-codes" = json!(["confirmation_required"]))),
)]
pub async fn set_audit_retention(
    State(app): State<App>,
    signed: Signed,
    Input(retention): Input<AuditRetention>,
) -> Result<Json<AuditRetention>> {
    let allowed = authorize(signed.caller(), Action::ManageTenant)?;
    signed.check_confirmed(app.now())?;
    if !(MIN_DAYS..=MAX_DAYS).contains(&retention.days) {
        return Err(ApiError::invalid("days", "Keep entries for 30 to 3650 days."));
    }
    let mut scope = app.db.scope(allowed).await?;
    let tenant = TenantId(scope.tenant());
    let from = query::find_retention_days(scope.connection(), tenant).await?;
    query::set_retention_days(scope.connection(), tenant, retention.days).await?;
    let detail = serde_json::json!({ "from_days": from, "to_days": retention.days });
    audit::write(&mut scope, "audit.retention", &tenant.to_string(), detail).await?;
    scope.commit().await?;
    Ok(Json(retention))
}

impl From<MaintenanceError> for ApiError {
    fn from(error: MaintenanceError) -> Self {
        match error {
            MaintenanceError::Busy => Self::new(Code::Conflict, format!("{error}. Try again in a moment.")),
            MaintenanceError::Store(error) => {
                tracing::error!(%error, "cannot read the anchors of an audit log");
                let detail = "Cannot read the anchors in the object store. Try again in a moment.";
                Self::new(Code::Unavailable, detail).retry_after(10)
            }
            MaintenanceError::Database(error) => error.into(),
        }
    }
}
