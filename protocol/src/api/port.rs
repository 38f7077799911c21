//! Ports of a workspace: who may see their previews, and tickets that open them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::ports::PreviewHost;

/// Length of a label, in characters.
pub const MAX_LABEL_CHARS: usize = 60;
/// Ports of one workspace that have settings.
pub const MAX_PORT_SETTINGS: i64 = 100;
/// How long a port is public at most, in hours: 30 days.
pub const MAX_PUBLIC_HOURS: u16 = 30 * 24;

/// Who may see the preview of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortVisibility {
    /// The workspace's owner.
    #[default]
    Private,
    /// All signed-in users of the organisation.
    Members,
    /// Everybody who knows the address, until the port expires.
    Public,
}

/// The settings of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "port": 3000, "visibility": "public", "public_until": "2026-03-02T18:00:00Z", "label": "Shop"
}))]
pub struct PortSettings {
    /// The port.
    pub port: u16,
    /// Who may see its preview.
    pub visibility: PortVisibility,
    /// With `public`: until when. After that it is private.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub public_until: Option<OffsetDateTime>,
    /// What its owner calls it. May be empty.
    pub label: String,
}

/// The ports of a workspace that have settings. The others are private and have no label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "preview": { "scheme": "https", "host": "preview.example.org", "port": 443 }, "ports": []
}))]
pub struct PortSettingsList {
    /// Where previews are. Null: this server has none.
    pub preview: Option<PreviewAddress>,
    /// The settings, by port.
    pub ports: Vec<PortSettings>,
}

/// Where previews are: the origin of a port is `scheme://PORT--WORKSPACE.host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewAddress {
    /// `http` or `https`.
    pub scheme: String,
    /// The name whose subdomains are previews.
    pub host: String,
    /// The port that browsers use.
    pub port: u16,
}

/// New settings of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "visibility": "public", "public_hours": 8, "label": "Shop" }))]
pub struct EditPort {
    /// Who may see its preview.
    pub visibility: PortVisibility,
    /// With `public`: for how many hours, from 1 to 720.
    #[serde(default)]
    pub public_hours: Option<u16>,
    /// What its owner calls it, in at most 60 characters.
    #[serde(default)]
    pub label: String,
}

/// A ticket that opens a preview once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "origin": "http://3000--0190f3a1-0000-7000-8000-000000000001.localhost:8080",
    "ticket_url": "http://3000--0190f3a1-0000-7000-8000-000000000001.localhost:8080/.burrow/ticket?ticket=…"
}))]
pub struct PreviewTicket {
    /// The preview's origin.
    pub origin: String,
    /// Where the ticket is exchanged for the preview's cookie. It works once, within a minute. Append
    /// `&to=/path`, encoded, for another page than `/`.
    pub ticket_url: String,
}

impl From<&PreviewHost> for PreviewAddress {
    fn from(host: &PreviewHost) -> Self {
        Self { scheme: host.scheme.clone(), host: host.name.clone(), port: host.port }
    }
}
