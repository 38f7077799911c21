//! Sign-in and sign-out, passwords, tokens and device logins: what is refused, and how.

use protocol::api::auth::{DeviceCode, TokenSecret};
use serde_json::json;

use super::world::{World, eventually};

#[tokio::test]
async fn link_signs_in_once() {
    let world = World::new().await;
    let link = world.controller().first_sign_in_link().await.expect("a link");
    let token = link.expose().strip_prefix("/welcome#").expect("its form").to_owned();
    let body = json!({ "token": token });
    let first = world.anonymous().with("x-burrow-secure", "true").post("/api/v1/auth/link", &body).await;
    let cookie = first.headers["set-cookie"].to_str().expect("text").to_owned();
    assert!(cookie.starts_with("__Host-burrow="), "{cookie}");
    for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let session = world.anonymous().with_cookie(&first).session().await;
    assert!(!session.user.has_password);
    let second = world.anonymous().post("/api/v1/auth/link", &body).await;
    assert_eq!((second.status, second.code()), (410, "expired"));
    let newer = world.controller().first_sign_in_link().await.expect("a link");
    world.controller().first_sign_in_link().await.expect("a link");
    let void = json!({ "token": newer.expose().strip_prefix("/welcome#").expect("its form") });
    assert_eq!(world.anonymous().post("/api/v1/auth/link", &void).await.status, 410);
}

#[tokio::test]
async fn password_change_revokes_other_sessions() {
    let world = World::new().await;
    let (one, other) = (world.owner().await, world.owner().await);
    let email = one.session().await.user.email;
    let weak = one.post("/api/v1/auth/password", &json!({ "current": null, "new": "short" })).await;
    assert_eq!((weak.status, weak.code()), (422, "invalid"));
    let set = one.post("/api/v1/auth/password", &json!({ "current": null, "new": "correct horse" })).await;
    assert_eq!(set.status, 204, "{}", set.body);
    assert_eq!(other.get("/api/v1/auth/session").await.status, 401);
    assert!(one.session().await.user.has_password);

    let login = |password: &str| json!({ "email": email.to_uppercase(), "password": password });
    let wrong = world.anonymous().post("/api/v1/auth/login", &login("wrong horse")).await;
    assert_eq!((wrong.status, wrong.code()), (401, "bad_credentials"));
    let right = world.anonymous().post("/api/v1/auth/login", &login("correct horse")).await;
    let signed = world.anonymous().with_cookie(&right);
    // This session was not created by a link, so the old password is required.
    let change = json!({ "current": "nonsense!!", "new": "battery staple" });
    assert_eq!(signed.post("/api/v1/auth/password", &change).await.code(), "bad_credentials");
    assert_eq!(signed.post("/api/v1/auth/logout", &json!({})).await.status, 204);
    assert_eq!(signed.get("/api/v1/auth/session").await.status, 401);
}

#[tokio::test]
async fn guessing_is_rate_limited() {
    let world = World::new().await;
    let guess = json!({ "email": "anna@example.org", "password": "123456789012" });
    let limited = eventually("a limit", async || {
        let answer = world.anonymous().post("/api/v1/auth/login", &guess).await;
        Some(answer).filter(|answer| answer.status == 429)
    })
    .await;
    assert_eq!(limited.code(), "rate_limited");
    assert!(limited.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn guessing_elsewhere_spares_right_password() {
    let world = World::new().await;
    let owner = world.owner().await;
    let email = owner.session().await.user.email;
    let set = json!({ "current": null, "new": "the owner's own" });
    assert_eq!(owner.post("/api/v1/auth/password", &set).await.status, 204);
    let login = async |address: &str, password: &str| {
        let client = world.anonymous().with("x-burrow-client-address", address);
        client.post("/api/v1/auth/login", &json!({ "email": email, "password": password })).await.status
    };
    let guesses = async || {
        let mut answers = Vec::new();
        for host in 0..12 {
            answers.push(login(&format!("2001:db8::{host}"), "a wrong guess").await);
        }
        answers
    };
    assert_eq!(guesses().await.iter().filter(|status| **status == 429).count(), 2, "one /64 is one client");
    assert_eq!(login("2001:db8::7", "the owner's own").await, 429);
    assert_eq!(login("198.51.100.7", "the owner's own").await, 200);
}

#[tokio::test]
async fn errors_are_problems_with_request_id() {
    let world = World::new().await;
    let id = "0193e7a0-0000-7000-8000-000000000001";
    let answer = world.anonymous().with("x-request-id", id).get("/api/v1/workspaces").await;
    assert_eq!((answer.status, answer.code()), (401, "unauthenticated"));
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(
        (answer.body["request_id"].as_str(), answer.headers["x-request-id"].to_str().ok()),
        (Some(id), Some(id))
    );

    let owner = world.owner().await;
    let unknown = owner.get("/api/v1/nothing").await;
    assert_eq!((unknown.status, unknown.code()), (404, "not_found"));
    let method = owner.delete("/api/v1/workspaces").await;
    assert_eq!((method.status, method.code()), (405, "method_not_allowed"));
    let broken = owner
        .send(hyper::Method::POST, "/api/v1/workspaces", Some(("application/json", b"{".to_vec())))
        .await;
    assert_eq!((broken.status, broken.code()), (400, "bad_request"));
    let form = owner.post("/api/v1/workspaces", &json!({ "name": 7 })).await;
    assert_eq!((form.status, form.code()), (422, "invalid"));
    let large = owner.post("/api/v1/workspaces", &json!({ "name": "x".repeat(100_000) })).await;
    assert_eq!((large.status, large.code()), (413, "too_large"));
    let foreign = owner.with("sec-fetch-site", "cross-site").post("/api/v1/auth/logout", &json!({})).await;
    assert_eq!((foreign.status, foreign.code()), (403, "foreign_origin"));
    assert_eq!(owner.get("/api/v1/auth/session").await.status, 200);
}

#[tokio::test]
async fn every_route_but_open_ones_needs_session() {
    let world = World::new().await;
    let document = serde_json::to_value(crate::schema::openapi()).expect("plain data");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 25, "{}", paths.len());
    let open = [
        "version",
        "auth/link",
        "auth/login",
        "auth/device",
        "auth/device/token",
        "invitations/view",
        "invitations/accept",
    ];
    for (path, methods) in paths {
        let real = path.replace(['{', '}'], "");
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            let answer =
                world.anonymous().send(method, &real, Some(("application/json", b"{}".to_vec()))).await;
            let is_open = open.iter().any(|open| *path == format!("/api/v1/{open}"));
            assert_eq!(answer.status == 401, !is_open, "{path}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn token_works_until_revoked() {
    let world = World::new().await;
    let owner = world.owner().await;
    let made: TokenSecret =
        owner.post("/api/v1/tokens", &json!({ "name": "laptop", "days": null })).await.ok();
    let bearer = world.anonymous().with("authorization", &format!("Bearer {}", made.token.expose()));
    assert_eq!(bearer.session().await.user, owner.session().await.user);
    let listed = owner.get("/api/v1/tokens").await;
    assert!(!listed.body.to_string().contains(made.token.expose()));
    let stranger = world.stranger().await;
    assert_eq!(stranger.delete(&format!("/api/v1/tokens/{}", made.info.id)).await.status, 404);
    assert_eq!(owner.delete(&format!("/api/v1/tokens/{}", made.info.id)).await.status, 204);
    assert_eq!(bearer.get("/api/v1/auth/session").await.status, 401);
}

#[tokio::test]
async fn device_login_needs_approval() {
    let world = World::new().await;
    let owner = world.owner().await;
    let code: DeviceCode =
        world.anonymous().post("/api/v1/auth/device", &json!({ "client_name": "burrow on x" })).await.ok();
    let ask = json!({ "device_code": code.device_code.expose() });
    let pending = world.anonymous().post("/api/v1/auth/device/token", &ask).await;
    assert_eq!((pending.status, pending.code()), (400, "authorization_pending"));
    let info = owner.get(&format!("/api/v1/auth/device/{}", code.user_code.to_lowercase())).await;
    assert_eq!(info.body["client_name"], "burrow on x");
    let approve = json!({ "user_code": code.user_code, "approve": true });
    assert_eq!(owner.post("/api/v1/auth/device/approve", &approve).await.status, 204);
    let token: TokenSecret = world.anonymous().post("/api/v1/auth/device/token", &ask).await.ok();
    let bearer = world.anonymous().with("authorization", &format!("Bearer {}", token.token.expose()));
    assert_eq!(bearer.session().await.user, owner.session().await.user);
    assert_eq!(world.anonymous().post("/api/v1/auth/device/token", &ask).await.code(), "expired");
}
