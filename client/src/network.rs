//! Network policies.

use protocol::{
    ClassId, WorkspaceId,
    api::{
        network::{AllowNames, ClassNetwork, EditWorkspaceNetwork, WorkspaceNetwork},
        template::TemplateList,
    },
    network::NetworkPolicy,
};
use reqwest::Method;

use crate::{api::Api, error::ApiError};

impl Api {
    /// Gets the network policy of a workspace, its effect and what was refused.
    pub async fn workspace_network(&self, id: WorkspaceId) -> Result<WorkspaceNetwork, ApiError> {
        self.get(&format!("/workspaces/{id}/network")).await
    }

    /// Sets the network policy of a workspace. `None` removes it.
    pub async fn set_workspace_network(
        &self,
        id: WorkspaceId,
        policy: Option<NetworkPolicy>,
    ) -> Result<WorkspaceNetwork, ApiError> {
        let request = self.request(Method::PUT, &format!("/workspaces/{id}/network"));
        self.json(request.json(&EditWorkspaceNetwork { policy })).await
    }

    /// Allows names in a workspace.
    pub async fn allow_network_names(
        &self,
        id: WorkspaceId,
        request: &AllowNames,
    ) -> Result<WorkspaceNetwork, ApiError> {
        self.post(&format!("/workspaces/{id}/network/names"), request).await
    }

    /// Gets the network policy of a class and its effect.
    pub async fn class_network(&self, id: ClassId) -> Result<ClassNetwork, ApiError> {
        self.get(&format!("/classes/{id}/network")).await
    }

    /// Sets the network policy of a class.
    pub async fn set_class_network(
        &self,
        id: ClassId,
        policy: &NetworkPolicy,
    ) -> Result<ClassNetwork, ApiError> {
        self.json(self.request(Method::PUT, &format!("/classes/{id}/network")).json(policy)).await
    }

    /// Lists the templates with their network policies.
    pub async fn templates(&self) -> Result<TemplateList, ApiError> {
        self.get("/templates").await
    }

    /// Sets the network policy of a template.
    pub async fn set_template_network(
        &self,
        template: &str,
        policy: &NetworkPolicy,
    ) -> Result<NetworkPolicy, ApiError> {
        self.json(self.request(Method::PUT, &format!("/templates/{template}/network")).json(policy)).await
    }

    /// Gets the network policy of the tenant.
    pub async fn tenant_network(&self) -> Result<NetworkPolicy, ApiError> {
        self.get("/network").await
    }

    /// Sets the network policy of the tenant.
    pub async fn set_tenant_network(&self, policy: &NetworkPolicy) -> Result<NetworkPolicy, ApiError> {
        self.json(self.request(Method::PUT, "/network").json(policy)).await
    }
}
