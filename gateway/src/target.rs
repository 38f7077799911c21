//! Decides which part of the gateway serves a path. Pure. Paths are compared as they arrived and
//! never decoded, so that no later part can read another path out of the same bytes.

use protocol::WorkspaceId;

use crate::tls::CA_CERTIFICATE_PATH;

/// The part of the gateway that serves a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The relay to a workspace's agent.
    Agent {
        /// The workspace in the path.
        workspace: WorkspaceId,
        /// The path below `agent/`.
        rest: &'a str,
    },
    /// The controller's API.
    Api,
    /// The web app.
    WebApp,
    /// The certificate of a local CA.
    CaCertificate,
    /// No part: 404.
    NotFound,
}

impl<'a> Target<'a> {
    /// Finds the target of `path`, which has no query.
    pub fn parse(path: &'a str) -> Self {
        if !path.starts_with('/') || is_ambiguous(path) {
            return Self::NotFound;
        }
        if let Some(below) = path.strip_prefix("/api/v1/") {
            return Self::parse_api(below);
        }
        if path == CA_CERTIFICATE_PATH {
            return Self::CaCertificate;
        }
        let first = path[1..].split('/').next().unwrap_or_default();
        if matches!(first, "api" | "internal") { Self::NotFound } else { Self::WebApp }
    }

    fn parse_api(path: &'a str) -> Self {
        let agent = path
            .strip_prefix("workspaces/")
            .and_then(|path| path.split_once('/'))
            .and_then(|(id, path)| Some((id, path.strip_prefix("agent/")?)));
        let Some((id, rest)) = agent else { return Self::Api };
        match id.parse::<WorkspaceId>() {
            // Only in the canonical form: a UUID can be written in several ways.
            Ok(workspace) if workspace.to_string() == id => Self::Agent { workspace, rest },
            _ => Self::NotFound,
        }
    }
}

/// Whether a lenient parser could read a parent directory or another path out of it.
fn is_ambiguous(path: &str) -> bool {
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
    fn path_has_one_target() {
        let workspace = WorkspaceId::random();
        let agent = format!("/api/v1/workspaces/{workspace}/agent/files/content");
        assert_eq!(Target::parse(&agent), Target::Agent { workspace, rest: "files/content" });
        for path in ["/api/v1/workspaces", "/api/v1/version", "/api/v1/workspaces/x/events"] {
            assert_eq!(Target::parse(path), Target::Api, "{path}");
        }
        for path in ["/", "/workspaces/1", "/assets/a.js", "/apiary"] {
            assert_eq!(Target::parse(path), Target::WebApp, "{path}");
        }
    }

    #[test]
    fn ambiguous_path_is_not_found() {
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
            assert_eq!(Target::parse(path), Target::NotFound, "{path}");
        }
    }
}
