//! Settings of the workbench in the database: those of a user, and those of a workspace.

use protocol::{
    WorkspaceId,
    api::settings::{FONT_SIZES, Settings, TAB_WIDTHS},
};
use serde_json::{Map, Value};
use sqlx::types::Json;

use crate::db::Scope;

/// A request to change settings: new values, and the names of those to reset.
#[derive(Debug)]
pub struct SettingsChange {
    values: Settings,
    reset: Vec<String>,
}

/// A request that names a value that no setting has.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    /// The setting, or "settings" if that is not known.
    pub name: &'static str,
    /// What to use instead.
    pub rule: String,
}

impl SettingsChange {
    /// Reads the body of a request. Names that are no settings are ignored.
    pub fn parse(body: Map<String, Value>) -> Result<Self, InvalidSetting> {
        let (reset, values): (Map<_, _>, Map<_, _>) =
            body.into_iter().partition(|(_, value)| value.is_null());
        let values: Settings = serde_json::from_value(Value::Object(values)).map_err(|error| {
            InvalidSetting { name: "settings", rule: format!("Use a value of its type: {error}.") }
        })?;
        for (name, size, sizes) in [
            ("editor_font_size", values.editor_font_size, FONT_SIZES),
            ("terminal_font_size", values.terminal_font_size, FONT_SIZES),
            ("tab_width", values.tab_width, TAB_WIDTHS),
        ] {
            if size.is_some_and(|size| !sizes.contains(&size)) {
                return Err(InvalidSetting {
                    name,
                    rule: format!("Use {} to {}.", sizes.start(), sizes.end()),
                });
            }
        }
        Ok(Self { values, reset: reset.into_iter().map(|(name, _)| name).collect() })
    }

    /// The values that are set, for the database.
    fn set(&self) -> Value {
        let all = serde_json::to_value(&self.values).expect("plain data");
        let Value::Object(all) = all else { unreachable!("a struct is an object") };
        Value::Object(all.into_iter().filter(|(_, value)| !value.is_null()).collect())
    }
}

/// The settings of the caller.
pub async fn of_user(scope: &mut Scope) -> Result<Settings, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    let Json(settings) = sqlx::query_scalar!(
        r#"select settings as "settings: Json<Settings>" from users where tenant_id = $1 and user_id = $2"#,
        tenant,
        user,
    )
    .fetch_one(scope.connection())
    .await?;
    Ok(settings)
}

/// Changes the settings of the caller. Returns all of them.
pub async fn change_of_user(scope: &mut Scope, change: &SettingsChange) -> Result<Settings, sqlx::Error> {
    let (tenant, user) = (scope.tenant(), scope.caller().user.0);
    let Json(settings) = sqlx::query_scalar!(
        r#"update users set settings = (settings || $3) - $4::text[] where tenant_id = $1 and user_id = $2
           returning settings as "settings: Json<Settings>""#,
        tenant,
        user,
        change.set(),
        &change.reset,
    )
    .fetch_one(scope.connection())
    .await?;
    Ok(settings)
}

/// The settings of a workspace. None: it does not exist.
pub async fn of_workspace(scope: &mut Scope, id: WorkspaceId) -> Result<Option<Settings>, sqlx::Error> {
    let tenant = scope.tenant();
    let settings = sqlx::query_scalar!(
        r#"select settings as "settings: Json<Settings>" from workspaces
           where tenant_id = $1 and workspace_id = $2"#,
        tenant,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(settings.map(|Json(settings)| settings))
}

/// Changes the settings of a workspace. Returns all of them, or none if it does not exist.
pub async fn change_of_workspace(
    scope: &mut Scope,
    id: WorkspaceId,
    change: &SettingsChange,
) -> Result<Option<Settings>, sqlx::Error> {
    let tenant = scope.tenant();
    let settings = sqlx::query_scalar!(
        r#"update workspaces set settings = (settings || $3) - $4::text[]
           where tenant_id = $1 and workspace_id = $2
           returning settings as "settings: Json<Settings>""#,
        tenant,
        id.0,
        change.set(),
        &change.reset,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(settings.map(|Json(settings)| settings))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> Result<SettingsChange, InvalidSetting> {
        let Value::Object(body) = body else { unreachable!("an object") };
        SettingsChange::parse(body)
    }

    #[test]
    fn null_resets_and_absent_stays() {
        let change = parse(json!({ "word_wrap": true, "theme": null, "from_the_future": 7 })).expect("valid");
        assert_eq!(change.set(), json!({ "word_wrap": true }));
        assert_eq!(change.reset, ["theme"]);
    }

    #[test]
    fn values_outside_of_their_ranges_are_refused() {
        for (name, low, high) in
            [("editor_font_size", 8, 40), ("terminal_font_size", 8, 40), ("tab_width", 1, 16)]
        {
            for (size, is_valid) in [(low - 1, false), (low, true), (high, true), (high + 1, false)] {
                let change = parse(json!({ name: size }));
                assert_eq!(change.is_ok(), is_valid, "{name} {size}");
                assert!(change.is_ok() || change.unwrap_err().name == name);
            }
        }
        assert_eq!(parse(json!({ "word_wrap": "yes" })).unwrap_err().name, "settings");
        assert_eq!(parse(json!({ "theme": "pink" })).unwrap_err().name, "settings");
    }
}
