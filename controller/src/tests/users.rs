//! What an owner does with other users: roles, suspensions, passwords and sessions.

use protocol::{
    api::user::{CreatedUser, User, UserList},
    workspace::Phase,
};
use serde_json::json;

use super::world::{Client, World};

async fn sign_in_by_link(world: &World, path: &str) -> Client {
    let token = path.strip_prefix("/welcome#").expect("its form");
    let signed = world.anonymous().post("/api/v1/auth/link", &json!({ "token": token })).await;
    assert_eq!(signed.status, 200, "{}", signed.body);
    world.anonymous().with_cookie(&signed)
}

async fn create(world: &World, owner: &Client, role: &str) -> (User, Client) {
    let new = json!({ "email": format!("{role}@x.org"), "name": role, "role": role });
    let CreatedUser { user, link } = owner.post("/api/v1/users", &new).await.ok();
    let client = sign_in_by_link(world, link.path.expose()).await;
    (user, client)
}

#[tokio::test]
async fn teacher_is_appointed_and_demoted() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (user, client) = create(&world, &owner, "member").await;
    let path = format!("/api/v1/users/{}", user.id);
    assert_eq!(client.get("/api/v1/classes").await.status, 403);
    assert_eq!(owner.patch(&path, &json!({ "role": "teacher" })).await.status, 200);
    assert_eq!(client.get("/api/v1/classes").await.status, 200);
    assert_eq!(owner.patch(&path, &json!({ "role": "member" })).await.status, 200);
    assert_eq!(client.get("/api/v1/classes").await.status, 403);
    assert_eq!(
        client.patch(&path, &json!({ "role": "owner" })).await.status,
        403,
        "nobody promotes themselves"
    );
    let me = format!("/api/v1/users/{}", owner.session().await.user.id);
    assert_eq!(owner.patch(&me, &json!({ "role": "member" })).await.code(), "conflict");
    assert_eq!(world.stranger().await.patch(&path, &json!({ "suspended": true })).await.status, 404);
}

#[tokio::test]
async fn suspended_user_is_out_and_loses_nothing() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (user, client) = create(&world, &owner, "member").await;
    let set = json!({ "current": null, "new": "a long password" });
    assert_eq!(client.post("/api/v1/auth/password", &set).await.status, 204);
    let made = client.post("/api/v1/workspaces", &json!({ "name": "demo", "start": true })).await;
    let workspace = serde_json::from_value(made.body["id"].clone()).expect("an id");
    world.runner(workspace, 1).await.ready().await;
    let path = format!("/api/v1/users/{}", user.id);
    let suspended: User = owner.patch(&path, &json!({ "suspended": true })).await.ok();
    assert!(suspended.suspended_at.is_some());
    assert_eq!(client.get("/api/v1/auth/session").await.status, 401);
    let login = json!({ "email": user.email, "password": "a long password" });
    assert_eq!(world.anonymous().post("/api/v1/auth/login", &login).await.code(), "bad_credentials");
    world.runner(workspace, 1).await.persist(3).await;
    owner.reaches(workspace, Phase::Terminated).await;
    let UserList { users } = owner.get("/api/v1/users").await.ok();
    assert!(users.iter().any(|one| one.id == user.id), "an owner still sees the user");

    let resumed: User = owner.patch(&path, &json!({ "suspended": false })).await.ok();
    assert!(resumed.suspended_at.is_none());
    let back = world.anonymous().post("/api/v1/auth/login", &login).await;
    assert_eq!(back.status, 200);
    assert_eq!(
        world.anonymous().with_cookie(&back).get("/api/v1/workspaces").await.body["workspaces"][0]["name"],
        "demo"
    );
}

#[tokio::test]
async fn invitation_does_not_end_suspension() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (user, _) = create(&world, &owner, "member").await;
    let class = owner.post("/api/v1/classes", &json!({ "name": "algo" })).await;
    let roster = format!("/api/v1/classes/{}/roster", class.body["id"].as_str().expect("an id"));
    let text = format!("Anna,{}", user.email).into_bytes();
    let added = owner.send(hyper::Method::POST, &roster, Some(("text/csv", text))).await;
    let link = added.body["added"][0]["invitation"]["path"].as_str().expect("a link").to_owned();
    owner.patch(&format!("/api/v1/users/{}", user.id), &json!({ "suspended": true })).await;
    let token = link.strip_prefix("/join#").expect("its form");
    let accept = json!({ "token": token, "name": "Anna", "password": "a new password" });
    assert_eq!(world.anonymous().post("/api/v1/invitations/accept", &accept).await.code(), "expired");
}

#[tokio::test]
async fn password_reset_and_end_of_sessions() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (user, client) = create(&world, &owner, "teacher").await;
    let set = json!({ "current": null, "new": "a long password" });
    client.post("/api/v1/auth/password", &set).await;
    let path = format!("/api/v1/users/{}", user.id);
    assert_eq!(owner.delete(&format!("{path}/sessions")).await.status, 204);
    assert_eq!(client.get("/api/v1/auth/session").await.status, 401);
    let login = json!({ "email": user.email, "password": "a long password" });
    let again = world.anonymous().post("/api/v1/auth/login", &login).await;
    assert_eq!(again.status, 200, "the password stays");
    let link = owner.post(&format!("{path}/password-reset"), &json!({})).await;
    assert_eq!(world.anonymous().with_cookie(&again).get("/api/v1/auth/session").await.status, 401);
    assert_eq!(world.anonymous().post("/api/v1/auth/login", &login).await.code(), "bad_credentials");
    let signed = sign_in_by_link(&world, link.body["path"].as_str().expect("a path")).await;
    let new = json!({ "current": null, "new": "another password" });
    assert_eq!(signed.post("/api/v1/auth/password", &new).await.status, 204);
}
