//! Classes: their members, invitations, start and stop of all. Rosters are in [`super::rosters`].

use axum::{Json, extract::State, http::StatusCode};
use protocol::{
    ClassId, Code, WorkspaceId,
    api::class::{Class, ClassAction, ClassActionError, ClassList, InvitationLink, NewClass},
    workspace::StartPriority,
};
use uuid::Uuid;

use super::{
    access::{apply_event, start},
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::{Action, Allowed, Caller, authorize},
    classes::{
        self, invitations,
        members::{self, MemberRow},
    },
    core::{App, Core},
    db::violated_constraint,
    identity::clean::clean_name,
    lifecycle::Event,
    workspaces::create::DEFAULT_TEMPLATE,
};

/// Longest name of a class.
const MAX_CLASS_NAME_CHARACTERS: usize = 100;

/// List classes
///
/// Teachers see their own, owners all.
#[utoipa::path(
    get,
    path = "/classes",
    tag = "classes",
    responses((status = 200, body = ClassList, description = "The classes")),
)]
pub async fn list_classes(State(app): State<App>, signed: Signed) -> Result<Json<ClassList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseClasses)?).await?;
    Ok(Json(ClassList { classes: classes::list(&mut scope).await? }))
}

/// Create a class
#[utoipa::path(
    post,
    path = "/classes",
    tag = "classes",
    request_body = NewClass,
    responses((status = 201, body = Class, description = "The new class, without members")),
    extensions(("x-problem-codes" = json!(["name_taken"]))),
)]
pub async fn create_class(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<NewClass>,
) -> Result<(StatusCode, Json<Class>)> {
    let name = clean_name(&request.name)
        .filter(|name| name.chars().count() <= MAX_CLASS_NAME_CHARACTERS)
        .ok_or_else(|| ApiError::invalid("name", "Use one line of 1 to 100 characters."))?;
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseClasses)?).await?;
    let template = request.template.as_deref().unwrap_or(DEFAULT_TEMPLATE);
    let class = classes::create(&mut scope, &name, template).await.map_err(|error| {
        if violated_constraint(&error) == Some("classes_name") {
            return ApiError::new(
                Code::NameTaken,
                format!("You have a class `{name}`. Choose another name."),
            );
        }
        let database = error.as_database_error();
        if database.is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation) {
            return ApiError::invalid("template", "There is no such template.");
        }
        error.into()
    })?;
    audit::write(&mut scope, "class.create", &class.to_string(), serde_json::json!({ "name": name })).await?;
    let row = classes::find(&mut scope, class).await?.ok_or_else(|| ApiError::not_found("class"))?;
    let made = classes::describe(&mut scope, row).await?;
    scope.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Get a class
///
/// Returns its members and their workspaces.
#[utoipa::path(
    get,
    path = "/classes/{id}",
    tag = "classes",
    params(
        ("id" = ClassId, Path, description = "The class."),
    ),
    responses((status = 200, body = Class, description = "The class")),
)]
pub async fn get_class(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<Json<Class>> {
    read(&app, signed.caller(), id).await.map(Json)
}

/// Delete a class
///
/// Deletes the workspaces of its members too.
#[utoipa::path(
    delete,
    path = "/classes/{id}",
    tag = "classes",
    params(
        ("id" = ClassId, Path, description = "The class."),
    ),
    responses((status = 204, description = "The class is deleted")),
)]
pub async fn delete_class(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<StatusCode> {
    let (allowed, members) = authorize_class(&app, signed.caller(), id).await?;
    for workspace in members.iter().filter_map(|member| member.workspace_id) {
        apply_event(&app, allowed, WorkspaceId(workspace), Event::Delete, "workspace.delete").await?;
    }
    let mut scope = app.db.scope(allowed).await?;
    classes::delete(&mut scope, id, app.now()).await?;
    audit::write(&mut scope, "class.delete", &id.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Start all workspaces of a class
#[utoipa::path(
    post,
    path = "/classes/{id}/start",
    tag = "classes",
    params(
        ("id" = ClassId, Path, description = "The class."),
    ),
    responses((status = 200, body = ClassAction, description = "How many were started, and which were not")),
)]
pub async fn start_class(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<Json<ClassAction>> {
    apply_to_all(&app, signed.caller(), id, Event::Start, "workspace.start").await.map(Json)
}

/// Stop all workspaces of a class
///
/// Homes are saved first.
#[utoipa::path(
    post,
    path = "/classes/{id}/stop",
    tag = "classes",
    params(
        ("id" = ClassId, Path, description = "The class."),
    ),
    responses((status = 200, body = ClassAction, description = "How many are stopping, and which are not")),
)]
pub async fn stop_class(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<ClassId>,
) -> Result<Json<ClassAction>> {
    apply_to_all(&app, signed.caller(), id, Event::Stop, "workspace.stop").await.map(Json)
}

/// Remove a member from a class
///
/// Deletes the workspace that was created for the member.
#[utoipa::path(
    delete,
    path = "/classes/{id}/members/{member}",
    tag = "classes",
    params(
        ("id" = ClassId, Path, description = "The class."),
        ("member" = Uuid, Path, description = "The member of the class."),
    ),
    responses((status = 204, description = "The member is removed")),
)]
pub async fn remove_class_member(
    State(app): State<App>,
    signed: Signed,
    Params((id, member)): Params<(ClassId, Uuid)>,
) -> Result<StatusCode> {
    let (allowed, members) = authorize_class(&app, signed.caller(), id).await?;
    let found = find_member(members, member)?;
    if let Some(workspace) = found.workspace_id {
        apply_event(&app, allowed, WorkspaceId(workspace), Event::Delete, "workspace.delete").await?;
    }
    let mut scope = app.db.scope(allowed).await?;
    members::remove(&mut scope, member).await?;
    audit::write(&mut scope, "class.member.remove", &member.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Create a new invitation for a member
///
/// The previous link stops working.
#[utoipa::path(
    post,
    path = "/classes/{id}/members/{member}/invitation",
    tag = "classes",
    params(
        ("id" = ClassId, Path, description = "The class."),
        ("member" = Uuid, Path, description = "The member of the class."),
    ),
    responses((status = 200, body = InvitationLink, description = "The new link; it is shown once")),
    extensions(("x-problem-codes" = json!(["conflict"]))),
)]
pub async fn renew_invitation(
    State(app): State<App>,
    signed: Signed,
    Params((id, member)): Params<(ClassId, Uuid)>,
) -> Result<Json<InvitationLink>> {
    let (allowed, members) = authorize_class(&app, signed.caller(), id).await?;
    let found = find_member(members, member)?;
    let mut scope = app.db.scope(allowed).await?;
    let user = protocol::UserId(found.user_id);
    if invitations::is_of_other_teacher(&mut scope, user).await? {
        return Err(ApiError::new(
            Code::Conflict,
            "Cannot create an invitation: another teacher has invited this student first. The student joins \
             with that link. An owner can create a new one.",
        ));
    }
    let link = invitations::create(&mut scope, member, user, app.now()).await?;
    audit::write(&mut scope, "class.member.invite", &member.to_string(), serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(Json(link))
}

/// Reads a class, if the caller manages it.
pub async fn read(app: &Core, caller: &Caller, id: ClassId) -> Result<Class> {
    let (allowed, _) = authorize_class(app, caller, id).await?;
    let mut scope = app.db.scope(allowed).await?;
    let row = classes::find(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("class"))?;
    Ok(classes::describe(&mut scope, row).await?)
}

/// Authorizes the management of a class, and lists its members. A class that the caller does not
/// manage is not found.
pub async fn authorize_class(app: &Core, caller: &Caller, id: ClassId) -> Result<(Allowed, Vec<MemberRow>)> {
    let mut scope = app.db.scope(authorize(caller, Action::UseClasses)?).await?;
    let row = classes::find(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("class"))?;
    let allowed = authorize(caller, Action::ManageClass(row.facts(caller.tenant)))
        .map_err(|_| ApiError::not_found("class"))?;
    Ok((allowed, members::list(&mut scope, id).await?))
}

fn find_member(members: Vec<MemberRow>, member: Uuid) -> Result<MemberRow> {
    members.into_iter().find(|row| row.member_id == member).ok_or_else(|| ApiError::not_found("member"))
}

/// Applies an event to the workspace of every member. Failures are listed, and do not affect the
/// others.
async fn apply_to_all(
    app: &Core,
    caller: &Caller,
    id: ClassId,
    event: Event,
    action: &str,
) -> Result<ClassAction> {
    let (allowed, members) = authorize_class(app, caller, id).await?;
    let mut done = ClassAction { begun: 0, unchanged: 0, failed: vec![] };
    for member in members {
        let changed = match member.workspace_id {
            Some(workspace) if event == Event::Start => {
                start(app, allowed, WorkspaceId(workspace), StartPriority::Class).await
            }
            Some(workspace) => apply_event(app, allowed, WorkspaceId(workspace), event.clone(), action).await,
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
