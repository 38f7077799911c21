//! Rosters: a list of students becomes members of a class.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
};
use protocol::{
    ClassId, Code,
    api::class::{AddedMember, MissingMember, RosterChange, RosterResult, RosterRow, RowError},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    classes::authorize_class,
    error::{ApiError, Result},
    extract::{Params, Query, Signed},
};
use crate::{
    audit,
    authz::Allowed,
    classes::{
        self,
        members::{self, AddOutcome, MemberRow},
        roster::{
            self, Entry, Roster,
            compare::{Change, Comparison, compare},
        },
    },
    core::{App, Core},
};

/// The parameters of a roster.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RosterQuery {
    /// Reports how the roster is understood and what it would change, and changes nothing.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
}

/// Add members from a list
///
/// The body is a file as it is: CSV, tab-separated text, or addresses copied from a mail program, in
/// any usual encoding. The columns are found by their header, or by their content. Valid rows are added,
/// each with an invitation and a workspace; invalid rows are reported with their line. If a list is sent
/// again, corrected names and addresses are applied, and no student is added twice. With `dry_run`, nothing
/// is changed.
#[utoipa::path(
    post,
    path = "/classes/{id}/roster",
    tag = "classes",
    request_body(content = String, content_type = "text/csv"),
    params(
        ("id" = ClassId, Path, description = "The class."),
        RosterQuery,
    ),
    responses((status = 200, body = RosterResult, description = "What was understood and done")),
    extensions(("x-problem-codes" = json!(["too_large"]))),
)]
pub async fn import_roster(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
    Query(RosterQuery { dry_run }): Query<RosterQuery>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<RosterResult>> {
    let bytes = body.map_err(|_| ApiError::new(Code::TooLarge, "The roster is larger than 1 MiB."))?;
    let (allowed, members) = authorize_class(&app, signed.caller(), id).await?;
    let Roster { mut format, entries, errors } = tokio::task::spawn_blocking(move || roster::parse(&bytes))
        .await
        .map_err(|_| ApiError::internal())?
        .map_err(|cause| ApiError::invalid("roster", &format!("Cannot read the roster: {cause}.")))?;
    let known: Vec<_> = members.iter().map(MemberRow::known).collect();
    let Comparison { changes, missing } = compare(&entries, &known);
    let mut import = Import { class: id, dry_run, result: Outcome { errors, ..Outcome::default() } };
    for (entry, change) in entries.iter().zip(changes) {
        import.apply(&app, allowed, entry, change).await?;
    }
    let mut outcome = import.result;
    outcome.errors.sort_by_key(|error| error.line);
    if !dry_run {
        format.text.clear();
    }
    let mut scope = app.db.scope(allowed).await?;
    let row = classes::find(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("class"))?;
    let class = classes::describe(&mut scope, row).await?;
    if !dry_run {
        let detail = serde_json::json!({
            "added": outcome.added.len(),
            "corrected": outcome.corrected.len(),
            "errors": outcome.errors.len(),
        });
        audit::write(&mut scope, "class.roster", &id.to_string(), detail).await?;
    }
    scope.commit().await?;
    Ok(Json(RosterResult {
        class,
        dry_run,
        format,
        rows: outcome.rows,
        added: outcome.added,
        corrected: outcome.corrected,
        unchanged: outcome.unchanged,
        missing: missing
            .into_iter()
            .map(|known| MissingMember { member: known.member, name: known.name, email: known.email })
            .collect(),
        errors: outcome.errors,
    }))
}

/// A roster that is being applied to a class.
struct Import {
    class: ClassId,
    dry_run: bool,
    result: Outcome,
}

/// What the rows so far have come to.
#[derive(Default)]
struct Outcome {
    rows: Vec<RosterRow>,
    added: Vec<AddedMember>,
    corrected: Vec<AddedMember>,
    unchanged: u32,
    errors: Vec<RowError>,
}

impl Import {
    /// Applies one row, in a transaction of its own: the class grows while a long roster is read, and no
    /// lock is held for seconds.
    async fn apply(&mut self, app: &Core, allowed: Allowed, entry: &Entry, change: Change) -> Result<()> {
        let (kind, previous) = match &change {
            Change::Add => (RosterChange::Added, None),
            Change::Keep => (RosterChange::Unchanged, None),
            Change::Rename { from, .. } => (RosterChange::NameCorrected, Some(from.clone())),
            Change::Readdress { from, .. } => (RosterChange::EmailCorrected, Some(from.clone())),
            Change::Refuse(message) => {
                self.result.errors.push(entry.error(message.as_str()));
                return Ok(());
            }
        };
        let mut change_applied = kind;
        if !self.dry_run && kind != RosterChange::Unchanged {
            let mut scope = app.db.scope(allowed).await?;
            let class = classes::find(&mut scope, self.class).await?;
            let class = class.ok_or_else(|| ApiError::not_found("class"))?;
            let outcome = match &change {
                Change::Add => members::add(&mut scope, &class, entry, app.now()).await?,
                Change::Readdress { member, .. } => {
                    members::readdress(&mut scope, *member, entry, app.now()).await?
                }
                Change::Rename { member, .. } => {
                    members::rename(&mut scope, *member, &entry.name).await?;
                    AddOutcome::Unchanged
                }
                Change::Keep | Change::Refuse(_) => AddOutcome::Unchanged,
            };
            match (outcome, kind) {
                (AddOutcome::Added(member), RosterChange::EmailCorrected) => {
                    self.result.corrected.push(*member);
                }
                (AddOutcome::Added(member), _) => self.result.added.push(*member),
                // Another request has added it since.
                (AddOutcome::Unchanged, RosterChange::Added) => change_applied = RosterChange::Unchanged,
                (AddOutcome::Unchanged, _) => {}
                (AddOutcome::Rejected(message), _) => {
                    // Drops the transaction with what was created for the row.
                    self.result.errors.push(entry.error(message));
                    return Ok(());
                }
            }
            scope.commit().await?;
        }
        self.result.unchanged += u32::from(change_applied == RosterChange::Unchanged);
        let (name, email) = (entry.name.clone(), entry.email.clone());
        self.result.rows.push(RosterRow { line: entry.line, name, email, change: change_applied, previous });
        Ok(())
    }
}
