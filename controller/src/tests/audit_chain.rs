//! The chain of the audit log: nobody changes it unnoticed, and it grows within bounds.

use protocol::{
    TenantId, UserId,
    api::audit::{AuditEntry, AuditOutcome, AuditPage, AuditVerification},
    audit::ChainVerifier,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use time::Duration;

use super::world::{Client, World};
use crate::audit::{
    self, maintenance,
    origin::Origin,
    refusals::{self, Refusal},
};

/// A connection of the superuser, who may do everything.
async fn superuser(world: &World) -> PgConnection {
    PgConnection::connect(world.config.database_url.expose()).await.expect("connects")
}

async fn execute(connection: &mut PgConnection, statements: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{statements}: {error}"));
}

async fn list(client: &Client, query: &str) -> AuditPage {
    client.get(&format!("/api/v1/audit?{query}")).await.ok()
}

async fn verify(client: &Client) -> AuditVerification {
    client.post("/api/v1/audit/verify", &json!({})).await.ok()
}

async fn tenant_of(client: &Client) -> TenantId {
    client.session().await.user.tenant
}

/// Writes an entry of the server, with a detail that is hard to print.
async fn write_entry(world: &World, tenant: TenantId, action: &str) {
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    let detail = json!({
        "longer": [1, -2, u64::MAX, null, true, {}],
        "b": "ü\"\\\u{8}\u{c}\n\r\t\u{1}\u{7f}/", "a": { "": [] },
    });
    audit::write_system(system.connection(), tenant, action, "subject", detail).await.expect("written");
    system.commit().await.expect("committed");
}

#[tokio::test]
async fn tampering_is_found() {
    let world = World::new().await;
    let owner = world.owner().await;
    let tenant = tenant_of(&owner).await;
    for _ in 0..3 {
        let id = owner.create("demo").await.id;
        owner.delete(&format!("/api/v1/workspaces/{id}")).await;
        write_entry(&world, tenant, "test.entry").await;
    }
    let report = verify(&owner).await;
    assert!(report.is_intact && report.entries >= 9 && report.first_seq == 1, "{report:?}");
    let last = report.last_seq;
    let mut admin = superuser(&world).await;
    // A person who controls the database can switch triggers off.
    execute(&mut admin, "set session_replication_role = replica; create table copy as select * from audit")
        .await;
    let forged = |seq: u64, of: u64| {
        format!(
            "insert into audit (tenant_id, seq, at, action, subject, detail, previous, hash)
             select tenant_id, {seq}, at, action, subject, detail, previous, hash from copy where seq = {of}"
        )
    };
    let changes = [
        "at = at + interval '1 microsecond'",
        "actor = gen_random_uuid()",
        "session_id = gen_random_uuid()",
        "request_id = 'other'",
        "address = '203.0.113.9'",
        "action = action || '.'",
        "subject = subject || ' '",
        "outcome = 'refused'",
        r#"detail = detail || '{"more": 1}'"#,
        "previous = sha256('x')",
        "hash = sha256('x')",
    ];
    let all = changes
        .map(|change| format!("update audit set {change} where seq = 3"))
        .into_iter()
        .chain([1, 3, last].map(|seq| format!("delete from audit where seq = {seq}")))
        .chain([
            "update audit set seq = -seq where seq in (3, 4);
             update audit set seq = 7 + seq where seq < 0"
                .to_owned(),
            "update audit set seq = seq + 1000 where seq >= 3;
             update audit set seq = seq - 999 where seq > 1000;"
                .to_owned()
                + &forged(3, 2),
            forged(last + 1, last),
        ]);
    for change in all {
        execute(&mut admin, &change).await;
        let report = verify(&owner).await;
        assert!(!report.is_intact && !report.faults.is_empty(), "{change}: {report:?}");
        execute(&mut admin, "delete from audit; insert into audit select * from copy").await;
        assert!(verify(&owner).await.is_intact, "restored after {change}");
    }
}

#[tokio::test]
async fn cut_or_rewritten_log_does_not_fit_anchors() {
    let world = World::new().await;
    let owner = world.owner().await;
    let tenant = tenant_of(&owner).await;
    write_entry(&world, tenant, "test.secret").await;
    maintenance::keep_all(&world.app(), world.app().now()).await.expect("anchored");
    let report = verify(&owner).await;
    assert!(report.is_intact && report.anchors == 1 && report.last_anchored_seq == report.last_seq);
    let mut admin = superuser(&world).await;
    execute(
        &mut admin,
        "set session_replication_role = replica;
         delete from audit where action = 'test.secret';
         update audit_heads h set seq = a.seq, hash = a.hash, anchored_seq = 0 from audit a
             where a.tenant_id = h.tenant_id and a.seq = h.seq - 1",
    )
    .await;
    let cut = verify(&owner).await;
    assert_eq!(cut.faults, [format!("entry {} was anchored and is missing", report.last_seq)]);
    // The chain is continued as if nothing had been. It is consistent by itself.
    write_entry(&world, tenant, "test.other").await;
    let rewritten = verify(&owner).await;
    assert_eq!(rewritten.faults, [format!("entry {} is not the one that was anchored", report.last_seq)]);
    // The next anchor does not hide that: the object is not overwritten.
    maintenance::keep_all(&world.app(), world.app().now()).await.expect("kept");
    assert!(!verify(&owner).await.is_intact);
}

#[tokio::test]
async fn database_refuses_changes_and_removals() {
    let world = World::new().await;
    let owner = world.owner().await;
    write_entry(&world, tenant_of(&owner).await, "test.entry").await;
    let mut admin = superuser(&world).await;
    for role in ["burrow_app", "burrow_system", "postgres"] {
        for statement in [
            "update audit set action = 'x'",
            "delete from audit",
            "truncate audit",
            "update audit_heads set seq = 0",
            "update audit_heads set hash = sha256('x')",
            "delete from audit_heads",
            "truncate audit_heads cascade",
        ] {
            let statements = format!("set role {role}; {statement}");
            let refused = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut admin).await;
            let error = refused.expect_err(statement).to_string();
            let expected = ["permission denied", "cannot be changed or removed", "cannot go back"];
            assert!(expected.iter().any(|text| error.contains(text)), "{role}: {statement}: {error}");
            execute(&mut admin, "reset role").await;
        }
    }
    assert!(verify(&owner).await.is_intact);
}

#[tokio::test]
async fn concurrent_writers_make_one_chain() {
    let world = World::new().await;
    let (owner, stranger) = (world.owner().await, world.stranger().await);
    let tenants = [tenant_of(&owner).await, tenant_of(&stranger).await];
    let before = verify(&owner).await.entries;
    let writers = (0..40).map(|index| write_entry(&world, tenants[index % 2], "test.entry"));
    futures_util::future::join_all(writers).await;
    for (client, added) in [(&owner, before + 20), (&stranger, 20)] {
        let report = verify(client).await;
        assert!(report.is_intact && report.entries >= added, "{report:?}");
    }
}

#[tokio::test]
async fn held_log_blocks_writers_only() {
    let world = World::new().await;
    let (owner, stranger) = (world.owner().await, world.stranger().await);
    let tenant = tenant_of(&owner).await;
    write_entry(&world, tenant, "test.entry").await;
    let mut admin = superuser(&world).await;
    let mut holder = admin.begin().await.expect("begun");
    sqlx::query("select from audit_heads where tenant_id = $1 for update")
        .bind(tenant.0)
        .execute(&mut *holder)
        .await
        .expect("locked");
    assert_eq!(owner.get("/api/v1/workspaces").await.status, 200);
    assert_eq!(list(&owner, "action=test.entry").await.entries.len(), 1);
    stranger.create("demo").await;
    let mut writing = Box::pin(owner.create("demo"));
    let blocked = futures_util::poll!(&mut writing);
    assert!(blocked.is_pending());
    holder.rollback().await.expect("ended");
    writing.await;
    assert!(verify(&owner).await.is_intact);
}

#[tokio::test]
async fn retention_leaves_a_checkpoint() {
    let world = World::new().await;
    let owner = world.owner().await;
    for _ in 0..5 {
        write_entry(&world, tenant_of(&owner).await, "test.entry").await;
    }
    let (app, last) = (world.app(), verify(&owner).await.last_seq);
    maintenance::keep_all(&app, app.now() + Duration::days(364)).await.expect("kept");
    assert_eq!(verify(&owner).await.pruned_seq, 0);
    maintenance::keep_all(&app, app.now() + Duration::days(366)).await.expect("kept");
    let report = verify(&owner).await;
    assert!(report.is_intact && report.pruned_seq == last && report.first_seq == last + 1, "{report:?}");
    let entries = list(&owner, "").await.entries;
    assert_eq!((entries.len(), entries[0].action.as_str()), (1, "audit.prune"));
    assert_eq!(entries[0].detail, json!({ "entries": last, "days": 365 }));
    let mut admin = superuser(&world).await;
    execute(
        &mut admin,
        "set session_replication_role = replica; update audit_heads set pruned_hash = sha256('x')",
    )
    .await;
    assert!(!verify(&owner).await.is_intact);
}

#[tokio::test]
async fn refused_attempts_are_counted_not_stored() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (app, tenant) = (world.app(), tenant_of(&owner).await);
    let now = app.now();
    let refusal = |account: UserId| Refusal {
        actor: None,
        action: "session.refuse",
        subject: account.to_string(),
        key: account.to_string(),
        detail: json!({ "by": "password" }),
    };
    let (one, other) = (UserId::random(), UserId::random());
    for attempt in 0..200 {
        let origin = Origin::new(protocol::RequestId::random(), &format!("198.51.100.{attempt}"));
        let refusal = refusal(if attempt < 198 { one } else { other });
        let mut system = app.db.system().await.expect("a transaction");
        let recording = refusals::record(system.connection(), now, tenant, &refusal);
        origin.run(recording).await.expect("recorded");
        system.commit().await.expect("committed");
    }
    let entries = async || list(&owner, "action=session.refuse").await.entries;
    let of = |entries: &[AuditEntry], account: UserId| {
        entries.iter().filter(|entry| entry.subject == account.to_string()).count()
    };
    let written = entries().await;
    assert_eq!((of(&written, one), of(&written, other)), (5, 2));
    assert!(written.iter().all(|entry| entry.outcome == AuditOutcome::Refused));
    assert_eq!(refusals::fold(&app.db, now).await.expect("folded"), 0);
    assert_eq!(refusals::fold(&app.db, now + Duration::HOUR).await.expect("folded"), 1);
    assert_eq!(refusals::fold(&app.db, now + Duration::HOUR).await.expect("folded"), 0);
    let folded = &entries().await[0];
    assert_eq!((&folded.detail["further_attempts"], &folded.subject), (&json!(193), &one.to_string()));
    assert_eq!(folded.detail["addresses"].as_array().map(Vec::len), Some(8));
    assert!(verify(&owner).await.is_intact);
}

#[tokio::test]
async fn auditor_reads_and_changes_nothing() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (auditor, teacher) = (world.member(&owner, "auditor").await, world.member(&owner, "teacher").await);
    owner.create("demo").await;
    assert!(list(&auditor, "action=workspace.create").await.entries.len() == 1);
    assert!(verify(&auditor).await.is_intact);
    assert_eq!(auditor.get("/api/v1/audit/retention").await.ok::<Value>()["days"], 365);
    let days = json!({ "days": 30 });
    assert_eq!(auditor.put("/api/v1/audit/retention", &days).await.code(), "forbidden");
    assert_eq!(owner.put("/api/v1/audit/retention", &json!({ "days": 7 })).await.code(), "invalid");
    assert_eq!(owner.put("/api/v1/audit/retention", &days).await.ok::<Value>()["days"], 30);
    for path in ["", "/export", "/retention"] {
        assert_eq!(teacher.get(&format!("/api/v1/audit{path}")).await.code(), "forbidden");
    }
    assert_eq!(teacher.post("/api/v1/audit/verify", &json!({})).await.code(), "forbidden");
    // Each of these refusals is in the log.
    let me = teacher.session().await.user;
    let refused = list(&owner, &format!("outcome=refused&actor={}", me.email)).await.entries;
    let routes: Vec<_> =
        refused.iter().map(|entry| entry.detail["route"].as_str().unwrap_or_default()).collect();
    assert_eq!(routes, ["POST /audit/verify", "GET /audit/retention", "GET /audit/export", "GET /audit"]);
    assert!(refused.iter().all(|entry| entry.actor == Some(me.id) && entry.action == "request.refuse"));
}

#[tokio::test]
async fn hidden_workspaces_are_refused_on_record() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (student, other) = (world.member(&owner, "member").await, world.member(&owner, "member").await);
    let id = student.create("demo").await.id;
    assert_eq!(other.get(&format!("/api/v1/workspaces/{id}/snapshots")).await.status, 404);
    let grant = json!({
        "credential": other.credential(), "workspace": id, "needs": "read", "kind": "terminal",
        "address": "198.51.100.7",
    });
    assert_eq!(world.anonymous().post("/internal/grants", &grant).await.status, 404);
    let refused = list(&owner, "outcome=refused").await.entries;
    let seen: Vec<_> =
        refused.iter().map(|entry| (entry.action.as_str(), entry.address.as_deref())).collect();
    assert_eq!(seen, [("workspace.connect", Some("198.51.100.7")), ("request.refuse", None)]);
    assert_eq!(refused[0].subject, id.to_string());
    // What does not exist is no refusal.
    let missing = protocol::WorkspaceId::random();
    assert_eq!(other.get(&format!("/api/v1/workspaces/{missing}/snapshots")).await.status, 404);
    assert_eq!(list(&owner, "outcome=refused").await.entries.len(), 2);
}

#[tokio::test]
async fn entries_are_filtered_and_paged() {
    let world = World::new().await;
    let owner = world.owner().await;
    let client = owner.with("x-burrow-client-address", "198.51.100.7");
    let request = protocol::RequestId::random().to_string();
    let id = client.with("x-request-id", &request).create("demo").await.id;
    client.act(id, "stop").await;
    let me = owner.session().await.user;
    let created = &list(&owner, "action=workspace.create").await.entries[0];
    assert_eq!((created.actor, created.actor_email.as_deref()), (Some(me.id), Some(me.email.as_str())));
    assert_eq!(
        (created.request.as_deref(), created.address.as_deref()),
        (Some(&*request), Some("198.51.100.7"))
    );
    assert!(created.session.is_some() && created.outcome == AuditOutcome::Allowed);
    let count = async |query: &str| list(&owner, query).await.entries.len();
    assert_eq!(count(&format!("subject={id}")).await, 2);
    assert_eq!(count(&format!("subject={id}&action=workspace.stop")).await, 1);
    assert_eq!(count(&format!("actor={}&action=workspace.", me.id)).await, 2);
    assert_eq!(count("actor=nobody@x.org").await, 0);
    assert_eq!(count("until=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(count(&format!("from=2020-01-01T00:00:00Z&subject={id}")).await, 2);
    assert_eq!(owner.get("/api/v1/audit?outcome=perhaps").await.code(), "invalid");
    assert_eq!(owner.get("/api/v1/audit?limit=501").await.code(), "invalid");

    let all = list(&owner, "").await.entries;
    let (mut paged, mut before) = (Vec::new(), u64::MAX >> 1);
    loop {
        let page = list(&owner, &format!("limit=1&before={before}")).await;
        before = page.entries[0].seq;
        paged.extend(page.entries);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(paged, all);
    let mut followed = list(&owner, "after=0").await.entries;
    followed.reverse();
    assert_eq!(followed, all);
    assert!(world.stranger().await.get("/api/v1/audit").await.ok::<AuditPage>().entries.is_empty());
}

#[tokio::test]
async fn export_is_verified_without_the_server() {
    use http_body_util::BodyExt as _;

    let world = World::new().await;
    let owner = world.owner().await;
    let tenant = tenant_of(&owner).await;
    for _ in 0..1200 {
        write_entry(&world, tenant, "test.entry").await;
    }
    let response = owner.open(hyper::Method::GET, "/api/v1/audit/export", None).await;
    let bytes = response.into_body().collect().await.expect("read").to_bytes();
    let text = std::str::from_utf8(&bytes).expect("text");
    let mut chain: Option<ChainVerifier> = None;
    for line in text.lines() {
        let entry: AuditEntry = serde_json::from_str(line).expect("an entry");
        let begin = || ChainVerifier::new(tenant, entry.seq - 1, entry.previous);
        chain.get_or_insert_with(begin).check(&entry).expect("intact");
    }
    let head = list(&owner, "limit=1").await.entries.remove(0);
    assert_eq!(head.action, "audit.export");
    assert_eq!(chain.expect("entries").head(), (head.seq, head.hash));
}

#[tokio::test]
async fn entries_of_older_versions_begin_the_chain() {
    let url = super::postgres::database().await;
    let mut connection = PgConnection::connect(url.expose()).await.expect("connects");
    crate::db::migrate_to(17, &mut connection).await;
    let tenant = TenantId::random();
    execute(
        &mut connection,
        &format!(
            r#"insert into tenants (tenant_id, name, wrapped_key) values ('{tenant}', 'Old', '\x00');
               insert into audit (tenant_id, action, subject, detail)
               select '{tenant}', 'workspace.create', n::text, '{{"name": "ü", "mib": 10}}'
               from generate_series(1, 20) n"#
        ),
    )
    .await;
    crate::migrate(&url).await.expect("migrated");
    let entries = {
        let head = audit::query::find_head(&mut connection, tenant).await.expect("read").expect("a head");
        assert_eq!(head.seq, 20);
        let after = audit::query::Position::After(0);
        let filter = audit::query::Filter::default();
        audit::query::list(&mut connection, tenant, &filter, after, 100).await.expect("read")
    };
    let mut chain = ChainVerifier::new(tenant, 0, protocol::audit::EntryHash::ZERO);
    for entry in &entries {
        chain.check(entry).expect("intact");
        assert_eq!(entry.subject, entry.seq.to_string());
    }
    assert_eq!(entries.len(), 20);
}
