//! What tokens may do, and what needs a proof of the password.

use protocol::{
    Access, WorkspaceId,
    api::{
        auth::{DeviceCode, TokenScope, TokenSecret},
        internal::{GrantReply, LiveStream, SessionsCheck, SessionsVerdict},
        user::CreatedUser,
    },
};
use serde_json::{Value, json};
use time::Duration;

use super::world::{Answer, Client, World};
use crate::{
    api::{PREFIX, route_access::RouteAccess},
    identity::sessions::CONFIRMATION_TTL,
};

const SCOPES: [TokenScope; 3] = [TokenScope::Read, TokenScope::Workspaces, TokenScope::Admin];
const PASSWORD: &str = "the owner's own";

async fn create(client: &Client, scope: TokenScope) -> TokenSecret {
    client.post("/api/v1/tokens", &json!({ "name": "ci", "days": 1, "scope": scope })).await.ok()
}

fn bearer(world: &World, token: &TokenSecret) -> Client {
    world.anonymous().with("authorization", &format!("Bearer {}", token.token.expose()))
}

/// Moves the sign-in of all sessions into the past, so that it no longer counts as a proof.
async fn age_sessions(world: &World) {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    sqlx::query("update sessions set confirmed_at = $1, created_at = $1")
        .bind(app.now() - CONFIRMATION_TTL - Duration::seconds(1))
        .execute(system.connection())
        .await
        .expect("changed");
    system.commit().await.expect("committed");
}

async fn set_password(client: &Client) {
    let set = json!({ "current": null, "new": PASSWORD });
    assert_eq!(client.post("/api/v1/auth/password", &set).await.status, 204);
}

/// Walks over every operation of the description with a token of each scope.
#[tokio::test]
async fn every_operation_checks_scope() {
    let world = World::new().await;
    let owner = world.owner().await;
    let document = serde_json::to_value(crate::schema::openapi()).expect("plain data");
    let mut walked = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let template = path.strip_prefix(PREFIX).expect("the prefix");
        for (method, operation) in methods.as_object().expect("methods") {
            let (method, at) = (method.to_uppercase(), format!("{method} {path}"));
            let access =
                RouteAccess::of(&method, template).unwrap_or_else(|| panic!("{at}: not in the table"));
            let (needed, shown) = match access {
                RouteAccess::Open => (None, Value::Null),
                RouteAccess::Token(scope) => (Some(scope), json!(scope)),
                RouteAccess::Browser => (None, json!("none")),
            };
            println!("{at}: {access:?}");
            assert_eq!(operation["x-token-scope"], shown, "{at}");
            walked += 1;
            if access == RouteAccess::Open {
                continue;
            }
            for scope in SCOPES {
                let token = bearer(&world, &create(&owner, scope).await);
                let real = path.replace(['{', '}'], "");
                let body = Some(("application/json", b"{}".to_vec()));
                let response = token.open(method.parse().expect("a method"), &real, body).await;
                let is_refused = needed.is_none_or(|needed| scope < needed);
                if response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream") {
                    assert!(!is_refused, "{at} with {scope:?}");
                    continue;
                }
                let (status, text) = (response.status(), read(response).await);
                let says_scope = text.contains("needs ") && text.contains("the scope")
                    || text.contains("A token cannot create tokens");
                assert_eq!(status == 403 && says_scope, is_refused, "{at} with {scope:?}: {status} {text}");
            }
        }
    }
    assert!(walked > 60, "{walked}");
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> String {
    let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("read").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

#[tokio::test]
async fn token_cannot_outlive_or_replace_itself() {
    let world = World::new().await;
    let owner = world.owner().await;
    let me = owner.session().await.user;
    let token = bearer(&world, &create(&owner, TokenScope::Admin).await);
    let start = json!({ "client_name": "burrow on x" });
    let code: DeviceCode = world.anonymous().post("/api/v1/auth/device", &start).await.ok();
    for answer in [
        token.post("/api/v1/tokens", &json!({ "name": "more" })).await,
        token
            .post("/api/v1/auth/device/approve", &json!({ "user_code": code.user_code, "approve": true }))
            .await,
        token.get(&format!("/api/v1/auth/device/{}", code.user_code)).await,
        token.patch("/api/v1/users/me", &json!({ "email": "thief@x.org" })).await,
        token.post("/api/v1/auth/password", &json!({ "current": null, "new": "stolen goods" })).await,
    ] {
        assert_eq!((answer.status, answer.code()), (403, "forbidden"));
        assert!(answer.body["detail"].as_str().is_some_and(|text| text.contains("A token cannot")));
    }
    assert_eq!(owner.session().await.user, me);
    assert_eq!(owner.get("/api/v1/tokens").await.body["tokens"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn default_scope_is_workspaces() {
    let world = World::new().await;
    let owner = world.owner().await;
    let made: TokenSecret = owner.post("/api/v1/tokens", &json!({ "name": "ci" })).await.ok();
    assert_eq!(made.info.scope, TokenScope::Workspaces);
    assert_eq!(bearer(&world, &made).session().await.token_scope, Some(TokenScope::Workspaces));
    assert_eq!(owner.session().await.token_scope, None);
    assert_eq!(owner.get("/api/v1/tokens").await.body["tokens"][0]["scope"], "workspaces");
}

#[tokio::test]
async fn device_login_gets_approved_scope() {
    let world = World::new().await;
    let owner = world.owner().await;
    for (request, scope) in [
        (json!({ "client_name": "x" }), "workspaces"),
        (json!({ "client_name": "x", "scope": "read" }), "read"),
    ] {
        let code: DeviceCode = world.anonymous().post("/api/v1/auth/device", &request).await.ok();
        let info = owner.get(&format!("/api/v1/auth/device/{}", code.user_code)).await;
        assert_eq!(info.body["scope"], scope, "the user sees it");
        let approve = json!({ "user_code": code.user_code, "approve": true });
        assert_eq!(owner.post("/api/v1/auth/device/approve", &approve).await.status, 204);
        let poll = json!({ "device_code": code.device_code.expose() });
        let token: TokenSecret = world.anonymous().post("/api/v1/auth/device/token", &poll).await.ok();
        assert_eq!(json!(token.info.scope), scope);
    }
}

async fn grant(world: &World, token: &TokenSecret, workspace: WorkspaceId, needs: Access) -> Answer {
    let credential = token.token.expose();
    let request =
        json!({ "credential": credential, "workspace": workspace, "needs": needs, "kind": "terminal" });
    world.anonymous().post("/internal/grants", &request).await
}

#[tokio::test]
async fn read_token_only_watches() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, _runner) = owner.running(&world, "demo").await;
    let token = create(&owner, TokenScope::Read).await;
    let refused = grant(&world, &token, id, Access::Write).await;
    assert_eq!((refused.status, refused.code()), (403, "forbidden"));
    let reply: GrantReply = grant(&world, &token, id, Access::Read).await.ok();
    assert_eq!(reply.access, Access::Read, "not the owner's write access");
    let stream = |access| LiveStream {
        session: reply.session,
        workspace: id,
        epoch: reply.epoch,
        access,
        preview_port: None,
    };
    let check = SessionsCheck { streams: vec![stream(Access::Read), stream(Access::Write)] };
    let check = serde_json::to_value(check).expect("plain data");
    let verdict: SessionsVerdict = world.anonymous().post("/internal/sessions/check", &check).await.ok();
    assert_eq!(verdict.revoked, [stream(Access::Write)]);
    let full = create(&owner, TokenScope::Workspaces).await;
    assert_eq!(grant(&world, &full, id, Access::Write).await.status, 200);
}

/// The acts that need a proof, as an owner's session does them.
async fn confirmed_acts(world: &World, client: &Client, other: &str) -> Vec<(&'static str, Answer)> {
    let start = json!({ "client_name": "x" });
    let code: DeviceCode = world.anonymous().post("/api/v1/auth/device", &start).await.ok();
    let approve = json!({ "user_code": code.user_code, "approve": true });
    let email = json!({ "email": format!("{}@x.org", uuid::Uuid::now_v7()) });
    let new = json!({ "email": format!("{}@x.org", uuid::Uuid::now_v7()), "name": "N", "role": "owner" });
    let tenant = json!({ "tenant": client.session().await.user.tenant });
    let policy = json!({ "all_hours": 1, "minutely_hours": 1, "hourly_hours": 1, "daily_hours": 1 });
    vec![
        ("email", client.patch("/api/v1/users/me", &email).await),
        ("device", client.post("/api/v1/auth/device/approve", &approve).await),
        ("token", client.post("/api/v1/tokens", &json!({ "name": "x" })).await),
        ("user", client.post("/api/v1/users", &new).await),
        ("role", client.patch(&format!("/api/v1/users/{other}"), &json!({ "role": "teacher" })).await),
        ("reset", client.post(&format!("/api/v1/users/{other}/password-reset"), &json!({})).await),
        ("sessions", client.delete(&format!("/api/v1/users/{other}/sessions")).await),
        ("key", client.post("/api/v1/admin/destroy-tenant-key", &tenant).await),
        ("retention", client.put("/api/v1/retention", &policy).await),
    ]
}

#[tokio::test]
async fn account_and_admin_acts_need_recent_password() {
    let world = World::new().await;
    let owner = world.owner().await;
    let new = json!({ "email": "other@x.org", "name": "Other", "role": "member" });
    let CreatedUser { user, .. } = owner.post("/api/v1/users", &new).await.ok();
    let other = user.id.to_string();
    set_password(&owner).await;
    for (act, answer) in confirmed_acts(&world, &owner, &other).await {
        assert!(answer.status < 300, "{act}: a sign-in by a link is recent: {}", answer.body);
    }
    age_sessions(&world).await;
    for (act, answer) in confirmed_acts(&world, &owner, &other).await {
        assert_eq!((answer.status, answer.code()), (403, "confirmation_required"), "{act}");
    }
    let name = owner.patch("/api/v1/users/me", &json!({ "name": "Another" })).await;
    assert_eq!(name.status, 200, "a name needs no proof");
    let confirm =
        async |password: &str| owner.post("/api/v1/auth/confirm", &json!({ "password": password })).await;
    assert_eq!(confirm("a wrong guess").await.code(), "bad_credentials");
    let still = owner.post("/api/v1/tokens", &json!({ "name": "x" })).await;
    assert_eq!(still.code(), "confirmation_required");
    assert_eq!(confirm(PASSWORD).await.status, 204);
    for (act, answer) in confirmed_acts(&world, &owner, &other).await {
        assert!(answer.status < 300, "{act}: {}", answer.body);
    }
}

#[tokio::test]
async fn admin_token_needs_password_for_admin_acts() {
    let world = World::new().await;
    let owner = world.owner().await;
    set_password(&owner).await;
    let new = json!({ "email": "other@x.org", "name": "Other", "role": "member" });
    let CreatedUser { user, .. } = owner.post("/api/v1/users", &new).await.ok();
    let token = bearer(&world, &create(&owner, TokenScope::Admin).await);
    let role = format!("/api/v1/users/{}", user.id);
    let refused = token.patch(&role, &json!({ "role": "owner" })).await;
    assert_eq!(refused.code(), "confirmation_required", "a new token proves no password");
    assert_eq!(token.post("/api/v1/auth/confirm", &json!({ "password": PASSWORD })).await.status, 204);
    assert_eq!(token.patch(&role, &json!({ "role": "teacher" })).await.status, 200);
}

#[tokio::test]
async fn user_without_password_signs_in_again() {
    let world = World::new().await;
    let owner = world.owner().await;
    age_sessions(&world).await;
    let confirm = json!({ "password": "" });
    assert_eq!(owner.post("/api/v1/auth/confirm", &confirm).await.code(), "conflict");
    assert_eq!(owner.post("/api/v1/tokens", &json!({ "name": "x" })).await.code(), "confirmation_required");
    let again = world.owner().await;
    assert_eq!(again.post("/api/v1/tokens", &json!({ "name": "x" })).await.status, 201);
}

#[tokio::test]
async fn revoked_token_takes_what_it_made() {
    let world = World::new().await;
    let owner = world.owner().await;
    set_password(&owner).await;
    let secret = create(&owner, TokenScope::Admin).await;
    let token = bearer(&world, &secret);
    assert_eq!(token.post("/api/v1/auth/confirm", &json!({ "password": PASSWORD })).await.status, 204);
    let make = async |name: &str| -> CreatedUser {
        let new = json!({ "email": format!("{name}@x.org"), "name": name, "role": "owner" });
        token.post("/api/v1/users", &new).await.ok()
    };
    let sign_in = async |made: &CreatedUser| {
        let token = made.link.path.expose().strip_prefix("/welcome#").expect("its form").to_owned();
        world.anonymous().post("/api/v1/auth/link", &json!({ "token": token })).await
    };
    let (used, unused) = (make("used").await, make("unused").await);
    let accomplice = world.anonymous().with_cookie(&sign_in(&used).await);
    let deeper = bearer(&world, &create(&accomplice, TokenScope::Admin).await);
    assert_eq!(deeper.get("/api/v1/users").await.status, 200);

    // A token that the owner's browser has created does not end with the browser's session.
    let other = bearer(&world, &create(&owner, TokenScope::Read).await);
    assert_eq!(owner.delete(&format!("/api/v1/tokens/{}", secret.info.id)).await.status, 204);
    for client in [&token, &accomplice, &deeper] {
        assert_eq!(client.get("/api/v1/auth/session").await.status, 401);
    }
    assert_eq!(sign_in(&unused).await.code(), "expired");
    assert_eq!(owner.post("/api/v1/auth/logout", &json!({})).await.status, 204);
    assert_eq!(other.get("/api/v1/auth/session").await.status, 200);
}
