//! Network policies: who may change them, how they reach a runner, what is shown of refusals.

use protocol::{
    WorkspaceId,
    api::network::{ClassNetwork, WorkspaceNetwork},
    network::{EffectivePolicy, MAX_REFUSED, NetworkRefusal, RefusedName},
    runner::{AcknowledgedState, Command, NetworkSpec, Report, ReportRequest},
};
use serde_json::json;
use time::OffsetDateTime;

use super::world::{Client, Runner, World};

fn allowlist(names: &[&str]) -> EffectivePolicy {
    EffectivePolicy::Allowlist { names: names.iter().map(|name| name.parse().expect("a name")).collect() }
}

/// Waits for a newer policy, as a runner does.
async fn next_policy(runner: &Runner, revision: u64) -> NetworkSpec {
    let request = ReportRequest {
        workspace: runner.spec.workspace,
        epoch: runner.spec.epoch,
        reports: vec![],
        acknowledged: AcknowledgedState {
            command: Command::Run,
            snapshot: u64::MAX,
            repair: u64::MAX,
            home_mib: 0,
            network_revision: revision,
        },
        wait_ms: 5000,
        ran_ms: 0,
    };
    runner.send(request).await.expect("accepted").desired.network
}

async fn network(client: &Client, workspace: WorkspaceId) -> WorkspaceNetwork {
    client.get(&format!("/api/v1/workspaces/{workspace}/network")).await.ok()
}

#[tokio::test]
async fn policies_reach_a_running_workspace() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    assert_eq!(runner.spec.network.policy, EffectivePolicy::Open, "the default");
    let (path, first) = (format!("/api/v1/workspaces/{id}/network"), runner.spec.network.revision);

    let wait = next_policy(&runner, first);
    let allow = json!({ "policy": { "mode": "allowlist", "names": ["*.example.com"], "presets": [] } });
    let (wanted, changed) = tokio::join!(wait, owner.put(&path, &allow));
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(wanted.policy, allowlist(&["*.example.com"]));
    let key = runner.spec.policy_key.as_ref().expect("for its supervisor");
    assert!(key.has_sealed(&wanted) && runner.spec.network.seal.is_none());

    let template = json!({ "mode": "allowlist", "names": ["pypi.org"], "presets": [] });
    owner.put("/api/v1/templates/base/network", &template).await;
    let (wait, reset) = (next_policy(&runner, wanted.revision + 1), json!({ "policy": null }));
    let (wanted, _) = tokio::join!(wait, owner.put(&path, &reset));
    assert_eq!(wanted.policy, allowlist(&["pypi.org"]), "the template's");

    let (wait, none) = (next_policy(&runner, wanted.revision), json!({ "mode": "none" }));
    let (wanted, _) = tokio::join!(wait, owner.put("/api/v1/network", &none));
    assert_eq!(wanted.policy, EffectivePolicy::None, "the organisation's holds for all");
    assert_eq!(network(&owner, id).await.effective, EffectivePolicy::None);

    owner.rest(id, &runner, 3).await;
    owner.act(id, "start").await;
    assert_eq!(world.runner(id, 2).await.spec.network.policy, EffectivePolicy::None, "the next start too");
}

#[tokio::test]
async fn member_only_narrows_the_template() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let template = json!({ "mode": "allowlist", "names": ["pypi.org", "crates.io"], "presets": [] });
    assert_eq!(member.put("/api/v1/templates/base/network", &template).await.status, 403);
    assert_eq!(member.put("/api/v1/network", &template).await.status, 403);
    assert_eq!(owner.put("/api/v1/templates/base/network", &template).await.status, 200);
    let id = member.create("demo").await.id;
    let path = format!("/api/v1/workspaces/{id}/network");
    assert_eq!(world.stranger().await.get(&path).await.status, 404);

    let open: WorkspaceNetwork = member.put(&path, &json!({ "policy": { "mode": "open" } })).await.ok();
    assert!(!open.may_grant);
    assert_eq!(open.effective, allowlist(&["pypi.org", "crates.io"]), "no wider than the template");
    let narrow = json!({ "policy": { "mode": "allowlist", "names": ["pypi.org", "evil.org"] } });
    let narrow: WorkspaceNetwork = member.put(&path, &narrow).await.ok();
    assert_eq!(narrow.effective, allowlist(&["pypi.org"]));

    let names = format!("{path}/names");
    let again: WorkspaceNetwork = member.post(&names, &json!({ "names": ["crates.io"] })).await.ok();
    assert_eq!(again.effective, allowlist(&["pypi.org", "crates.io"]));
    let refused = member.post(&names, &json!({ "names": ["example.org"] })).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body["detail"].as_str().is_some_and(|text| text.contains("teacher")), "whom to ask");
    let granted: WorkspaceNetwork = owner.post(&names, &json!({ "names": ["example.org"] })).await.ok();
    assert_eq!(granted.effective, allowlist(&["pypi.org", "crates.io", "example.org"]));
    assert!(granted.is_granted && granted.may_grant);

    for names in [json!(["*.com"]), json!(["1.2.3.4"]), json!([])] {
        let refused = owner.post(&format!("{path}/names"), &json!({ "names": names })).await;
        assert!(matches!(refused.status, 400 | 422), "{names}: {}", refused.body);
    }
    let wrong = json!({ "policy": { "mode": "open", "names": ["pypi.org"] } });
    assert_eq!(owner.put(&path, &wrong).await.code(), "invalid");
}

/// A class of a teacher with one student, whose workspace is returned.
async fn class_with_student(teacher: &Client) -> (String, WorkspaceId) {
    let class = teacher.post("/api/v1/classes", &json!({ "name": "algo" })).await.body;
    let path = format!("/api/v1/classes/{}", class["id"].as_str().expect("an id"));
    let text = ("text/csv", b"Anna,anna@x.org".to_vec());
    let made = teacher.send(hyper::Method::POST, &format!("{path}/roster"), Some(text)).await.body;
    let id = made["class"]["members"][0]["workspace"]["id"].as_str().expect("made").parse();
    (path, id.expect("an id"))
}

#[tokio::test]
async fn class_policy_reaches_running_workspaces() {
    let world = World::new().await;
    let owner = world.owner().await;
    let teacher = world.member(&owner, "teacher").await;
    let (class, id) = class_with_student(&teacher).await;
    let path = format!("{class}/network");
    teacher.act(id, "start").await;
    let runner = world.runner(id, 1).await;
    runner.ready().await;
    assert_eq!(runner.spec.network.policy, EffectivePolicy::Open, "the default");

    let wait = next_policy(&runner, runner.spec.network.revision);
    let policy = json!({ "mode": "allowlist", "names": ["pypi.org", "evil.org"], "presets": [] });
    let (wanted, changed) = tokio::join!(wait, teacher.put(&path, &policy));
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(wanted.policy, allowlist(&["pypi.org", "evil.org"]));

    let tenant = json!({ "mode": "allowlist", "names": ["pypi.org", "crates.io"], "presets": [] });
    owner.put("/api/v1/network", &tenant).await;
    let shown: ClassNetwork = teacher.get(&path).await.ok();
    assert_eq!(shown.effective, allowlist(&["pypi.org"]), "no wider than the tenant's");
    assert_eq!(shown.policy.names.len(), 2);

    // What is granted to one workspace does not widen the class's policy.
    let granted = json!({ "policy": { "mode": "open" } });
    let granted: WorkspaceNetwork =
        teacher.put(&format!("/api/v1/workspaces/{id}/network"), &granted).await.ok();
    assert_eq!(granted.effective, allowlist(&["pypi.org"]));
    assert_eq!(granted.class.map(|policy| policy.names.len()), Some(2));
    let names = format!("/api/v1/workspaces/{id}/network/names");
    let refused = teacher.post(&names, &json!({ "names": ["crates.io"] })).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body["detail"].as_str().is_some_and(|text| text.contains("class network set")));

    let (wait, none) = (next_policy(&runner, wanted.revision + 2), json!({ "mode": "none" }));
    let (wanted, _) = tokio::join!(wait, owner.put(&path, &none));
    assert_eq!(wanted.policy, EffectivePolicy::None);
    let other = owner.create("demo").await.id;
    assert_eq!(network(&owner, other).await.class, None, "not in the class");
}

#[tokio::test]
async fn only_the_teacher_sets_the_class_policy() {
    let world = World::new().await;
    let owner = world.owner().await;
    let teacher = world.member(&owner, "teacher").await;
    let (class, _) = class_with_student(&teacher).await;
    let path = format!("{class}/network");
    let none = json!({ "mode": "none" });
    for (client, status) in [
        (world.member(&owner, "teacher").await, 404),
        (world.member(&owner, "member").await, 403),
        (world.stranger().await, 404),
    ] {
        assert_eq!(client.put(&path, &none).await.status, status);
        assert_eq!(client.get(&path).await.status, status);
    }
    let wrong = json!({ "mode": "open", "names": ["pypi.org"] });
    assert_eq!(teacher.put(&path, &wrong).await.code(), "invalid");
    let shown: ClassNetwork = teacher.get(&path).await.ok();
    assert_eq!(shown.effective, EffectivePolicy::Open, "nothing has changed");
}

/// A student does not leave the policy of the class with a copy, until the class is deleted.
#[tokio::test]
async fn fork_keeps_the_class_policy() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let (class, id) = class_with_student(&teacher).await;
    teacher.act(id, "start").await;
    let runner = world.runner(id, 1).await;
    runner.ready().await;
    teacher.rest(id, &runner, 3).await;
    let mut origin = id;
    for name in ["copy", "copy-of-copy"] {
        let fork = json!({ "name": name, "start": false });
        let fork = teacher.post(&format!("/api/v1/workspaces/{origin}/fork"), &fork).await;
        assert_eq!(fork.status, 201, "{}", fork.body);
        origin = serde_json::from_value(fork.body["id"].clone()).expect("an id");
        teacher.put(&format!("{class}/network"), &json!({ "mode": "none" })).await;
        assert_eq!(network(&teacher, origin).await.effective, EffectivePolicy::None);
        teacher.put(&format!("{class}/network"), &json!({ "mode": "open" })).await;
        assert_eq!(network(&teacher, origin).await.effective, EffectivePolicy::Open);
    }
    teacher.put(&format!("{class}/network"), &json!({ "mode": "none" })).await;
    assert_eq!(teacher.delete(&class).await.status, 204);
    assert_eq!(network(&teacher, origin).await.effective, EffectivePolicy::Open);
}

#[tokio::test]
async fn undelete_keeps_the_class_policy() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let (class, id) = class_with_student(&teacher).await;
    teacher.put(&format!("{class}/network"), &json!({ "mode": "none" })).await;
    assert_eq!(teacher.delete(&format!("/api/v1/workspaces/{id}")).await.status, 204);
    assert_eq!(teacher.act(id, "undelete").await.status, 200);
    assert_eq!(network(&teacher, id).await.effective, EffectivePolicy::None);
}

#[tokio::test]
async fn fork_keeps_the_policy() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    owner.put(&format!("/api/v1/workspaces/{id}/network"), &json!({ "policy": { "mode": "none" } })).await;
    owner.rest(id, &runner, 3).await;
    let fork = owner.post(&format!("/api/v1/workspaces/{id}/fork"), &json!({ "name": "copy" })).await;
    let fork = serde_json::from_value(fork.body["id"].clone()).expect("an id");
    assert_eq!(network(&owner, fork).await.effective, EffectivePolicy::None);
}

#[tokio::test]
async fn refusals_are_shown_until_the_next_start() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let refused = |number: usize| RefusedName {
        name: format!("h{number}.evil.org\u{1b}[2J"),
        reason: NetworkRefusal::NotAllowed,
        count: 3,
        last_at: OffsetDateTime::UNIX_EPOCH,
    };
    let many = (0..MAX_REFUSED + 5).map(refused).collect();
    let report = Report::Network { refused: many, sent_bytes: 7, received_bytes: u64::MAX };
    runner.report(vec![report]).await.expect("accepted");
    let shown = network(&owner, id).await;
    assert_eq!(shown.refused.len(), MAX_REFUSED);
    assert_eq!((shown.refused[0].name.as_str(), shown.refused[0].count), ("h0.evil.org[2J", 3));
    assert_eq!((shown.sent_bytes, shown.received_bytes), (Some(7), Some(i64::MAX as u64)));
    owner.rest(id, &runner, 3).await;
    assert_eq!(network(&owner, id).await.refused.len(), MAX_REFUSED, "still there when it has stopped");
    owner.act(id, "start").await;
    world.runner(id, 2).await;
    let shown = network(&owner, id).await;
    assert_eq!((shown.refused.len(), shown.sent_bytes), (0, None));
}

/// A policy in the database that cannot be read allows nothing.
#[tokio::test]
async fn damaged_policy_allows_nothing() {
    let world = World::new().await;
    let owner = world.owner().await;
    let id = owner.create("demo").await.id;
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    sqlx::query("update templates set network_policy = '{\"mode\": \"allowlist\", \"names\": [\"*\"]}'")
        .execute(system.connection())
        .await
        .expect("damaged");
    system.commit().await.expect("committed");
    assert_eq!(network(&owner, id).await.effective, EffectivePolicy::None);
}
