//! Files of snapshots through the API, and who may see them.

use protocol::api::snapshot::{Changes, Diff, Directory};
use serde_json::json;

use super::world::{World, stream};

#[tokio::test]
async fn files_and_diffs_are_those_of_snapshot() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (id, runner) = owner.running(&world, "demo").await;
    let large = "x".repeat(3 << 20);
    world.files.insert(1, &[("a.txt", "one\n"), ("src/main.rs", "fn main() {}")]);
    world.files.insert(2, &[("a.txt", "two\n"), ("large \"é\".bin", &large)]);
    runner.report(vec![stream(1), stream(2)]).await.expect("accepted");
    let first = owner.snapshots(id).await[1].id;
    let at = |which: &str, rest: &str| format!("/api/v1/workspaces/{id}/snapshots/{which}/{rest}");
    let first = first.to_string();

    let home: Directory = owner.get(&at(&first, "files")).await.ok();
    assert_eq!(home.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a.txt", "src"]);
    let below: Directory = owner.get(&at(&first, "files?path=src")).await.ok();
    assert_eq!(below.entries[0].name, "main.rs");

    let content =
        owner.open(hyper::Method::GET, &at("latest", "content?path=large%20%22%C3%A9%22.bin"), None).await;
    assert_eq!(content.status(), 200);
    let header = |name: &str| content.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("content-length"), (3 << 20).to_string());
    assert_eq!(header("content-type"), "application/octet-stream");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(header("content-security-policy").contains("sandbox"));
    assert!(header("content-disposition").starts_with("attachment; filename=\"large ___.bin\""));
    let body = http_body_util::BodyExt::collect(content.into_body()).await.expect("whole").to_bytes();
    assert!(body == large.as_bytes());

    for (rest, file, members) in [
        ("archive?path=src", "src.tar", &["src/", "src/main.rs"][..]),
        ("archive?path=a.txt", "a.txt.tar", &["a.txt"]),
        ("archive", "home.tar", &["home/", "home/a.txt", "home/src/", "home/src/main.rs"]),
    ] {
        let archive = owner.open(hyper::Method::GET, &at(&first, rest), None).await;
        let disposition = archive.headers()["content-disposition"].to_str().expect("text").to_owned();
        assert!(disposition.contains(&format!("\"{file}\"")), "{disposition}");
        let body = http_body_util::BodyExt::collect(archive.into_body()).await.expect("whole").to_bytes();
        assert_eq!(members_of(&body), members);
    }

    let changes: Changes = owner.get(&at(&first, "changes")).await.ok();
    assert_eq!(changes.changes.len(), 3);
    let none: Changes = owner.get(&at(&first, &format!("changes?with={first}"))).await.ok();
    assert_eq!(none.changes.len(), 0);
    let diff: Diff = owner.get(&at(&first, "diff?path=a.txt")).await.ok();
    assert_eq!(diff, Diff::Text { unified: "-one\n+two\n".to_owned() });

    for (rest, status, code) in [
        ("files?path=..%2Fetc", 422, "invalid"),
        ("content?path=%2Fetc%2Fpasswd", 422, "invalid"),
        ("content?path=src", 415, "unsupported"),
        ("content?path=nothing", 404, "not_found"),
        ("archive?path=nothing", 404, "not_found"),
        ("content?path=broken", 503, "unavailable"),
        ("content?path=silent", 504, "timeout"),
        ("diff?path=silent", 504, "timeout"),
        ("changes?with=nonsense", 422, "invalid"),
    ] {
        let refused = owner.get(&at(&first, rest)).await;
        assert_eq!((refused.status, refused.code()), (status, code), "{rest}");
    }
    runner.report(vec![stream(3)]).await.expect("accepted");
    let blank = owner.get(&at("latest", "files")).await;
    assert_eq!((blank.status, blank.code()), (415, "unsupported"), "{}", blank.body);
}

/// The names in a tar whose contents are shorter than a block.
fn members_of(tar: &[u8]) -> Vec<String> {
    let headers = tar.chunks(512).filter(|block| block.get(257..262) == Some(b"ustar"));
    let name = |block: &[u8]| block[..100].split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
    headers.filter_map(name).map(|name| String::from_utf8(name).expect("text")).collect()
}

#[tokio::test]
async fn strangers_see_nothing() {
    let world = World::new().await;
    let (owner, stranger) = (world.owner().await, world.stranger().await);
    let (id, runner) = owner.running(&world, "demo").await;
    world.files.insert(1, &[("secret", "demo")]);
    runner.report(vec![stream(1)]).await.expect("accepted");
    let snapshot = owner.snapshots(id).await[0].id;
    // Of a member of the same tenant who does not teach the owner, and of another tenant.
    let member = world.member(&owner, "member").await;
    let base = format!("/api/v1/workspaces/{id}");
    let body = json!({ "name": "x", "snapshot": snapshot, "home_mib": 5000 });
    for client in [&stranger, &member] {
        for which in ["latest".to_owned(), snapshot.to_string()] {
            let at = format!("{base}/snapshots/{which}");
            for answer in [
                client.get(&format!("{at}/files")).await,
                client.get(&format!("{at}/content?path=secret")).await,
                client.get(&format!("{at}/archive")).await,
                client.get(&format!("{at}/changes")).await,
                client.get(&format!("{at}/diff?path=secret")).await,
                client.patch(&at, &body).await,
                client.delete(&at).await,
            ] {
                assert_eq!((answer.status, answer.code()), (404, "not_found"));
            }
        }
        for answer in [
            client.get(&format!("{base}/snapshots")).await,
            client.post(&format!("{base}/snapshots"), &body).await,
            client.post(&format!("{base}/restore"), &body).await,
            client.post(&format!("{base}/restores"), &body).await,
            client.post(&format!("{base}/restores/{snapshot}/undo"), &body).await,
            client.post(&format!("{base}/fork"), &body).await,
            client.patch(&base, &body).await,
        ] {
            assert_eq!((answer.status, answer.code()), (404, "not_found"));
            assert!(!answer.body.to_string().contains("demo"));
        }
    }
    for answer in [
        member.get("/api/v1/retention").await,
        member
            .put(
                "/api/v1/retention",
                &json!({ "all_hours": 1, "minutely_hours": 1, "hourly_hours": 1, "daily_hours": 1 }),
            )
            .await,
        member.post("/api/v1/admin/gc", &json!({})).await,
    ] {
        assert_eq!((answer.status, answer.code()), (403, "forbidden"));
    }
    assert_eq!(owner.snapshots(id).await.len(), 1);
}

#[tokio::test]
async fn teacher_reads_but_cannot_change() {
    let world = World::new().await;
    let owner = world.owner().await;
    let teacher = world.member(&owner, "teacher").await;
    let class = teacher.post("/api/v1/classes", &json!({ "name": "algo" })).await.body;
    let roster = format!("/api/v1/classes/{}/roster", class["id"].as_str().expect("an id"));
    let text = ("text/csv", b"Anna,anna@x.org".to_vec());
    let made = teacher.send(hyper::Method::POST, &roster, Some(text)).await.body;
    let id = made["added"][0]["member"]
        .as_str()
        .and_then(|_| made["class"]["members"][0]["workspace"]["id"].as_str());
    let id = id.expect("made").parse().expect("an id");
    owner.act(id, "start").await;
    let runner = world.runner(id, 1).await;
    runner.ready().await;
    world.files.insert(1, &[("homework", "42")]);
    runner.report(vec![stream(1)]).await.expect("accepted");
    let base = format!("/api/v1/workspaces/{id}");
    let listed: Directory = teacher.get(&format!("{base}/snapshots/latest/files")).await.ok();
    assert_eq!(listed.entries[0].name, "homework");
    let snapshot = owner.snapshots(id).await[0].id;
    for answer in [
        teacher.post(&format!("{base}/snapshots"), &json!({})).await,
        teacher.post(&format!("{base}/restore"), &json!({ "snapshot": snapshot })).await,
        teacher.delete(&format!("{base}/snapshots/{snapshot}")).await,
        teacher.patch(&format!("{base}/snapshots/{snapshot}"), &json!({ "name": "x" })).await,
        teacher.patch(&base, &json!({ "home_mib": 9000 })).await,
    ] {
        assert_eq!((answer.status, answer.code()), (403, "forbidden"));
    }
    // A copy to look at is the teacher's own.
    let wish = json!({ "name": "anna", "snapshot": snapshot, "start": false });
    let fork = teacher.post(&format!("{base}/fork"), &wish).await;
    assert_eq!((fork.status, &fork.body["owner"]), (201, &json!(teacher.session().await.user.id)));
    assert!(fork.body["class"].is_null());
}
