//! Usage: counted once whatever happens to reports, and seen only by those who may.

use protocol::{
    WorkspaceId,
    api::{
        budget::{Budget, BudgetResource},
        class::{Class, RosterResult},
        usage::{UsageAmounts, UsageGroup, UsageReport},
        workspace::Workspace,
    },
    runner::{AcknowledgedState, Command, Report, ReportRequest},
};
use serde_json::json;
use time::{Date, Duration, OffsetDateTime};

use super::world::{Client, Runner, World, snapshot};
use crate::{
    authz::{Action, Caller, authorize},
    usage::{self, day_of},
};

async fn usage(client: &Client, query: &str) -> UsageReport {
    client.get(&format!("/api/v1/usage?{query}")).await.ok()
}

/// What a runner reports after it has run for so long and sent so much.
async fn count(runner: &Runner, seconds: u64, sent_bytes: u64, mut reports: Vec<Report>) -> bool {
    reports.insert(0, Report::Network { refused: vec![], sent_bytes, received_bytes: 2 * sent_bytes });
    let request = ReportRequest {
        workspace: runner.spec.workspace,
        epoch: runner.spec.epoch,
        reports,
        acknowledged: AcknowledgedState {
            command: Command::Run,
            snapshot: u64::MAX,
            repair: u64::MAX,
            home_mib: 0,
            network_revision: u64::MAX,
        },
        wait_ms: 0,
        ran_ms: seconds * 1000,
    };
    runner.send(request).await.is_ok()
}

async fn stopped(client: &Client, name: &str) -> Workspace {
    client.post("/api/v1/workspaces", &json!({ "name": name, "start": false })).await.ok()
}

fn machine(amounts: UsageAmounts) -> (u64, u64, u64) {
    (amounts.machine_seconds, amounts.sent_bytes, amounts.received_bytes)
}

async fn caller(client: &Client) -> Caller {
    let session = client.session().await;
    Caller {
        tenant: session.user.tenant,
        user: session.user.id,
        role: session.user.role,
        session: protocol::SessionId::random(),
    }
}

mod machines {
    use super::*;

    #[tokio::test]
    async fn repeated_and_late_reports_count_once() {
        let mut world = World::new().await;
        let owner = world.owner().await;
        let (id, runner) = owner.running(&world, "demo").await;
        assert!(count(&runner, 60, 500, vec![]).await);
        assert!(count(&runner, 60, 500, vec![]).await, "the answer was lost");
        assert!(count(&runner, 20, 100, vec![]).await, "an older one arrives late");
        assert_eq!(machine(usage(&owner, "").await.total), (60, 500, 1000));
        assert!(count(&runner, 63, 500, vec![]).await);
        assert_eq!(machine(usage(&owner, "").await.total).0, 60, "a little time waits for more");
        owner.act(id, "stop").await;
        assert!(count(&runner, 65, 700, vec![snapshot(1), Report::Stopped]).await);
        assert!(!count(&runner, 900, 900, vec![]).await, "it is over");
        let ended = usage(&owner, "").await.total;
        assert_eq!(machine(ended), (65, 700, 1400));
        assert_eq!(ended.vcpu_seconds, 130, "two virtual CPUs");

        // A higher epoch begins at 0, and the old one adds nothing any more.
        owner.act(id, "start").await;
        let next = world.runner(id, 2).await;
        next.ready().await;
        assert!(count(&next, 30, 10, vec![]).await);
        assert!(!count(&runner, 1000, 1000, vec![]).await);
        assert_eq!(machine(usage(&owner, "").await.total), (95, 710, 1420));

        // A controller that is started again continues.
        world.stop().await;
        world.start().await;
        let owner = world.owner().await;
        assert_eq!(machine(usage(&owner, "").await.total), (95, 710, 1420));
    }

    #[tokio::test]
    async fn run_over_midnight_counts_for_both_days() {
        let world = World::new().await;
        let owner = world.owner().await;
        let (id, runner) = owner.running(&world, "demo").await;
        let run = (owner.session().await.user.tenant, id, runner.spec.epoch);
        let app = world.app();
        let midnight = app.now().replace_time(time::Time::MIDNIGHT);
        let ran = |ran_ms| usage::counters::Counters { ran_ms, sent_bytes: 0, received_bytes: 0 };
        for (now, reported) in [
            (midnight - Duration::seconds(5), 40_000),
            (midnight + Duration::seconds(20), 65_000),
            // The clock is set back by an hour, then forward again.
            (midnight - Duration::hours(1), 85_000),
            (midnight + Duration::seconds(80), 105_000),
        ] {
            let mut system = app.db.system().await.expect("a transaction");
            usage::record_run(system.connection(), run, now, ran(reported), false).await.expect("recorded");
            system.commit().await.expect("committed");
        }
        let yesterday = day_of(midnight - Duration::HOUR);
        let report = usage(&owner, &format!("by=day&from={yesterday}")).await;
        let seconds: Vec<_> = report.rows.iter().map(|row| row.amounts.machine_seconds).collect();
        assert_eq!(seconds, [40 + 5 + 20, 20 + 20]);
        assert_eq!(report.total.machine_seconds, 105);
    }

    #[tokio::test]
    async fn absurd_counters_break_nothing() {
        let world = World::new().await;
        let owner = world.owner().await;
        let (_, runner) = owner.running(&world, "demo").await;
        for _ in 0..3 {
            assert!(count(&runner, u64::MAX / 2000, u64::MAX / 2, vec![]).await);
        }
        let from = day_of(world.app().now() - Duration::days(40));
        let total = usage(&owner, &format!("from={from}")).await.total;
        assert_eq!(total.sent_bytes, (1 << 53) - 1);
        assert_eq!(total.machine_seconds, 31 * 86_400, "no report adds more");
    }
}

mod homes {
    use super::*;

    async fn sample(world: &World, now: OffsetDateTime) {
        usage::sample_homes(&world.app().db, now).await.expect("sampled");
    }

    #[tokio::test]
    async fn each_hour_is_added_once() {
        let world = World::new().await;
        let other = World::on_with_key(&world, "host-b").await;
        let owner = world.owner().await;
        let workspace = stopped(&owner, "demo").await;
        let home_bytes = u64::from(workspace.resources.home_mib) << 20;
        let now = world.app().now();
        let after = |hours| now + Duration::hours(hours);
        let period = format!("from={}&to={}", day_of(now), day_of(after(72)));
        // Both controllers look; then none runs for four hours; then a clock goes back and forth.
        for hours in [1, 1, 5, 5, 3, 2, 5, 6] {
            tokio::join!(sample(&world, after(hours)), sample(&other, after(hours)));
        }
        assert_eq!(usage(&owner, &period).await.total.home_byte_days, home_bytes * 6 / 24);

        // What is deleted is added no more, and what was used stays.
        let path = format!("/api/v1/workspaces/{}", workspace.id);
        assert!(owner.delete(&path).await.status < 300);
        sample(&world, after(30)).await;
        let report = usage(&owner, &period).await;
        assert_eq!(report.total.home_byte_days, home_bytes * 6 / 24);
        assert_eq!((report.rows.len(), report.rows[0].name.as_str()), (1, "demo"));
    }

    #[tokio::test]
    async fn old_rows_go_and_young_ones_stay() {
        let world = World::new().await;
        let owner = world.owner().await;
        owner.create("demo").await;
        let app = world.app();
        let today = app.now();
        let mut system = app.db.system().await.expect("a transaction");
        let add = "insert into usage_days (tenant_id, day, workspace_id, user_id, machine_ms)
                   select tenant_id, $1, workspace_id, owner_id, 1000 from workspaces";
        for days in [400, 401, 402, 500] {
            let query = sqlx::query(add).bind(day_of(today - Duration::days(days)));
            query.execute(system.connection()).await.expect("added");
        }
        system.commit().await.expect("committed");
        usage::delete_old(&app.db, today).await.expect("deleted");
        assert_eq!(count_days(&world).await, 2);
        // Even if a clock is wrong by years.
        usage::delete_old(&app.db, today + Duration::days(4000)).await.expect("tried");
        assert_eq!(count_days(&world).await, 2, "the database keeps them");
    }

    async fn count_days(world: &World) -> i64 {
        let app = world.app();
        let mut system = app.db.system().await.expect("a transaction");
        sqlx::query_scalar("select count(*) from usage_days where machine_ms > 0")
            .fetch_one(system.connection())
            .await
            .expect("counted")
    }
}

#[tokio::test]
async fn everyone_sees_what_they_may() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (teacher, auditor) = (world.member(&owner, "teacher").await, world.member(&owner, "auditor").await);
    let member = world.member(&owner, "member").await;
    let class: Class =
        teacher.post("/api/v1/classes", &json!({ "name": "algo", "template": null })).await.ok();
    let roster = Some(("text/csv", b"Anna,anna@x.org\nBen,ben@x.org".to_vec()));
    let path = format!("/api/v1/classes/{}/roster", class.id);
    teacher.send(hyper::Method::POST, &path, roster).await.ok::<RosterResult>();
    owner.create("own").await;
    let add = "insert into usage_days (tenant_id, day, workspace_id, user_id, class_id, machine_ms)
               select tenant_id, $1, workspace_id, owner_id, class_id, 7200000 from workspaces";
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    sqlx::query(add).bind(day_of(app.now())).execute(system.connection()).await.expect("added");
    system.commit().await.expect("committed");

    for client in [&owner, &auditor] {
        let all = usage(client, "everyone=true&by=user").await;
        assert_eq!((all.total.machine_seconds, all.rows.len()), (3 * 7200, 3));
        let classes = usage(client, "everyone=true&by=class").await;
        let named: Vec<_> = classes.rows.iter().map(|row| (row.name.as_str(), row.key.is_empty())).collect();
        assert_eq!(named, [("algo", false), ("No class", true)]);
    }
    let of_class = format!("class={}&by=user", class.id);
    for client in [&owner, &auditor, &teacher] {
        let mut emails: Vec<_> =
            usage(client, &of_class).await.rows.into_iter().map(|row| row.name).collect();
        emails.sort();
        assert_eq!(emails, ["anna@x.org", "ben@x.org"]);
    }
    let own = usage(&owner, "").await;
    assert_eq!((own.rows.len(), own.by), (1, UsageGroup::Workspace));
    assert_eq!(own.rows[0].owner.as_deref(), Some(owner.session().await.user.email.as_str()));
    assert_eq!(usage(&member, "").await.total, UsageAmounts::default());
    assert_eq!(usage(&teacher, "").await.total, UsageAmounts::default());

    for client in [&teacher, &member] {
        assert_eq!(client.get("/api/v1/usage?everyone=true").await.code(), "forbidden");
    }
    let stranger = world.stranger().await;
    for client in [&member, &stranger, &world.member(&owner, "teacher").await] {
        assert_eq!(client.get(&format!("/api/v1/usage?{of_class}")).await.code(), "not_found");
    }
    assert_eq!(usage(&stranger, "everyone=true").await.total, UsageAmounts::default());
    let foreign = format!("/api/v1/usage?user={}", owner.session().await.user.id);
    assert_eq!(member.get(&foreign).await.code(), "invalid");

    // A class that is deleted keeps its usage and its name.
    assert!(teacher.delete(&format!("/api/v1/classes/{}", class.id)).await.status < 300);
    assert_eq!(usage(&teacher, &of_class).await.total.machine_seconds, 2 * 7200);
    assert_eq!(usage(&owner, "everyone=true&by=class").await.rows[0].name, "algo");
}

#[tokio::test]
async fn export_is_a_table() {
    let world = World::new().await;
    let owner = world.owner().await;
    let (_, runner) = owner.running(&world, "demo").await;
    assert!(count(&runner, 60, 500, vec![]).await);
    let answer = owner.open(hyper::Method::GET, "/api/v1/usage/export?by=workspace", None).await;
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("read").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("text");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("key,name,owner,machine_seconds"), "{text}");
    assert!(lines[1].contains(",demo,") && lines[1].ends_with(",60,120,0,0,500,1000"), "{text}");
    for query in ["from=2026-03-02&to=2026-03-01", "from=2020-01-01", "from=1.3.2026", "by=host"] {
        assert_eq!(owner.get(&format!("/api/v1/usage?{query}")).await.code(), "invalid", "{query}");
    }
}

#[tokio::test]
async fn database_isolates_and_keeps_usage() {
    let world = World::new().await;
    let (owner, stranger) = (world.owner().await, world.stranger().await);
    let (id, runner): (WorkspaceId, Runner) = owner.running(&world, "demo").await;
    assert!(count(&runner, 60, 500, vec![]).await);
    let app = world.app();
    let seen = async |client: &Client| -> i64 {
        let allowed = authorize(&caller(client).await, Action::ReadUsage).expect("allowed");
        let mut scope = app.db.scope(allowed).await.expect("a scope");
        let counted = sqlx::query_scalar("select count(*) from usage_days").fetch_one(scope.connection());
        counted.await.expect("counted")
    };
    assert_eq!((seen(&owner).await, seen(&stranger).await), (1, 0));
    let allowed = authorize(&caller(&owner).await, Action::ReadUsage).expect("allowed");
    let mut scope = app.db.scope(allowed).await.expect("a scope");
    let denied = sqlx::query("update usage_days set machine_ms = 0").execute(scope.connection()).await;
    assert!(denied.expect_err("refused").to_string().contains("permission denied"));
    for change in ["machine_ms = 0", "sent_bytes = 1", "day = day - 1", "hours = -1"] {
        let mut system = app.db.system().await.expect("a transaction");
        let query =
            sqlx::AssertSqlSafe(format!("update usage_days set {change} where workspace_id = '{id}'"));
        let refused = sqlx::query(query).execute(system.connection()).await;
        assert!(refused.is_err(), "{change}");
    }
    let mut system = app.db.system().await.expect("a transaction");
    let deleted = sqlx::query("delete from usage_days").execute(system.connection()).await.expect("tried");
    assert_eq!(deleted.rows_affected(), 0, "young rows stay");
}

#[tokio::test]
async fn egress_budget_refuses_starts_and_ends_nothing() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let user = member.session().await.user.id;
    let (id, runner) = member.running(&world, "one").await;
    assert!(count(&runner, 60, 5 << 30, vec![]).await);
    let path = format!("/api/v1/budgets/users/{user}");
    let set = async |limit: u64| {
        let edit = json!({ "limits": [{ "resource": "egress", "limit": limit }] });
        owner.patch(&path, &edit).await.ok::<Budget>()
    };
    let budget = set(6 << 30).await;
    let item = budget.items.iter().find(|item| item.resource == BudgetResource::Egress).expect("listed");
    assert_eq!((item.used, item.limit), (5 << 30, Some(6 << 30)), "seen before a refusal");
    let two = stopped(&member, "two").await;
    assert!(count(&runner, 80, 6 << 30, vec![]).await);
    let refused = member.act(two.id, "start").await;
    assert_eq!((refused.status, refused.code()), (403, "quota_exceeded"));
    assert_eq!(
        refused.body["detail"],
        "Cannot start the workspace: the workspaces of its owner have sent 6 GiB of 6 GiB to the network \
         this month. Wait for the first day of the next month (UTC), or ask an owner of your organisation \
         for more."
    );
    assert_eq!(runner.exchange(vec![], Command::Run, 0).await.expect("served").desired.command, Command::Run);
    assert_eq!(member.workspace(id).await.phase, protocol::workspace::Phase::Running);

    // Last month's bytes do not count.
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    let last_month: Date = usage::month_of(app.now()).previous_day().expect("a day");
    sqlx::query(
        "insert into usage_days (tenant_id, day, workspace_id, user_id, sent_bytes)
         select tenant_id, $1, workspace_id, owner_id, 1::bigint << 40 from workspaces",
    )
    .bind(last_month)
    .execute(system.connection())
    .await
    .expect("added");
    system.commit().await.expect("committed");
    set(7 << 30).await;
    assert_eq!(member.act(two.id, "start").await.status, 200);
}
