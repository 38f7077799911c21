//! Budgets.

use protocol::{
    ClassId, UserId,
    api::budget::{Budget, BudgetList, EditBudget},
};
use reqwest::Method;

use crate::{api::Api, error::ApiError};

impl Api {
    /// Lists the budgets that the caller may see.
    pub async fn budgets(&self) -> Result<BudgetList, ApiError> {
        self.get("/budgets").await
    }

    /// Changes the budget of a user.
    pub async fn set_user_budget(&self, id: UserId, edit: &EditBudget) -> Result<Budget, ApiError> {
        self.json(self.request(Method::PATCH, &format!("/budgets/users/{id}")).json(edit)).await
    }

    /// Changes the budget of a class.
    pub async fn set_class_budget(&self, id: ClassId, edit: &EditBudget) -> Result<Budget, ApiError> {
        self.json(self.request(Method::PATCH, &format!("/budgets/classes/{id}")).json(edit)).await
    }
}
