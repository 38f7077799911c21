//! Tenants are isolated: by the API, and by Postgres where the API would be wrong.

use protocol::{
    Access, Redacted, WorkspaceId,
    api::internal::{GrantReply, LiveStream, SessionsCheck, SessionsVerdict},
    workspace::Phase,
};
use serde_json::json;

use super::world::{Client, World};
use crate::{
    authz::{Action, Allowed, Caller, authorize},
    lifecycle::{Event, record},
    workspaces::view,
};

async fn allowed(client: &Client) -> Allowed {
    let session = client.session().await;
    let caller = Caller {
        tenant: session.user.tenant,
        user: session.user.id,
        role: session.user.role,
        session: protocol::SessionId::random(),
    };
    authorize(&caller, Action::UseWorkspaces).expect("everyone may")
}

#[tokio::test]
async fn workspace_of_other_tenant_is_not_found() {
    let world = World::new().await;
    let (owner, stranger) = (world.owner().await, world.stranger().await);
    let id = owner.create("demo").await.id;
    world.runner(id, 1).await.ready().await;
    let path = format!("/api/v1/workspaces/{id}");
    for answer in [
        stranger.get(&path).await,
        stranger.patch(&path, &json!({ "name": "mine" })).await,
        stranger.act(id, "start").await,
        stranger.act(id, "stop").await,
        stranger.get(&format!("{path}/snapshots")).await,
        stranger.get(&format!("{path}/events")).await,
        stranger.delete(&path).await,
        grant(&world, &stranger, id, Access::Read).await,
    ] {
        assert_eq!((answer.status, answer.code()), (404, "not_found"));
        assert!(!answer.body.to_string().contains("demo"));
    }
    assert!(
        stranger.get("/api/v1/workspaces").await.body["workspaces"].as_array().is_some_and(Vec::is_empty)
    );
    assert_eq!(owner.workspace(id).await.phase, Phase::Running);
}

#[tokio::test]
async fn row_level_security_hides_and_refuses() {
    let world = World::new().await;
    let (owner, stranger) = (world.owner().await, world.stranger().await);
    let id = owner.create("demo").await.id;
    let mine = owner.session().await.user;
    let app = world.app();
    let allowed = allowed(&stranger).await;

    // A statement that forgets the tenant altogether sees none of another's rows …
    for table in [
        "workspaces",
        "volumes",
        "users",
        "sessions",
        "templates",
        "tenants",
        "snapshots",
        "classes",
        "members",
        "imports",
    ] {
        let mut scope = app.db.scope(allowed).await.expect("a scope");
        let statement = format!("select count(*) from {table} where tenant_id = $1");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .bind(mine.tenant.0)
            .fetch_one(scope.connection())
            .await
            .expect("counted");
        assert_eq!(count, 0, "{table}");
    }
    // … changes none …
    let mut scope = app.db.scope(allowed).await.expect("a scope");
    let changed = sqlx::query("update workspaces set name = 'stolen'").execute(scope.connection()).await;
    assert_eq!(changed.expect("no error").rows_affected(), 0);
    assert!(view::find(&mut scope, id).await.expect("read").is_none());
    let stepped =
        record::apply_event(scope.connection(), app.now(), id, Event::Delete).await.expect("no error");
    assert!(stepped.is_none());
    // … and makes none.
    let forged = sqlx::query("insert into volumes (tenant_id, volume_id) values ($1, $2)")
        .bind(mine.tenant.0)
        .bind(uuid::Uuid::now_v7())
        .execute(scope.connection())
        .await
        .expect_err("refused");
    assert!(forged.to_string().contains("row-level security"), "{forged}");

    // Neither role may pass by the policies, own a table, or read what is the installation's.
    let mut scope = app.db.scope(allowed).await.expect("a scope");
    let role: (bool, bool) =
        sqlx::query_as("select rolsuper, rolbypassrls from pg_roles where rolname = current_user")
            .fetch_one(scope.connection())
            .await
            .expect("read");
    assert_eq!(role, (false, false));
    let denied = sqlx::query("select * from installation").execute(scope.connection()).await;
    assert!(denied.expect_err("refused").to_string().contains("permission denied"));
}

#[tokio::test]
async fn every_table_forces_row_level_security() {
    let world = World::new().await;
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    let open: Vec<String> = sqlx::query_scalar(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
         and not (relrowsecurity and relforcerowsecurity) and relname <> '_sqlx_migrations'",
    )
    .fetch_all(system.connection())
    .await
    .expect("read");
    assert!(open.is_empty(), "{open:?}");
}

#[tokio::test]
async fn connection_forgets_its_tenant() {
    let world = World::new().await;
    let owner = world.owner().await;
    owner.create("demo").await;
    let app = world.app();
    let allowed = allowed(&owner).await;
    let mut scope = app.db.scope(allowed).await.expect("a scope");
    let seen: i64 = sqlx::query_scalar("select count(*) from workspaces")
        .fetch_one(scope.connection())
        .await
        .expect("counted");
    assert_eq!(seen, 1);
    // The setting ends with the transaction: a later statement without it sees nothing.
    scope.commit().await.expect("committed");
    let mut system = app.db.system().await.expect("a transaction");
    let tenant: Option<String> =
        sqlx::query_scalar("select nullif(current_setting('app.tenant_id', true), '')")
            .fetch_one(system.connection())
            .await
            .expect("read");
    assert_eq!(tenant, None);
}

async fn grant(world: &World, client: &Client, id: WorkspaceId, needs: Access) -> super::world::Answer {
    let request =
        json!({ "credential": client.credential(), "workspace": id, "needs": needs, "kind": "terminal" });
    world.anonymous().post("/internal/grants", &request).await
}

#[tokio::test]
async fn grants_need_permission_and_end_with_session() {
    let world = World::new().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let runner = world.runner(id, 1).await;
    let early = grant(&world, &owner, id, Access::Write).await;
    assert_eq!((early.status, early.code()), (409, "not_running"));
    runner.ready().await;
    let reply: GrantReply = grant(&world, &owner, id, Access::Write).await.ok();
    let key: String = world.anonymous().get("/internal/grant-key").await.ok();
    let key = protocol::grant::VerifyingKey::from_hex(&key).expect("a key");
    assert_eq!(runner.spec.grant_key, key.to_hex());
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let checked = key.verify(reply.grant.expose(), now).expect("holds");
    assert_eq!((checked.workspace, checked.epoch, checked.access), (id, reply.epoch, Access::Write));
    assert!(reply.front.ends_with("front.sock"));

    let live = LiveStream {
        session: reply.session,
        workspace: id,
        epoch: reply.epoch,
        access: Access::Write,
        preview_port: None,
    };
    assert_eq!(verdict(&world, live).await, []);
    let other_epoch = LiveStream { epoch: reply.epoch.next(), ..live };
    assert_eq!(verdict(&world, other_epoch).await, [other_epoch]);
    assert_eq!(owner.post("/api/v1/auth/logout", &json!({})).await.status, 204);
    assert_eq!(verdict(&world, live).await, [live]);
    let unknown = Redacted::new("x".to_owned());
    let nobody = json!({ "credential": unknown, "workspace": id, "needs": Access::Read, "kind": "terminal" });
    assert_eq!(world.anonymous().post("/internal/grants", &nobody).await.status, 401);
}

async fn verdict(world: &World, stream: LiveStream) -> Vec<LiveStream> {
    let check = serde_json::to_value(SessionsCheck { streams: vec![stream] }).expect("plain data");
    world.anonymous().post("/internal/sessions/check", &check).await.ok::<SessionsVerdict>().revoked
}
