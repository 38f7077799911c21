//! Classes: rosters, invitations, start and stop of all.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
};
use protocol::{
    ClassId, Code, WorkspaceId,
    api::class::{Class, ClassAction, ClassActionError, ClassList, InvitationLink, NewClass, RosterResult},
};
use uuid::Uuid;

use super::{
    error::{ApiError, Result, violated},
    extract::{Input, Params, Signed},
    workspaces::{DEFAULT_TEMPLATE, NAME_RULE, change},
};
use crate::{
    audit,
    authz::{Action, Allowed, Caller, authorize},
    classes::{
        self, invitations,
        members::{self, MemberRow, Outcome},
        roster as rosters,
    },
    core::{App, Core},
    lifecycle::Event,
    workspaces::create::is_name,
};

/// The own classes; all of the tenant for its owner.
#[utoipa::path(get, path = "/classes", tag = "classes",
    responses((status = 200, body = ClassList), (status = 403, body = protocol::Problem)))]
pub async fn list(State(app): State<App>, signed: Signed) -> Result<Json<ClassList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseClasses)?).await?;
    Ok(Json(ClassList { classes: classes::list(&mut scope).await? }))
}

/// A new class, with nobody in it.
#[utoipa::path(post, path = "/classes", tag = "classes", request_body = NewClass,
    responses((status = 201, body = Class), (status = 409, body = protocol::Problem), (status = 422, body = protocol::Problem)))]
pub async fn create(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<NewClass>,
) -> Result<(StatusCode, Json<Class>)> {
    if !is_name(&request.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseClasses)?).await?;
    let template = request.template.as_deref().unwrap_or(DEFAULT_TEMPLATE);
    let class = classes::insert(&mut scope, &request.name, template).await.map_err(|error| {
        if violated(&error) == Some("classes_name") {
            return ApiError::new(Code::NameTaken, format!("You have a class `{}`.", request.name));
        }
        let database = error.as_database_error();
        if database.is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation) {
            return ApiError::invalid("template", "There is no such template.");
        }
        error.into()
    })?;
    audit::write(&mut scope, "class.create", &class.to_string(), serde_json::json!({ "name": request.name }))
        .await?;
    let row = classes::row(&mut scope, class).await?.ok_or_else(|| ApiError::not_found("class"))?;
    let made = classes::describe(&mut scope, row).await?;
    scope.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// One class with its members and their workspaces.
#[utoipa::path(get, path = "/classes/{id}", tag = "classes", params(("id" = ClassId, Path)),
    responses((status = 200, body = Class), (status = 404, body = protocol::Problem)))]
pub async fn get(State(app): State<App>, signed: Signed, Params(id): Params<ClassId>) -> Result<Json<Class>> {
    read(&app, signed.caller(), id).await.map(Json)
}

/// Deletes a class with its members' workspaces.
#[utoipa::path(delete, path = "/classes/{id}", tag = "classes", params(("id" = ClassId, Path)),
    responses((status = 204), (status = 404, body = protocol::Problem)))]
pub async fn delete(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<StatusCode> {
    let (allowed, members) = managed(&app, signed.caller(), id).await?;
    for workspace in members.iter().filter_map(|member| member.workspace_id) {
        change(&app, allowed, WorkspaceId(workspace), Event::Delete, "workspace.delete").await?;
    }
    let mut scope = app.db.scope(allowed).await?;
    classes::delete(&mut scope, id, app.now()).await?;
    audit::write(&mut scope, "class.delete", &id.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds the rows of a CSV (name, e-mail). Bad rows are named; good ones are taken.
#[utoipa::path(post, path = "/classes/{id}/roster", tag = "classes", params(("id" = ClassId, Path)),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = RosterResult), (status = 404, body = protocol::Problem), (status = 413, body = protocol::Problem)))]
pub async fn roster(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<RosterResult>> {
    let text = body.map_err(|_| ApiError::new(Code::TooLarge, "A roster has at most 1 MiB."))?;
    let (allowed, _) = managed(&app, signed.caller(), id).await?;
    let rosters::Roster { entries, mut errors } = rosters::parse(&text);
    let mut scope = app.db.scope(allowed).await?;
    let (mut added, mut unchanged) = (Vec::new(), 0);
    for entry in &entries {
        // Each row by itself, so that the class grows while a long roster is read, and no lock is held for seconds.
        let row = classes::row(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("class"))?;
        match members::add(&mut scope, &row, entry, app.now()).await? {
            Outcome::Added(member) => added.push(*member),
            Outcome::Unchanged => unchanged += 1,
            Outcome::Refused(message) => {
                errors.push(entry.error(message));
                // What was begun for the row is taken back with its transaction.
                scope = app.db.scope(allowed).await?;
                continue;
            }
        }
        scope.commit().await?;
        scope = app.db.scope(allowed).await?;
    }
    errors.sort_by_key(|error| error.line);
    let detail = serde_json::json!({ "added": added.len(), "errors": errors.len() });
    audit::write(&mut scope, "class.roster", &id.to_string(), detail).await?;
    let row = classes::row(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("class"))?;
    let class = classes::describe(&mut scope, row).await?;
    scope.commit().await?;
    Ok(Json(RosterResult { class, added, unchanged, errors }))
}

/// Puts every member's workspace in the queue to run.
#[utoipa::path(post, path = "/classes/{id}/start", tag = "classes", params(("id" = ClassId, Path)),
    responses((status = 200, body = ClassAction), (status = 404, body = protocol::Problem)))]
pub async fn start(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<Json<ClassAction>> {
    for_all(&app, signed.caller(), id, Event::Start, "workspace.start").await.map(Json)
}

/// Stops every member's workspace; homes are persisted first.
#[utoipa::path(post, path = "/classes/{id}/stop", tag = "classes", params(("id" = ClassId, Path)),
    responses((status = 200, body = ClassAction), (status = 404, body = protocol::Problem)))]
pub async fn stop(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<Json<ClassAction>> {
    for_all(&app, signed.caller(), id, Event::Stop, "workspace.stop").await.map(Json)
}

/// Takes a member out of the class and deletes the workspace made for it.
#[utoipa::path(delete, path = "/classes/{id}/members/{member}", tag = "classes",
    params(("id" = ClassId, Path), ("member" = Uuid, Path)),
    responses((status = 204), (status = 404, body = protocol::Problem)))]
pub async fn remove_member(
    State(app): State<App>,
    signed: Signed,
    Params((id, member)): Params<(ClassId, Uuid)>,
) -> Result<StatusCode> {
    let (allowed, members) = managed(&app, signed.caller(), id).await?;
    let found = find(members, member)?;
    if let Some(workspace) = found.workspace_id {
        change(&app, allowed, WorkspaceId(workspace), Event::Delete, "workspace.delete").await?;
    }
    let mut scope = app.db.scope(allowed).await?;
    members::remove(&mut scope, member).await?;
    audit::write(&mut scope, "class.member.remove", &member.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new invitation link for a member; the earlier one is void.
#[utoipa::path(post, path = "/classes/{id}/members/{member}/invitation", tag = "classes",
    params(("id" = ClassId, Path), ("member" = Uuid, Path)),
    responses((status = 200, body = InvitationLink), (status = 404, body = protocol::Problem)))]
pub async fn invite_again(
    State(app): State<App>,
    signed: Signed,
    Params((id, member)): Params<(ClassId, Uuid)>,
) -> Result<Json<InvitationLink>> {
    let (allowed, members) = managed(&app, signed.caller(), id).await?;
    let found = find(members, member)?;
    let mut scope = app.db.scope(allowed).await?;
    let user = protocol::UserId(found.user_id);
    let link = invitations::make(&mut scope, member, user, app.now()).await?;
    audit::write(&mut scope, "class.member.invite", &member.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(Json(link))
}

/// The class, for those who manage it.
pub async fn read(app: &Core, caller: &Caller, id: ClassId) -> Result<Class> {
    let (allowed, _) = managed(app, caller, id).await?;
    let mut scope = app.db.scope(allowed).await?;
    let row = classes::row(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("class"))?;
    Ok(classes::describe(&mut scope, row).await?)
}

/// Leave to manage a class, and its members. One that is another's is not there.
async fn managed(app: &Core, caller: &Caller, id: ClassId) -> Result<(Allowed, Vec<MemberRow>)> {
    let mut scope = app.db.scope(authorize(caller, Action::UseClasses)?).await?;
    let row = classes::row(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("class"))?;
    let allowed = authorize(caller, Action::ManageClass(row.facts(caller.tenant)))
        .map_err(|_| ApiError::not_found("class"))?;
    Ok((allowed, members::list(&mut scope, id).await?))
}

fn find(members: Vec<MemberRow>, member: Uuid) -> Result<MemberRow> {
    members.into_iter().find(|row| row.member_id == member).ok_or_else(|| ApiError::not_found("member"))
}

/// One wish for all; who cannot follow is named, and the others do.
async fn for_all(
    app: &Core,
    caller: &Caller,
    id: ClassId,
    event: Event,
    action: &str,
) -> Result<ClassAction> {
    let (allowed, members) = managed(app, caller, id).await?;
    let mut done = ClassAction { begun: 0, unchanged: 0, failed: vec![] };
    for member in members {
        let changed = match member.workspace_id {
            Some(workspace) => change(app, allowed, WorkspaceId(workspace), event.clone(), action).await,
            None => Err(ApiError::not_found("workspace")),
        };
        match changed {
            Ok(true) => done.begun += 1,
            Ok(false) => done.unchanged += 1,
            Err(error) => done.failed.push(ClassActionError {
                member: member.member_id,
                name: member.name,
                message: error.detail().to_owned(),
            }),
        }
    }
    Ok(done)
}
