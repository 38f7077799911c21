//! Idempotency keys: a repeated request gets the workspace that the first one created.

use protocol::WorkspaceId;
use serde::Serialize;

use crate::db::Scope;

/// A key that a client sent, with the request that it stands for.
pub struct IdempotencyKey {
    key: String,
    request_hash: [u8; 32],
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError {
    #[error("This idempotency key was used for another request")]
    UsedForAnother,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl IdempotencyKey {
    /// A key of 1 to 200 characters for a request.
    pub fn new(key: &str, request: &impl Serialize) -> Self {
        let request = serde_json::to_vec(request).expect("a request is plain data");
        Self { key: key.to_owned(), request_hash: *blake3::hash(&request).as_bytes() }
    }

    /// The workspace that an earlier request with this key created. Otherwise the key stands for
    /// `new` from now on. A second claim waits for the transaction of the first.
    pub async fn claim(
        &self,
        scope: &mut Scope,
        new: WorkspaceId,
    ) -> Result<Option<WorkspaceId>, IdempotencyError> {
        let (tenant, user) = (scope.tenant(), scope.caller().user.0);
        let done = sqlx::query!(
            "insert into idempotency (tenant_id, user_id, key, request_hash, workspace_id) values ($1,
                $2, $3, $4, $5)
             on conflict do nothing",
            tenant,
            user,
            self.key,
            &self.request_hash[..],
            new.0,
        )
        .execute(scope.connection())
        .await?;
        if done.rows_affected() > 0 { Ok(None) } else { self.find(scope).await }
    }

    /// The workspace that an earlier request with this key created. Claims nothing.
    pub async fn find(&self, scope: &mut Scope) -> Result<Option<WorkspaceId>, IdempotencyError> {
        let (tenant, user) = (scope.tenant(), scope.caller().user.0);
        let known = sqlx::query!(
            "select request_hash, workspace_id from idempotency where tenant_id = $1 and user_id = $2
                and key = $3",
            tenant,
            user,
            self.key,
        )
        .fetch_optional(scope.connection())
        .await?;
        match known {
            Some(known) if known.request_hash == self.request_hash => {
                Ok(Some(WorkspaceId(known.workspace_id)))
            }
            Some(_) => Err(IdempotencyError::UsedForAnother),
            None => Ok(None),
        }
    }
}
