//! Budgets: set by owners and the operator, shown before they are exhausted, and never exceeded.

use protocol::{
    TenantId, UserId, WorkspaceId,
    api::{
        audit::{AuditEntry, AuditPage},
        budget::{Budget, BudgetItem, BudgetLevel, BudgetList, BudgetResource},
        class::{Class, ClassAction, RosterResult},
        internal::TENANT_BUDGETS_PATH,
        workspace::Workspace,
    },
};
use serde_json::json;

use super::world::{Client, World};
use crate::authz::{Action, Caller, authorize};

async fn budgets(client: &Client) -> Vec<Budget> {
    client.get("/api/v1/budgets").await.ok::<BudgetList>().budgets
}

fn item(budget: &Budget, resource: BudgetResource) -> BudgetItem {
    *budget.items.iter().find(|item| item.resource == resource).expect("listed")
}

async fn own(client: &Client) -> Budget {
    let user = client.session().await.user.id.0;
    budgets(client).await.into_iter().find(|budget| budget.id == user).expect("own")
}

/// The operator, who can open the socket of the host.
fn operator(world: &World) -> Client {
    Client { socket: world.config.socket(), headers: vec![] }
}

async fn stopped(client: &Client, name: &str) -> WorkspaceId {
    let request = json!({ "name": name, "start": false });
    client.post("/api/v1/workspaces", &request).await.ok::<Workspace>().id
}

#[tokio::test]
async fn owner_sets_and_user_sees_budget() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let user = member.session().await.user.id;
    let path = format!("/api/v1/budgets/users/{user}");
    let edit = json!({ "limits": [{ "resource": "vcpus", "limit": 3 }, { "resource": "running" }] });
    assert_eq!(member.patch(&path, &edit).await.code(), "forbidden");
    let set: Budget = owner.patch(&path, &edit).await.ok();
    assert_eq!((set.level, set.id), (BudgetLevel::User, user.0));
    assert_eq!(item(&set, BudgetResource::Vcpus).limit, Some(3));
    let running = item(&set, BudgetResource::Running);
    assert_eq!((running.limit, running.is_default), (None, false), "the default of members is 2");

    // Each workspace of the template has two virtual CPUs.
    member.create("one").await;
    let seen = own(&member).await;
    let vcpus = item(&seen, BudgetResource::Vcpus);
    assert_eq!((vcpus.used, vcpus.limit, vcpus.is_default), (2, Some(3), false), "seen before a refusal");
    assert_eq!(item(&seen, BudgetResource::Memory).used, 1 << 30);
    assert_eq!(item(&seen, BudgetResource::Starts).used, 1);
    let two = stopped(&member, "two").await;
    let refused = member.act(two, "start").await;
    assert_eq!((refused.status, refused.code()), (403, "quota_exceeded"));
    assert_eq!(
        refused.body["detail"],
        "Cannot start the workspace: it has 2 vCPUs, and the workspaces of its owner that run or wait have 2 \
         of 3 vCPUs. Stop one of them first, or ask an owner of your organisation for more."
    );
    let refused = owner.act(two, "start").await.body["detail"].to_string();
    assert!(refused.contains("or raise the limit with `burrow budget set`"), "{refused}");
    let raised = json!({ "limits": [{ "resource": "vcpus", "limit": 4 }], "defaults": ["running"] });
    owner.patch(&path, &raised).await.ok::<Budget>();
    assert_eq!(member.act(two, "start").await.status, 200);
    let running = item(&own(&member).await, BudgetResource::Running);
    assert_eq!((running.used, running.limit, running.is_default), (2, Some(2), true));

    let log: AuditPage = owner.get("/api/v1/audit?action=budget.user").await.ok();
    let AuditEntry { subject, detail, .. } = log.entries.last().expect("recorded");
    assert_eq!(*subject, user.to_string());
    assert_eq!(detail["limits"][0], json!({ "resource": "vcpus", "limit": 3 }));
}

#[tokio::test]
async fn malformed_budgets_are_refused() {
    let world = World::new().await;
    let owner = world.owner().await;
    let user = owner.session().await.user.id;
    let path = format!("/api/v1/budgets/users/{user}");
    for edit in [
        json!({ "limits": [{ "resource": "vcpus", "limit": 3 }], "defaults": ["vcpus"] }),
        json!({ "limits": [{ "resource": "vcpus", "limit": 1_u64 << 54 }] }),
        json!({ "limits": [{ "resource": "cpus", "limit": 1 }] }),
        json!({ "limits": [{ "resource": "vcpus", "limit": -1 }] }),
    ] {
        assert_eq!(owner.patch(&path, &edit).await.code(), "invalid", "{edit}");
    }
    let edit = json!({ "limits": [{ "resource": "vcpus", "limit": 3 }] });
    let stranger = world.stranger().await;
    assert_eq!(stranger.patch(&path, &edit).await.code(), "not_found");
    let unknown = format!("/api/v1/budgets/classes/{}", uuid::Uuid::now_v7());
    assert_eq!(owner.patch(&unknown, &edit).await.code(), "not_found");
}

#[tokio::test]
async fn class_shares_its_budget() {
    let world = World::new().await;
    let owner = world.owner().await;
    let class: Class = owner.post("/api/v1/classes", &json!({ "name": "algo", "template": null })).await.ok();
    let rows = "Anna,anna@x.org\nBen,ben@x.org\nCleo,cleo@x.org";
    let path = format!("/api/v1/classes/{}", class.id);
    let body = Some(("text/csv", rows.as_bytes().to_vec()));
    owner.send(hyper::Method::POST, &format!("{path}/roster"), body).await.ok::<RosterResult>();
    let edit = json!({ "limits": [{ "resource": "running", "limit": 2 }] });
    owner.patch(&format!("/api/v1/budgets/classes/{}", class.id), &edit).await.ok::<Budget>();
    let begun: ClassAction = owner.post(&format!("{path}/start"), &json!({})).await.ok();
    assert_eq!((begun.begun, begun.failed.len()), (2, 1));
    let message = &begun.failed[0].message;
    assert!(message.contains("2 workspaces of its class run or wait, and 2 may run at once"), "{message}");
    let of_class = budgets(&owner).await.into_iter().find(|budget| budget.id == class.id.0).expect("listed");
    assert_eq!(of_class.name, "algo");
    assert_eq!(item(&of_class, BudgetResource::Running).used, 2);
    let member = world.member(&owner, "member").await;
    assert!(budgets(&member).await.iter().all(|budget| budget.level != BudgetLevel::Class));
}

#[tokio::test]
async fn only_the_operator_raises_a_tenants_budget() {
    let world = World::new().await;
    let owner = world.owner().await;
    let session = owner.session().await;
    let edit = json!({ "edit": { "limits": [{ "resource": "running", "limit": 1 }] } });
    assert_eq!(owner.post(TENANT_BUDGETS_PATH, &edit).await.status, 404, "not through the gateway");
    let all: BudgetList = operator(&world).post(TENANT_BUDGETS_PATH, &edit).await.ok();
    assert_eq!(item(&all.budgets[0], BudgetResource::Running).limit, Some(1));
    owner.create("one").await;
    let refused = owner.post("/api/v1/workspaces", &json!({ "name": "two" })).await;
    let detail = refused.body["detail"].to_string();
    assert!(
        detail.contains("1 workspaces of this organisation run or wait, and 1 may run at once"),
        "{detail}"
    );
    assert!(detail.contains("ask the operator of this server for more"), "{detail}");
    let log: AuditPage = owner.get("/api/v1/audit?action=budget.tenant").await.ok();
    assert_eq!(log.entries.len(), 1);

    // Even a statement of the tenant itself does not: Postgres refuses it.
    let caller = Caller {
        tenant: session.user.tenant,
        user: session.user.id,
        role: session.user.role,
        session: protocol::SessionId::random(),
    };
    let app = world.app();
    let allowed = authorize(&caller, Action::ManageTenant).expect("an owner");
    let mut scope = app.db.scope(allowed).await.expect("a scope");
    let removed = sqlx::query("delete from budgets").execute(scope.connection()).await.expect("no error");
    assert_eq!(removed.rows_affected(), 0);
    let forged = sqlx::query("insert into budgets (tenant_id, resource, max_amount) values ($1, 'vcpus', 9)")
        .bind(session.user.tenant.0)
        .execute(scope.connection())
        .await;
    assert!(forged.expect_err("refused").to_string().contains("row-level security"));
    drop(scope);

    let _stranger = world.stranger().await;
    let unclear = operator(&world).post(TENANT_BUDGETS_PATH, &edit).await;
    assert_eq!(unclear.code(), "invalid", "with two organisations, one is named");
    let request = json!({ "tenant": session.user.tenant, "edit": { "defaults": ["running"] } });
    let all: BudgetList = operator(&world).post(TENANT_BUDGETS_PATH, &request).await.ok();
    assert_eq!(all.budgets.len(), 2);
    let request = json!({ "tenant": TenantId::random(), "edit": { "defaults": ["running"] } });
    assert_eq!(operator(&world).post(TENANT_BUDGETS_PATH, &request).await.code(), "not_found");
    assert_eq!(owner.post("/api/v1/workspaces", &json!({ "name": "two" })).await.status, 201);
}

#[tokio::test]
async fn starts_in_a_minute_are_limited() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let UserId(user) = member.session().await.user.id;
    let edit = json!({ "limits": [{ "resource": "starts", "limit": 2 }] });
    owner.patch(&format!("/api/v1/budgets/users/{user}"), &edit).await.ok::<Budget>();
    // Deleting the workspace takes no start back.
    for name in ["one", "two"] {
        let id = member.create(name).await.id;
        assert_eq!(member.delete(&format!("/api/v1/workspaces/{id}")).await.status, 204);
    }
    let three = stopped(&member, "three").await;
    let refused = member.act(three, "start").await;
    assert_eq!(refused.code(), "quota_exceeded");
    let detail = refused.body["detail"].to_string();
    assert!(
        detail.contains("were started 2 times in the last minute, and 2 starts are the limit"),
        "{detail}"
    );
    let app = world.app();
    let mut system = app.db.system().await.expect("a transaction");
    sqlx::query("delete from starts").execute(system.connection()).await.expect("deleted");
    system.commit().await.expect("committed");
    assert_eq!(member.act(three, "start").await.status, 200);
}

/// Many users start at once, through two controllers on one database.
#[tokio::test]
async fn concurrent_starts_stay_within_budget() {
    let first = World::new().await;
    let second = World::on_with_key(&first, "host-b").await;
    let owner = first.owner().await;
    let edit = json!({ "edit": { "limits": [{ "resource": "running", "limit": 7 }] } });
    operator(&first).post(TENANT_BUDGETS_PATH, &edit).await.ok::<BudgetList>();
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..24 {
        let member = first.member(&owner, "member").await;
        let id = stopped(&member, "demo").await;
        let world = if number % 2 == 0 { &first } else { &second };
        let client = Client { socket: world.config.gateway_socket(), ..member };
        starts.spawn(async move { client.act(id, "start").await });
    }
    let answers = starts.join_all().await;
    let admitted = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.code() == "quota_exceeded").count();
    assert_eq!((admitted, refused), (7, 17));
    let tenant = &budgets(&owner).await[0];
    assert_eq!((tenant.level, item(tenant, BudgetResource::Running).used), (BudgetLevel::Tenant, 7));
}
