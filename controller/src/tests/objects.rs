//! Objects, as runners reach them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use protocol::{TenantId, WorkspaceId};
use tokio::{io::AsyncReadExt as _, net::UnixListener};

use super::world::{Client, World};
use crate::api;

/// A client on a socket that serves what the runner of this tenant is served.
fn runner_of(world: &World, tenant: TenantId) -> Client {
    runner_of_workspace(world, tenant, WorkspaceId::random())
}

fn runner_of_workspace(world: &World, tenant: TenantId, workspace: WorkspaceId) -> Client {
    let socket = world.directory.path().join(tenant.to_string());
    let listener = UnixListener::bind(&socket).expect("bound");
    let router = api::runner_router(world.app(), tenant, workspace);
    tokio::spawn(std::future::IntoFuture::into_future(axum::serve(listener, router)));
    Client { socket, headers: vec![] }
}

async fn put(client: &Client, name: &str, content: &[u8]) -> StatusCode {
    let path = format!("/internal/objects/{name}");
    let body = ("application/octet-stream", content.to_vec());
    client.open(Method::PUT, &path, Some(body)).await.status()
}

async fn get(client: &Client, name: &str) -> (u16, Bytes) {
    use http_body_util::BodyExt as _;
    let path = format!("/internal/objects/{name}?max_bytes=1000000");
    let response = client.open(Method::GET, &path, None).await;
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.expect("received").to_bytes())
}

#[tokio::test]
async fn objects_are_created_once_and_read() {
    let world = World::new().await;
    let client = runner_of(&world, TenantId::random());
    // Larger than one piece of a stream.
    let content: Vec<u8> = (0..700_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    assert_eq!(put(&client, "packs/a", &content).await, 201);
    assert_eq!(put(&client, "packs/a", b"other").await, 200, "it exists");
    assert_eq!(get(&client, "packs/a").await, (200, content.clone().into()));
    let small = client.open(Method::GET, "/internal/objects/packs/a?max_bytes=699999", None).await;
    assert_eq!(small.status(), 422, "larger than the runner takes");
    let within = client.with("range", "bytes=65530-65539");
    let part = within.open(Method::GET, "/internal/objects/packs/a", None).await;
    let part = http_body_util::BodyExt::collect(part.into_body()).await.expect("received");
    assert_eq!(part.to_bytes(), content[65_530..65_540]);
    let beyond = client.with("range", "bytes=699999-700000");
    assert_eq!(beyond.open(Method::GET, "/internal/objects/packs/a", None).await.status(), 422);
    assert_eq!(get(&client, "packs/b").await.0, 404);
    for method in [Method::DELETE, Method::POST] {
        assert_eq!(client.open(method, "/internal/objects/packs/a", None).await.status(), 405);
    }
}

#[tokio::test]
async fn runner_reaches_only_objects_of_its_tenant() {
    let world = World::new().await;
    let (own, other) = (TenantId::random(), TenantId::random());
    let foreign = format!("{other}/packs/a");
    let store = world.app().store.clone();
    store.put_if_absent(&foreign, Bytes::from_static(b"secret")).await.expect("stored");
    store.put_if_absent("top", Bytes::from_static(b"secret")).await.expect("stored");
    let client = runner_of(&world, own);
    let escapes = ["", "../", "%2e%2e/", "..%2f", "/", "./../", "packs/../../", "%2F", "a/%2e%2e/%2e%2e/"];
    for escape in escapes {
        for target in [&foreign, "top"] {
            let name = format!("{escape}{target}");
            let (status, content) = get(&client, &name).await;
            assert!([400, 404, 422].contains(&status) && content != "secret", "{name}: {status} {content:?}");
        }
        let name = format!("{escape}{other}/packs/new");
        put(&client, &name, b"planted").await;
    }
    let names = |prefix: String| {
        let store = store.clone();
        async move {
            let listed = store.list(&prefix, None).await.expect("listed");
            listed.into_iter().map(|object| object.name).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(format!("{other}/")).await, [foreign], "nothing was planted");
    assert_eq!(names(format!("{own}/")).await, [format!("{own}/{other}/packs/new")], "below its own prefix");
}

#[tokio::test]
async fn runner_that_stores_too_much_is_slowed() {
    const MIB: u64 = 1 << 20;
    let world = World::new().await;
    let (tenant, workspace) = (TenantId::random(), WorkspaceId::random());
    let client = runner_of_workspace(&world, tenant, workspace);
    let app = world.app();
    app.uploads.set_home_size(workspace, 0);
    // Eight hours of automatic snapshots, of which it has used all but one MiB.
    let complete = 8 * u64::from(app.config.history.upload_mib_per_hour) * MIB;
    let begun = Instant::now();
    let used = app.uploads.take_allowance(workspace, complete - MIB).expect("within the allowance");
    assert_eq!(used, Duration::ZERO);
    let content = vec![7; 1 << 20];
    assert_eq!(put(&client, "packs/a", &content).await, StatusCode::CREATED, "the rest of it");
    assert_eq!(put(&client, "packs/b", &content).await, StatusCode::CREATED, "it is not refused");
    assert!(begun.elapsed() > Duration::from_millis(800), "0.86 s for each MiB: {:?}", begun.elapsed());
    assert_eq!(put(&client, "packs/b", &content).await, StatusCode::OK, "it exists, and costs nothing");
    let mut large = client.send_head(Method::PUT, "/internal/objects/packs/d", 512 << 20).await;
    let mut refused = [0; 12];
    large.read_exact(&mut refused).await.expect("an answer");
    assert_eq!(refused, *b"HTTP/1.1 422", "no object is that large");
    let mut large = client.send_head(Method::PUT, "/internal/objects/packs/d", 250 << 20).await;
    large.read_exact(&mut refused).await.expect("an answer");
    assert_eq!(refused, *b"HTTP/1.1 503", "later: it would wait for minutes");
    let other = app.uploads.take_allowance(WorkspaceId::random(), complete).expect("its own allowance");
    assert_eq!(other, Duration::ZERO, "others are not slowed");
}
