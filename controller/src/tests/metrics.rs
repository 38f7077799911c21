//! What operators see of starts, failures and workspaces.

use protocol::workspace::Phase;

use super::world::World;

/// The value of a metric with exactly these labels, in their order.
fn value(text: &str, metric: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse().ok())
}

#[tokio::test]
async fn starts_and_workspaces_are_measured() {
    let world = World::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/metrics", listener.local_addr().expect("bound"));
    world.controller().serve_metrics(listener);
    let scrape = async || {
        let client = reqwest::Client::builder().no_proxy().build().expect("valid");
        let response = client.get(&url).send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        response.text().await.expect("text")
    };
    let owner = world.owner().await;
    let tenant = owner.session().await.user.tenant;
    let (demo, runner) = owner.running(&world, "demo").await;
    owner.create("other").await;

    let text = scrape().await;
    let workspaces = |text: &str, phase: &str| {
        value(text, &format!("burrow_workspaces{{tenant=\"{tenant}\",phase=\"{phase}\"}}"))
    };
    assert_eq!(workspaces(&text, "running"), Some(1.0), "{text}");
    assert_eq!(value(&text, &format!("burrow_starts_total{{tenant=\"{tenant}\"}}")), Some(1.0));
    for histogram in ["burrow_start_seconds_count", "burrow_start_step_seconds_bucket"] {
        assert!(text.contains(histogram), "{histogram}");
    }
    assert!(!text.contains("demo") && !text.contains('@'), "no names and addresses");

    runner.kill();
    owner.reaches(demo, Phase::Terminated).await;
    let text = scrape().await;
    assert_eq!(workspaces(&text, "running"), Some(0.0), "what is gone is zero");
    let failures = text.lines().filter(|line| line.starts_with("burrow_failures_total"));
    assert!(failures.into_iter().any(|line| line.contains(&tenant.to_string())), "{text}");
}
