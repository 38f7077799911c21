//! Templates: image, size, tier.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::runner::Resources;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Template {
    /// `base`; 1 ..= 63 characters of `[a-z0-9-]`.
    pub name: String,
    pub title: String,
    pub description: String,
    pub image: String,
    pub resources: Resources,
}

/// `GET /api/v1/templates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateList {
    pub templates: Vec<Template>,
}
