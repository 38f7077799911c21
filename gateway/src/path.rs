//! Which part of the gateway a path belongs to. Pure; paths are compared as they came, never decoded, so that no later part
//! can read another path out of the same bytes.

use protocol::WorkspaceId;

#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A workspace's agent; `rest` is what stands behind `agent/`.
    Agent {
        workspace: WorkspaceId,
        rest: &'a str,
    },
    /// The controller's API.
    Api,
    /// The web app.
    App,
    Nothing,
}

impl<'a> Target<'a> {
    pub fn of(path: &'a str) -> Self {
        if !path.starts_with('/') || is_crooked(path) {
            return Self::Nothing;
        }
        if let Some(below) = path.strip_prefix("/api/v1/") {
            return Self::below_api(below);
        }
        let first = path[1..].split('/').next().unwrap_or_default();
        if matches!(first, "api" | "internal") { Self::Nothing } else { Self::App }
    }

    fn below_api(path: &'a str) -> Self {
        let agent = path
            .strip_prefix("workspaces/")
            .and_then(|path| path.split_once('/'))
            .and_then(|(id, path)| Some((id, path.strip_prefix("agent/")?)));
        let Some((id, rest)) = agent else { return Self::Api };
        match id.parse::<WorkspaceId>() {
            // Only the one way in which we write it.
            Ok(workspace) if workspace.to_string() == id => Self::Agent { workspace, rest },
            _ => Self::Nothing,
        }
    }
}

/// Whether someone could read a way upwards, or another path, out of it.
fn is_crooked(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    if lower.contains('\\') || lower.contains("%2f") || lower.contains("%5c") || lower.contains("%00") {
        return true;
    }
    lower.split('/').any(|segment| matches!(segment.replace("%2e", ".").as_str(), "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_part() {
        let workspace = WorkspaceId::random();
        let agent = format!("/api/v1/workspaces/{workspace}/agent/files/content");
        assert_eq!(Target::of(&agent), Target::Agent { workspace, rest: "files/content" });
        for path in ["/api/v1/workspaces", "/api/v1/version", "/api/v1/workspaces/x/events"] {
            assert_eq!(Target::of(path), Target::Api, "{path}");
        }
        for path in ["/", "/workspaces/1", "/assets/a.js", "/apiary"] {
            assert_eq!(Target::of(path), Target::App, "{path}");
        }
    }

    #[test]
    fn crooked_paths_lead_nowhere() {
        let workspace = WorkspaceId::random();
        let upper = workspace.to_string().to_uppercase();
        for path in [
            "",
            "*",
            "/api",
            "/api/v2/x",
            "/api/v1",
            "/internal/grants",
            "/api/v1/../../internal/grants",
            "/api/v1/%2e%2E/internal/grants",
            "/api/v1/x%2f..%2finternal",
            "/api/v1/x\\..\\internal",
            "/api/v1/workspaces/x/agent/files",
            &format!("/api/v1/workspaces/{upper}/agent/files"),
            &format!("/api/v1/workspaces/{{{workspace}}}/agent/files"),
        ] {
            assert_eq!(Target::of(path), Target::Nothing, "{path}");
        }
    }
}
