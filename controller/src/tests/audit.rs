//! What the audit log mentions, and what it never contains.

use protocol::{UserId, WorkspaceId, api::auth::DeviceCode};
use serde_json::{Value, json};

use super::world::{Answer, Client, World, eventually, stream};

const PASSWORD: &str = "the owner's own";

/// An entry: who, what was done to what, and the detail.
type Entry = (Option<UserId>, String, Value);

/// The entries of one action, in their order.
async fn entries(world: &World, action: &str) -> Vec<Entry> {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    let rows: Vec<(Option<uuid::Uuid>, String, Value)> =
        sqlx::query_as("select actor, subject, detail from audit where action = $1 order by seq")
            .bind(action)
            .fetch_all(system.connection())
            .await
            .expect("read");
    rows.into_iter().map(|(actor, subject, detail)| (actor.map(UserId), subject, detail)).collect()
}

/// The whole log as text.
async fn log(world: &World) -> String {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    let rows: Vec<String> = sqlx::query_scalar("select row_to_json(audit)::text from audit")
        .fetch_all(system.connection())
        .await
        .expect("read");
    rows.join("\n")
}

async fn set_password(client: &Client) {
    let set = json!({ "current": null, "new": PASSWORD });
    assert_eq!(client.post("/api/v1/auth/password", &set).await.status, 204);
}

#[tokio::test]
async fn refused_sign_ins_are_recorded() {
    let world = World::new().await;
    let owner = world.owner().await;
    set_password(&owner).await;
    let me = owner.session().await.user;
    let client = world.anonymous().with("x-burrow-client-address", "198.51.100.7");
    for (email, password) in [(me.email.as_str(), "a wrong guess"), ("nobody@x.org", "a wrong guess")] {
        let login = json!({ "email": email, "password": password });
        assert_eq!(client.post("/api/v1/auth/login", &login).await.code(), "bad_credentials");
    }
    let refused = eventually("an entry", async || {
        Some(entries(&world, "session.refuse").await).filter(|found| !found.is_empty())
    })
    .await;
    assert_eq!(refused, [(None, me.id.to_string(), json!({ "by": "password" }))]);
    assert!(log(&world).await.contains("198.51.100.7"));

    let link = world.controller().first_sign_in_link().await.expect("a link");
    let token = link.expose().strip_prefix("/welcome#").expect("its form").to_owned();
    for status in [200, 410] {
        let answer = client.post("/api/v1/auth/link", &json!({ "token": token })).await;
        assert_eq!(answer.status, status);
    }
    let refused = entries(&world, "session.refuse").await;
    assert_eq!(refused[1].2, json!({ "by": "link" }));

    let login = json!({ "email": me.email, "password": PASSWORD });
    let signed = client.post("/api/v1/auth/login", &login).await;
    let change = json!({ "current": "another guess", "new": "battery staple" });
    let answer = client.with_cookie(&signed).post("/api/v1/auth/password", &change).await;
    assert_eq!(answer.code(), "bad_credentials");
    assert_eq!(entries(&world, "password.refuse").await.len(), 1);
    let log = log(&world).await;
    for secret in ["a wrong guess", "another guess", PASSWORD, &token] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn each_socket_has_its_own_internal_routes() {
    let world = World::new().await;
    let on = |socket| Client { socket, headers: vec![] };
    let (host, gateway) = (on(world.config.socket()), on(world.config.gateway_socket()));
    let sign_in_link = "/internal/sign-in-link";
    assert_eq!(host.post(sign_in_link, &json!({})).await.status, 200);
    for (client, path) in [
        (&gateway, sign_in_link),
        (&gateway, "/internal/runners/report"),
        (&host, "/internal/runners/report"),
        (&host, "/internal/objects/packs/a"),
        (&host, "/internal/grants"),
        (&host, "/internal/sessions/check"),
    ] {
        assert_eq!(client.post(path, &json!({})).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn device_decisions_are_recorded() {
    let world = World::new().await;
    let owner = world.owner().await;
    let me = owner.session().await.user.id;
    let start = json!({ "client_name": "burrow on x" });
    for approve in [false, true] {
        let code: DeviceCode = world.anonymous().post("/api/v1/auth/device", &start).await.ok();
        let decision = json!({ "user_code": code.user_code, "approve": approve });
        assert_eq!(owner.post("/api/v1/auth/device/approve", &decision).await.status, 204);
        let poll = json!({ "device_code": code.device_code.expose() });
        world.anonymous().post("/api/v1/auth/device/token", &poll).await;
        assert!(!log(&world).await.contains(code.device_code.expose()));
    }
    let expected = (Some(me), me.to_string(), json!({ "device": "burrow on x" }));
    assert_eq!(entries(&world, "device_login.deny").await, std::slice::from_ref(&expected));
    assert_eq!(entries(&world, "device_login.approve").await, [expected]);
    let tokens = entries(&world, "token.create").await;
    assert_eq!((tokens.len(), tokens[0].0, &tokens[0].2["device"]), (1, Some(me), &json!("burrow on x")));
}

#[tokio::test]
async fn email_change_is_recorded() {
    let world = World::new().await;
    let owner = world.owner().await;
    let me = owner.session().await.user;
    for _ in 0..2 {
        let change = json!({ "email": "new@x.org", "name": me.name });
        assert_eq!(owner.patch("/api/v1/users/me", &change).await.status, 200);
    }
    let detail = json!({ "from": me.email, "to": "new@x.org" });
    assert_eq!(entries(&world, "user.email").await, [(Some(me.id), me.id.to_string(), detail)]);
    assert_eq!(entries(&world, "user.name").await, []);
}

async fn open(world: &World, client: &Client, workspace: WorkspaceId, needs: &str, kind: &str) -> Answer {
    let credential = client.credential();
    let request = json!({ "credential": credential, "workspace": workspace, "needs": needs, "kind": kind });
    world.anonymous().post("/internal/grants", &request).await
}

#[tokio::test]
async fn watching_and_exec_are_recorded() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let (watcher, student) = (owner.session().await.user.id, member.session().await.user.id);
    let (id, runner) = member.running(&world, "demo").await;
    let subject = id.to_string();
    for kind in ["terminal", "document", "terminal"] {
        assert_eq!(open(&world, &owner, id, "read", kind).await.status, 200);
        assert_eq!(open(&world, &member, id, "write", kind).await.status, 200);
    }
    let detail = json!({ "owner": student });
    let seen = (Some(watcher), subject.clone(), detail.clone());
    assert_eq!(entries(&world, "workspace.watch").await, std::slice::from_ref(&seen));

    world.files.insert(1, &[("a.txt", "one")]);
    runner.report(vec![stream(1)]).await.expect("accepted");
    let files = format!("/api/v1/workspaces/{id}/snapshots/latest/files");
    for client in [&owner, &member, &owner] {
        assert_eq!(client.get(&files).await.status, 200);
    }
    assert_eq!(entries(&world, "workspace.browse").await, [seen]);

    assert_eq!(open(&world, &owner, id, "write", "exec").await.code(), "forbidden");
    for _ in 0..2 {
        assert_eq!(open(&world, &member, id, "write", "exec").await.status, 200);
    }
    let ran = (Some(student), subject, detail);
    assert_eq!(entries(&world, "workspace.exec").await, [ran.clone(), ran]);
}
