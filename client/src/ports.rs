//! Ports of workspaces.

use protocol::{
    WorkspaceId,
    api::port::{EditPort, PortSettings, PortSettingsList},
    ports::PortList,
};
use reqwest::Method;

use crate::{api::Api, error::ApiError};

impl Api {
    /// Lists the ports that programs of a running workspace listen on.
    pub async fn ports(&self, id: WorkspaceId) -> Result<PortList, ApiError> {
        self.get(&format!("/workspaces/{id}/agent/ports")).await
    }

    /// Gets who may see the previews of a workspace, and where they are.
    pub async fn port_settings(&self, id: WorkspaceId) -> Result<PortSettingsList, ApiError> {
        self.get(&format!("/workspaces/{id}/port-settings")).await
    }

    /// Says who may see the preview of a port.
    pub async fn set_port(
        &self,
        id: WorkspaceId,
        port: u16,
        settings: &EditPort,
    ) -> Result<PortSettings, ApiError> {
        let path = format!("/workspaces/{id}/port-settings/{port}");
        self.json(self.request(Method::PUT, &path).json(settings)).await
    }

    /// Address of the page of the app that opens the preview of a port, for a browser.
    pub fn preview_url(&self, id: WorkspaceId, port: u16) -> String {
        self.absolute_url(&format!("/preview?workspace={id}&port={port}"))
    }
}
