//! Who sees the previews of ports, and the secrets that open them.

use protocol::{
    SessionId, WorkspaceId,
    agent::Route,
    api::{
        internal::{GrantReply, LiveStream, PreviewCookie, SessionsCheck, SessionsVerdict},
        port::{PortSettings, PortSettingsList, PreviewTicket},
    },
    grant::VerifyingKey,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::world::{Answer, Client, World};
use crate::authz::{Action, Caller, authorize};

const GRANT: &str = "/internal/previews/grant";
const REDEEM: &str = "/internal/previews/redeem";

fn path(id: WorkspaceId, port: u16) -> String {
    format!("/api/v1/workspaces/{id}/port-settings/{port}")
}

async fn set(client: &Client, id: WorkspaceId, port: u16, settings: Value) -> Answer {
    client.put(&path(id, port), &settings).await
}

async fn ticket(client: &Client, id: WorkspaceId, port: u16) -> Answer {
    client.post(&format!("{}/ticket", path(id, port)), &json!({})).await
}

fn secret_of(ticket: &PreviewTicket) -> String {
    ticket.ticket_url.split_once("?ticket=").expect("its form").1.to_owned()
}

fn target(id: WorkspaceId, port: u16) -> Value {
    json!({ "workspace": id, "port": port })
}

async fn redeem(world: &World, secret: &str, id: WorkspaceId, port: u16) -> Answer {
    world.anonymous().post(REDEEM, &json!({ "ticket": secret, "target": target(id, port) })).await
}

async fn grant(world: &World, credential: Option<&str>, id: WorkspaceId, port: u16) -> Answer {
    world.anonymous().post(GRANT, &json!({ "credential": credential, "target": target(id, port) })).await
}

/// Gets a ticket, and exchanges it.
async fn cookie(world: &World, client: &Client, id: WorkspaceId, port: u16) -> String {
    let ticket: PreviewTicket = ticket(client, id, port).await.ok();
    let cookie: PreviewCookie = redeem(world, &secret_of(&ticket), id, port).await.ok();
    cookie.secret.expose().clone()
}

async fn is_revoked(world: &World, reply: &GrantReply, id: WorkspaceId, port: u16) -> bool {
    let stream = LiveStream {
        session: reply.session,
        workspace: id,
        epoch: reply.epoch,
        access: reply.access,
        preview_port: Some(port),
    };
    let check = serde_json::to_value(SessionsCheck { streams: vec![stream] }).expect("plain data");
    let verdict: SessionsVerdict = world.anonymous().post("/internal/sessions/check", &check).await.ok();
    verdict.revoked == [stream]
}

#[tokio::test]
async fn ticket_works_once_for_its_port() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, _runner) = owner.running(&world, "demo").await;
    let issued: PreviewTicket = ticket(&owner, id, 3000).await.ok();
    assert_eq!(issued.origin, format!("http://3000--{id}.localhost:8080"));
    let secret = secret_of(&issued);
    assert_eq!(redeem(&world, &secret, id, 3001).await.status, 410, "another port");
    assert_eq!(redeem(&world, &secret, WorkspaceId::random(), 3000).await.status, 410);
    assert_eq!(grant(&world, Some(&secret), id, 3000).await.status, 401, "a ticket is no cookie");
    let cookie: PreviewCookie = redeem(&world, &secret, id, 3000).await.ok();
    assert!((1..=86_400).contains(&cookie.max_age_seconds), "{}", cookie.max_age_seconds);
    assert_eq!(redeem(&world, &secret, id, 3000).await.status, 410, "used twice");
    let cookie = cookie.secret.expose().as_str();
    assert_eq!(redeem(&world, cookie, id, 3000).await.status, 410, "a cookie is no ticket");
    assert_eq!(grant(&world, Some(cookie), id, 3001).await.status, 401, "another port");
    assert_eq!(grant(&world, Some(owner.credential()), id, 3000).await.status, 401, "not the session");
    let reply: GrantReply = grant(&world, Some(cookie), id, 3000).await.ok();
    let key: String = world.anonymous().get("/internal/grant-key").await.ok();
    let key = VerifyingKey::from_hex(&key).expect("a key");
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let signed = key.verify(reply.grant.expose(), now).expect("holds");
    let stream = |port| Route::of_preview("CONNECT", &Route::preview_path(port)).expect("a route");
    assert_eq!(signed.admits(id, reply.epoch, &stream(3000)), Ok(()));
    assert!(signed.admits(id, reply.epoch, &stream(3001)).is_err());
    assert!(signed.admits(id, reply.epoch, &Route::of("GET", "files").expect("a route")).is_err());
    let api = world.anonymous().with("authorization", &format!("Bearer {cookie}"));
    assert_eq!(api.get("/api/v1/users/me").await.status, 401, "of no use for the API");
}

#[tokio::test]
async fn visibility_decides_who_gets_in() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let stranger = world.stranger().await;
    let (id, _runner) = owner.running(&world, "demo").await;
    for (settings, expected) in [
        (json!({ "visibility": "private" }), [200, 404, 404, 401]),
        (json!({ "visibility": "members" }), [200, 200, 404, 401]),
        (json!({ "visibility": "public", "public_hours": 1, "label": "Shop" }), [200, 200, 404, 200]),
    ] {
        assert_eq!(set(&owner, id, 3000, settings.clone()).await.status, 200);
        let got = [
            ticket(&owner, id, 3000).await.status,
            ticket(&member, id, 3000).await.status,
            ticket(&stranger, id, 3000).await.status,
            grant(&world, None, id, 3000).await.status,
        ];
        assert_eq!(got, expected, "{settings}");
        assert_eq!(grant(&world, None, id, 3001).await.status, 401, "another port");
    }
    let listed: PortSettingsList = owner.get(&format!("/api/v1/workspaces/{id}/port-settings")).await.ok();
    assert_eq!((listed.ports.len(), listed.ports[0].label.as_str()), (1, "Shop"));
    assert_eq!(set(&member, id, 3000, json!({ "visibility": "private" })).await.status, 404);
    for (bad, port) in [
        (json!({ "visibility": "public" }), 3000),
        (json!({ "visibility": "public", "public_hours": 721 }), 3000),
        (json!({ "visibility": "private", "label": "x".repeat(61) }), 3000),
    ] {
        assert_eq!(set(&owner, id, port, bad.clone()).await.status, 422, "{bad}");
    }
    assert_eq!(set(&owner, id, 0, json!({ "visibility": "members" })).await.status, 404);
}

#[tokio::test]
async fn visitors_lose_streams_with_their_right() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let (id, _runner) = owner.running(&world, "demo").await;
    set(&owner, id, 3000, json!({ "visibility": "members" })).await.ok::<PortSettings>();
    let unused: PreviewTicket = ticket(&member, id, 3000).await.ok();
    let secret = cookie(&world, &member, id, 3000).await;
    let of_member: GrantReply = grant(&world, Some(&secret), id, 3000).await.ok();
    assert!(!is_revoked(&world, &of_member, id, 3000).await);
    assert!(is_revoked(&world, &of_member, id, 3001).await, "another port");
    set(&owner, id, 3000, json!({ "visibility": "public", "public_hours": 1 })).await.ok::<PortSettings>();
    let of_anybody: GrantReply = grant(&world, None, id, 3000).await.ok();
    assert_eq!(redeem(&world, &secret_of(&unused), id, 3000).await.status, 410, "another visibility");
    set(&owner, id, 3000, json!({ "visibility": "private" })).await.ok::<PortSettings>();
    assert!(is_revoked(&world, &of_anybody, id, 3000).await);
    assert!(is_revoked(&world, &of_member, id, 3000).await);
    assert_eq!(grant(&world, Some(&secret), id, 3000).await.status, 404);

    let secret = cookie(&world, &owner, id, 3000).await;
    let of_owner: GrantReply = grant(&world, Some(&secret), id, 3000).await.ok();
    let unused: PreviewTicket = ticket(&owner, id, 3000).await.ok();
    assert!(!is_revoked(&world, &of_owner, id, 3000).await);
    assert_eq!(owner.post("/api/v1/auth/logout", &json!({})).await.status, 204);
    assert!(is_revoked(&world, &of_owner, id, 3000).await);
    assert_eq!(grant(&world, Some(&secret), id, 3000).await.status, 401);
    assert_eq!(redeem(&world, &secret_of(&unused), id, 3000).await.status, 410);
}

#[tokio::test]
async fn public_port_expires() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, _runner) = owner.running(&world, "demo").await;
    set(&owner, id, 3000, json!({ "visibility": "public", "public_hours": 1 })).await.ok::<PortSettings>();
    let reply: GrantReply = grant(&world, None, id, 3000).await.ok();
    assert!(!is_revoked(&world, &reply, id, 3000).await);
    let app = world.app();
    let allowed = authorize(&caller(&owner).await, Action::UseWorkspaces).expect("allowed");
    let mut scope = app.db.scope(allowed).await.expect("a transaction");
    sqlx::query("update workspace_ports set public_until = $1")
        .bind(app.now())
        .execute(scope.connection())
        .await
        .expect("changed");
    scope.commit().await.expect("committed");
    assert!(is_revoked(&world, &reply, id, 3000).await);
    assert_eq!(grant(&world, None, id, 3000).await.status, 401);
}

async fn caller(client: &Client) -> Caller {
    let user = client.session().await.user;
    Caller { tenant: user.tenant, user: user.id, role: user.role, session: SessionId::random() }
}
