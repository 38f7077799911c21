//! The main functions in a real headless browser. The steps are in scripts of `browser/`; the
//! tests start the server.

use std::path::PathBuf;

use burrow_tests::{
    Stack, StackOptions,
    browser::{browser_enabled, run_script_with},
    guests_enabled, short_directory, target_directory,
};

async fn run_in_browser(script: &str, runtime: &'static str) {
    if !browser_enabled() {
        return;
    }
    let place = short_directory();
    let stack = Stack::start_signed_out(StackOptions::new(runtime, &place.path().join("d"))).await;
    let screenshots = format!("{}-{runtime}", script.trim_end_matches(".mjs"));
    run_script_with(&stack, script, &screenshots, &[]).await;
    stack.interrupt().await;
}

#[tokio::test]
async fn api_reference_works_without_other_hosts() {
    run_in_browser("api-reference.mjs", "fake").await;
}

#[tokio::test]
async fn browser_end_to_end() {
    run_in_browser("drive.mjs", "fake").await;
}

#[tokio::test]
async fn browser_end_to_end_on_microvms() {
    if guests_enabled() {
        run_in_browser("drive.mjs", "microvm").await;
    }
}

#[tokio::test]
async fn stock_clients_in_browsers_edit_together() {
    run_in_browser("stock-clients.mjs", "fake").await;
}

#[tokio::test]
async fn git_works_in_browser() {
    run_in_browser("git.mjs", "fake").await;
}

#[tokio::test]
async fn git_works_in_browser_on_microvms() {
    if guests_enabled() {
        run_in_browser("git.mjs", "microvm").await;
    }
}

#[tokio::test]
async fn previews_in_a_browser() {
    run_in_browser("previews.mjs", "fake").await;
}

#[tokio::test]
async fn everyone_can_use_every_page() {
    run_in_browser("accessibility.mjs", "fake").await;
}

#[tokio::test]
async fn languages_work_in_browser() {
    if !browser_enabled() {
        return;
    }
    let place = short_directory();
    let stack = Stack::start_signed_out(StackOptions::new("fake", &place.path().join("d"))).await;
    let below_target = || target_directory().join("basedpyright-venv/bin");
    let server = std::env::var_os("BURROW_BASEDPYRIGHT").map_or_else(below_target, PathBuf::from);
    let server = server.to_str().expect("a path of text");
    run_script_with(&stack, "languages.mjs", "languages-fake", &[("BURROW_BASEDPYRIGHT", server)]).await;
    stack.interrupt().await;
}
