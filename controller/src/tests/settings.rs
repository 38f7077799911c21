//! Settings of the workbench: of a user, and of a workspace.

use protocol::api::settings::{Settings, Theme};
use serde_json::json;

use super::world::World;

const MINE: &str = "/api/v1/users/me/settings";

#[tokio::test]
async fn settings_of_user_are_changed_one_by_one() {
    let world = World::new().await;
    let owner = world.owner().await;
    assert_eq!(owner.get(MINE).await.ok::<Settings>(), Settings::default());
    let dark: Settings = owner.patch(MINE, &json!({ "theme": "dark", "tab_width": 2 })).await.ok();
    assert_eq!((dark.theme, dark.tab_width), (Some(Theme::Dark), Some(2)));
    let wrapped: Settings = owner.patch(MINE, &json!({ "word_wrap": true, "theme": null })).await.ok();
    assert_eq!((wrapped.theme, wrapped.tab_width, wrapped.word_wrap), (None, Some(2), Some(true)));
    assert_eq!(owner.get(MINE).await.ok::<Settings>(), wrapped);
    assert_eq!(owner.patch(MINE, &json!({ "tab_width": 99 })).await.status, 422);
    let member = world.member(&owner, "member").await;
    assert_eq!(member.get(MINE).await.ok::<Settings>(), Settings::default(), "they are another user's");
}

#[tokio::test]
async fn settings_of_workspace_are_its_owners() {
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let theirs = format!("/api/v1/workspaces/{}/settings", owner.create("demo").await.id);
    let set = json!({ "editor_font_size": 20 });
    assert_eq!(owner.patch(&theirs, &set).await.ok::<Settings>().editor_font_size, Some(20));
    assert_eq!(owner.get(&theirs).await.ok::<Settings>().editor_font_size, Some(20));
    assert_eq!(owner.get(MINE).await.ok::<Settings>().editor_font_size, None);
    for other in [member, world.stranger().await] {
        assert_eq!(other.patch(&theirs, &set).await.status, 404);
        assert_eq!(other.get(&theirs).await.status, 404);
    }
}
