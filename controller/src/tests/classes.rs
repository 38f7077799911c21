//! A class from its roster to its stop.

use protocol::{
    Access,
    api::class::{Class, ClassAction, RosterChange, RosterResult},
    workspace::Phase,
};
use serde_json::json;

use super::world::{Client, World};

const ROSTER: &str =
    "name;e-mail\nAnna;anna@x.org\nBen\nCleo;cleo@x.org\nDan;dan@@x.org\nAnna again;ANNA@x.org\n";

async fn class(teacher: &Client) -> Class {
    teacher.post("/api/v1/classes", &json!({ "name": "algo", "template": null })).await.ok()
}

async fn roster(teacher: &Client, class: &Class, text: &str) -> RosterResult {
    let path = format!("/api/v1/classes/{}/roster", class.id);
    teacher.send(hyper::Method::POST, &path, Some(("text/csv", text.as_bytes().to_vec()))).await.ok()
}

fn token(path: &str) -> String {
    path.strip_prefix("/join#").expect("its form").to_owned()
}

#[tokio::test]
async fn roster_reports_bad_rows_and_adds_the_rest() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let class = class(&teacher).await;
    let result = roster(&teacher, &class, ROSTER).await;
    assert_eq!(result.added.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["Anna", "Cleo"]);
    assert_eq!(result.errors.iter().map(|error| error.line).collect::<Vec<_>>(), [3, 5, 6]);
    assert!(result.class.members.iter().all(|member| !member.joined && member.workspace.is_some()));
    let again = roster(&teacher, &class, "Anna,anna@x.org\nEve,eve@x.org").await;
    assert_eq!((again.unchanged, again.added.len(), again.class.members.len()), (1, 1, 3));
}

#[tokio::test]
async fn invited_student_sees_only_own_workspace() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let class = class(&teacher).await;
    let result = roster(&teacher, &class, ROSTER).await;
    let mut events = teacher.events(&format!("/api/v1/classes/{}/events", class.id)).await;
    events.until(|name, _| name == "class").await;
    let link = token(result.added[0].invitation.as_ref().expect("a link").path.expose());
    let view = world.anonymous().post("/api/v1/invitations/view", &json!({ "token": link })).await;
    assert_eq!(
        (view.body["class_name"].as_str(), view.body["email"].as_str()),
        (Some("algo"), Some("anna@x.org"))
    );
    let accept = json!({ "token": link, "name": "Anna A.", "password": "a long password" });
    let weak = json!({ "token": link, "name": "Anna A.", "password": "short" });
    assert_eq!(world.anonymous().post("/api/v1/invitations/accept", &weak).await.status, 422);
    let joined = world.anonymous().post("/api/v1/invitations/accept", &accept).await;
    assert_eq!(joined.status, 200, "{}", joined.body);
    let anna = world.anonymous().with_cookie(&joined);
    events.until(|_, data| data["members"][0]["joined"] == true).await;
    assert_eq!(world.anonymous().post("/api/v1/invitations/accept", &accept).await.code(), "expired");

    let own = anna.get("/api/v1/workspaces").await;
    let own = own.body["workspaces"].as_array().expect("a list").clone();
    assert_eq!((own.len(), own[0]["name"].as_str()), (1, Some("algo")));
    let cleos = result.class.members[1].workspace.as_ref().expect("made").id;
    assert_eq!(anna.get(&format!("/api/v1/workspaces/{cleos}")).await.status, 404);
    assert_eq!(anna.get("/api/v1/classes").await.status, 403);
    assert_eq!(anna.get("/api/v1/users").await.status, 403);
    assert_eq!(anna.get(&format!("/api/v1/classes/{}", class.id)).await.status, 403);
}

#[tokio::test]
async fn invitation_does_not_take_over_account() {
    let world = World::new().await;
    let owner = world.owner().await;
    let email = owner.session().await.user.email;
    owner.post("/api/v1/auth/password", &json!({ "current": null, "new": "the owner's own" })).await;
    let class = class(&owner).await;
    let result = roster(&owner, &class, &format!("Owner,{email}")).await;
    let link = token(result.added[0].invitation.as_ref().expect("a link").path.expose());
    let accept = |password: &str| json!({ "token": link, "name": "Evil", "password": password });
    let refused = world.anonymous().post("/api/v1/invitations/accept", &accept("a new password")).await;
    assert_eq!(refused.code(), "bad_credentials");
    let joined = world.anonymous().post("/api/v1/invitations/accept", &accept("the owner's own")).await;
    assert_eq!((joined.status, joined.body["user"]["name"].as_str()), (200, Some("Owner")));
}

#[tokio::test]
async fn teacher_starts_watches_and_stops_class() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let class = class(&teacher).await;
    roster(&teacher, &class, ROSTER).await;
    let mut events = teacher.events(&format!("/api/v1/classes/{}/events", class.id)).await;
    let path = format!("/api/v1/classes/{}", class.id);
    let begun: ClassAction = teacher.post(&format!("{path}/start"), &json!({})).await.ok();
    assert_eq!((begun.begun, begun.unchanged, begun.failed.len()), (2, 0, 0));
    let now: Class = teacher.get(&path).await.ok();
    let ids: Vec<_> = now.members.iter().map(|member| member.workspace.as_ref().expect("made").id).collect();
    for id in &ids {
        world.runner(*id, 1).await.ready().await;
    }
    let phases = |data: &serde_json::Value, phase: &str| {
        data["members"].as_array().is_some_and(|all| all.iter().all(|one| one["workspace"]["phase"] == phase))
    };
    events.until(|_, data| phases(data, "running")).await;
    // A teacher looks, and does not type.
    let look = |needs: Access| {
        let credential = teacher.credential();
        json!({ "credential": credential, "workspace": ids[0], "needs": needs, "kind": "terminal" })
    };
    assert_eq!(world.anonymous().post("/internal/grants", &look(Access::Read)).await.body["access"], "read");
    assert_eq!(world.anonymous().post("/internal/grants", &look(Access::Write)).await.code(), "forbidden");

    let again: ClassAction = teacher.post(&format!("{path}/start"), &json!({})).await.ok();
    assert_eq!((again.begun, again.unchanged), (0, 2));
    let stopped: ClassAction = teacher.post(&format!("{path}/stop"), &json!({})).await.ok();
    assert_eq!(stopped.begun, 2);
    for id in &ids {
        world.runner(*id, 1).await.persist(3).await;
        teacher.reaches(*id, Phase::Terminated).await;
    }
    events.until(|_, data| phases(data, "terminated")).await;
    assert_eq!(teacher.get("/api/v1/classes").await.body["classes"][0]["members"], 2);
    let member = now.members[0].id;
    assert_eq!(teacher.delete(&format!("{path}/members/{member}")).await.status, 204);
    assert_eq!(teacher.delete(&path).await.status, 204);
    assert_eq!(teacher.get(&path).await.status, 404);
    assert!(teacher.get("/api/v1/workspaces").await.body["workspaces"].as_array().is_some_and(Vec::is_empty));
}

#[tokio::test]
async fn new_invitation_voids_old_one() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let class = class(&teacher).await;
    let result = roster(&teacher, &class, "Anna,anna@x.org").await;
    let path = format!("/api/v1/classes/{}/members/{}/invitation", class.id, result.added[0].member);
    assert_eq!(world.stranger().await.post(&path, &json!({})).await.status, 404);
    let fresh = teacher.post(&path, &json!({})).await;
    assert_eq!(fresh.status, 200);
    let old = json!({ "token": token(result.added[0].invitation.as_ref().expect("a link").path.expose()) });
    assert_eq!(world.anonymous().post("/api/v1/invitations/view", &old).await.code(), "expired");
    let new = json!({ "token": token(fresh.body["path"].as_str().expect("a path")) });
    assert_eq!(world.anonymous().post("/api/v1/invitations/view", &new).await.status, 200);
}

#[tokio::test]
async fn roster_sent_again_corrects_and_adds_nobody_twice() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let class = class(&teacher).await;
    let path = format!("/api/v1/classes/{}/roster", class.id);
    let send = async |bytes: &[u8], dry_run: bool| -> RosterResult {
        let path = format!("{path}?dry_run={dry_run}");
        teacher.send(hyper::Method::POST, &path, Some(("text/csv", bytes.to_vec()))).await.ok()
    };
    let (first, second): (&[u8], &[u8]) = (
        include_bytes!("../classes/roster/cases/week1.csv"),
        include_bytes!("../classes/roster/cases/week2.csv"),
    );
    let preview = send(first, true).await;
    assert_eq!((preview.rows.len(), preview.added.len(), preview.class.members.len()), (3, 0, 0));
    assert!(preview.format.text.starts_with("Name,E-Mail\nAda"), "{}", preview.format.text);
    let done = send(first, false).await;
    assert_eq!((done.added.len(), done.class.members.len()), (3, 3));
    let old = done.added[2].invitation.as_ref().expect("a link").path.expose().clone();

    let preview = send(second, true).await;
    let done = send(second, false).await;
    assert_eq!(preview.rows, done.rows, "the preview tells what is done");
    let changes: Vec<RosterChange> = done.rows.iter().map(|row| row.change).collect();
    assert_eq!(
        changes,
        [
            RosterChange::NameCorrected,
            RosterChange::Unchanged,
            RosterChange::EmailCorrected,
            RosterChange::Added
        ]
    );
    let members: Vec<_> =
        done.class.members.iter().map(|one| (one.name.as_str(), one.email.as_str())).collect();
    assert_eq!(
        members,
        [
            ("Ada Lindqvist-Berg", "ada.lindqvist@school.example"),
            ("Bruno Okafor", "bruno.okafor@school.example"),
            ("Chiara Rossi", "chiara.rossi@school.example"),
            ("Dai Vernon", "dai.vernon@school.example"),
        ]
    );
    let view = async |path: &str| {
        world.anonymous().post("/api/v1/invitations/view", &json!({ "token": token(path) })).await
    };
    assert_eq!(view(&old).await.code(), "expired", "it went to another address");
    let fresh = done.corrected[0].invitation.as_ref().expect("a link").path.expose().clone();
    assert_eq!(view(&fresh).await.body["email"], "chiara.rossi@school.example");

    let shorter = send(b"Ada Lindqvist-Berg,ada.lindqvist@school.example", false).await;
    assert_eq!((shorter.missing.len(), shorter.class.members.len()), (3, 4), "no student is removed");
}

#[tokio::test]
async fn roster_without_students_is_refused() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let class = class(&teacher).await;
    let path = format!("/api/v1/classes/{}/roster", class.id);
    let text = b"Student,ID\nAda,5101\n".to_vec();
    let refused = teacher.send(hyper::Method::POST, &path, Some(("text/csv", text))).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid"));
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains("Student, ID")));
}

#[tokio::test]
async fn invisible_characters_do_not_lock_student_out() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let class = class(&teacher).await;
    let result = roster(&teacher, &class, "Name,E-Mail\nBruno,\u{200b}bruno@x.org\u{a0}\n").await;
    let link = token(result.added[0].invitation.as_ref().expect("a link").path.expose());
    let accept = json!({ "token": link, "name": "Bruno", "password": "a long password" });
    assert_eq!(world.anonymous().post("/api/v1/invitations/accept", &accept).await.status, 200);
    for typed in ["bruno@x.org", "bruno@x.org\u{a0}"] {
        let login = json!({ "email": typed, "password": "a long password" });
        assert_eq!(world.anonymous().post("/api/v1/auth/login", &login).await.status, 200, "{typed:?}");
    }
}

#[tokio::test]
async fn second_teacher_gets_no_link_to_pending_student() {
    let world = World::new().await;
    let owner = world.owner().await;
    let mut teachers = Vec::new();
    for name in ["one", "two"] {
        let new = json!({ "email": format!("{name}@x.org"), "name": name, "role": "teacher" });
        let link = owner.post("/api/v1/users", &new).await.body["link"]["path"].clone();
        let token = link.as_str().expect("a path").strip_prefix("/welcome#").expect("its form").to_owned();
        let signed = world.anonymous().post("/api/v1/auth/link", &json!({ "token": token })).await;
        teachers.push(world.anonymous().with_cookie(&signed));
    }
    let (first, second) = (class(&teachers[0]).await, class(&teachers[1]).await);
    let invited = roster(&teachers[0], &first, "Anna,anna@x.org").await;
    assert!(invited.added[0].invitation.is_some());
    let taken = roster(&teachers[1], &second, "Anna,anna@x.org").await;
    assert!(taken.added[0].invitation.is_none(), "a link would give the account away");
    let renew = format!("/api/v1/classes/{}/members/{}/invitation", second.id, taken.added[0].member);
    assert_eq!(teachers[1].post(&renew, &json!({})).await.code(), "conflict");
    let again = format!("/api/v1/classes/{}/members/{}/invitation", first.id, invited.added[0].member);
    assert_eq!(teachers[0].post(&again, &json!({})).await.status, 200);
}

#[tokio::test]
async fn class_name_may_have_spaces() {
    let world = World::new().await;
    let teacher = world.owner().await;
    let class: Class = teacher.post("/api/v1/classes", &json!({ "name": "Einführung, Teil 1" })).await.ok();
    let result = roster(&teacher, &class, "Anna,anna@x.org").await;
    let workspace = result.class.members[0].workspace.as_ref().expect("made");
    assert_eq!((class.name.as_str(), workspace.name.as_str()), ("Einführung, Teil 1", "einfuhrung-teil-1"));
    let again = teacher.post("/api/v1/classes", &json!({ "name": "Einführung, Teil 1" })).await;
    assert_eq!(again.code(), "name_taken");
}
