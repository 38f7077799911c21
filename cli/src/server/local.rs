//! The running `burrow up` of this host, over its Unix socket. A user who can open the socket can
//! read the database as well, so it needs no password.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use client::{Api, ApiError};
use protocol::{
    Redacted,
    api::{
        auth::LinkSignIn,
        budget::BudgetList,
        internal::{SIGN_IN_LINK_PATH, SignInLink, TENANT_BUDGETS_PATH, TenantBudgetRequest},
    },
};

use crate::{
    output::{CommandError, ErrorKind},
    up::data_directory::DataDirectory,
};

/// The file in the run directory with the address that users type into a browser.
pub const ADDRESS_FILE: &str = "address";

/// A server of this host.
pub struct LocalServer {
    data: PathBuf,
    socket: PathBuf,
    address: String,
}

impl LocalServer {
    /// Finds the server of a data directory, by default the one of `burrow up`.
    pub fn find(data: Option<&Path>) -> Result<Self, CommandError> {
        let data = match data {
            Some(path) => path.to_owned(),
            None => DataDirectory::default_path()?,
        };
        let run = data.join("run");
        let address = std::fs::read_to_string(run.join(ADDRESS_FILE))
            .map_err(|error| not_running(&data, &error))?
            .trim()
            .to_owned();
        Ok(Self { data, socket: run.join(controller::SOCKET), address })
    }

    /// The address that users type into a browser.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Creates a one-time link for the owner. Returns its path, with the secret after `#`.
    pub async fn create_sign_in_link(&self) -> Result<Redacted<String>, CommandError> {
        let link: Result<SignInLink, ApiError> = self.api()?.post_internal(SIGN_IN_LINK_PATH).await;
        self.reached(link).map(|link| link.path)
    }

    /// Changes the budget of a tenant, if the request says so, and lists those of all tenants.
    pub async fn tenant_budgets(&self, request: &TenantBudgetRequest) -> Result<BudgetList, CommandError> {
        self.reached(self.api()?.post_internal_body(TENANT_BUDGETS_PATH, request).await)
    }

    /// Explains an error of a server that does not answer.
    fn reached<T>(&self, answer: Result<T, ApiError>) -> Result<T, CommandError> {
        answer.map_err(|error| match error {
            error @ ApiError::Unreachable { .. } => not_running(&self.data, &error),
            error => error.into(),
        })
    }

    /// Signs the owner in, as a browser with a link does.
    pub async fn sign_in(&self) -> Result<Api, CommandError> {
        let path = self.create_sign_in_link().await?;
        let secret = path.expose().rsplit('#').next().unwrap_or_default().to_owned();
        Ok(self.api()?.sign_in_with_link(&LinkSignIn { token: secret.into() }).await?)
    }

    fn api(&self) -> Result<Api, CommandError> {
        Ok(Api::over_socket(&self.socket)?)
    }
}

fn not_running(data: &Path, cause: &(dyn Error + 'static)) -> CommandError {
    CommandError::new(ErrorKind::Unavailable, format!("Cannot reach a server in {}", data.display()))
        .because(cause)
        .hint("run this on its host, as the user that runs `burrow up`, or give --data-dir")
}
