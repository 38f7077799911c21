//! Presets: lists of names that many workspaces need.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AllowedName;

/// A list of names that Burrow maintains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPreset {
    /// Package registries: PyPI, npm, crates.io, Debian, Go, Maven.
    Registries,
    /// What VS Code Server and JetBrains Gateway download.
    Editors,
    /// GitHub, GitLab and Bitbucket.
    Git,
}

const REGISTRIES: &[&str] = &[
    // Python
    "pypi.org",
    "files.pythonhosted.org",
    // Node.js
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "nodejs.org",
    // Rust
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "static.rust-lang.org",
    // Debian
    "deb.debian.org",
    "security.debian.org",
    // Go
    "proxy.golang.org",
    "sum.golang.org",
    // Java
    "repo.maven.apache.org",
    "repo1.maven.org",
];

const EDITORS: &[&str] = &[
    // VS Code Server and its extensions
    "update.code.visualstudio.com",
    "vscode.download.prss.microsoft.com",
    "marketplace.visualstudio.com",
    "main.vscode-cdn.net",
    "*.gallery.vsassets.io",
    "*.gallerycdn.vsassets.io",
    "*.vscode-unpkg.net",
    "open-vsx.org",
    "openvsx.eclipsecontent.org",
    // JetBrains Gateway, its back ends and plugins
    "www.jetbrains.com",
    "download.jetbrains.com",
    "download-cdn.jetbrains.com",
    "cache-redirector.jetbrains.com",
    "data.services.jetbrains.com",
    "plugins.jetbrains.com",
    "downloads.marketplace.jetbrains.com",
];

const GIT: &[&str] = &[
    "github.com",
    "ssh.github.com",
    "api.github.com",
    "codeload.github.com",
    "raw.githubusercontent.com",
    "objects.githubusercontent.com",
    "release-assets.githubusercontent.com",
    "github-cloud.s3.amazonaws.com",
    "gitlab.com",
    "altssh.gitlab.com",
    "registry.gitlab.com",
    "bitbucket.org",
    "altssh.bitbucket.org",
    "api.bitbucket.org",
];

impl NetworkPreset {
    /// All presets.
    pub const ALL: [Self; 3] = [Self::Registries, Self::Editors, Self::Git];

    /// The names of the list.
    pub fn names(self) -> impl Iterator<Item = AllowedName> {
        let names = match self {
            Self::Registries => REGISTRIES,
            Self::Editors => EDITORS,
            Self::Git => GIT,
        };
        names.iter().map(|name| name.parse().expect("a test parses every name"))
    }

    /// The preset's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registries => "registries",
            Self::Editors => "editors",
            Self::Git => "git",
        }
    }
}

impl fmt::Display for NetworkPreset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
