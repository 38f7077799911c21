//! Tenants in the database: created with an owner and a template, and what holds once a tenant's
//! key is destroyed.

pub mod destroy;

use protocol::{
    TenantId, UserId,
    api::admin::TenantKeyState,
    workspace::{Failure, Step, Tier},
};
use sqlx::PgConnection;

use crate::{
    db::{Scope, text::Text},
    kms::{
        Kms, KmsError,
        tenant_keys::{self, DataKey, TenantKey},
    },
};

/// Advisory lock in Postgres: two controllers that start on a new database create one first tenant.
const FIRST_TENANT_LOCK: i64 = 0x6275_7272_6f77_0001;
const FIRST_TENANT_NAME: &str = "Home";
const FIRST_OWNER_EMAIL: &str = "owner@burrow.localhost";
const FIRST_OWNER_NAME: &str = "Owner";
/// For the dialog of new workspaces. The migrations of tiers have the same texts.
const CONTAINER_DESCRIPTION: &str =
    "As Base, on the host's kernel and without root: starts faster. For trusted, educational use.";
const GVISOR_DESCRIPTION: &str = "As Base, on gVisor's kernel and without root: starts faster.";

/// Why nothing of a tenant runs any more.
pub const KEY_DESTROYED: &str =
    "The key of this organisation was destroyed. Its homes can no longer be read by anyone.";

/// Why a tenant cannot be created, or its key not be destroyed completely.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// No tenant has this identifier.
    #[error("Cannot find the tenant: there is none with this identifier")]
    Unknown,
    /// The master key cannot be used.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The tenant's key is destroyed, and the cache of one of its homes remains on this host.
    #[error("Cannot remove the local cache of a home")]
    Cache(#[source] std::io::Error),
}

/// Why the key of a tenant cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenKeyError {
    /// The key was destroyed.
    #[error("{KEY_DESTROYED}")]
    Destroyed,
    /// The master key cannot be used.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Decrypts the key of the caller's tenant. Ends the transaction first, because a key service may
/// take its time.
pub async fn open_key(kms: &Kms, mut scope: Scope) -> Result<DataKey, OpenKeyError> {
    let tenant = scope.caller().tenant;
    let wrapped = tenant_keys::find(scope.connection(), tenant).await?;
    drop(scope);
    match wrapped.decrypt(kms).await? {
        TenantKey::Open(key) => Ok(key),
        TenantKey::Destroyed => Err(OpenKeyError::Destroyed),
    }
}

/// The first owner of the first tenant. Both are created if the database has no tenant yet.
pub async fn find_or_create_first_owner(
    connection: &mut PgConnection,
    kms: &Kms,
) -> Result<(TenantId, UserId), TenantError> {
    sqlx::query!("select pg_advisory_xact_lock($1)", FIRST_TENANT_LOCK).fetch_one(&mut *connection).await?;
    let first = sqlx::query!(
        "select tenant_id, user_id from users where role = 'owner' and active
         order by created_at, user_id limit 1"
    )
    .fetch_optional(&mut *connection)
    .await?;
    match first {
        Some(first) => Ok((TenantId(first.tenant_id), UserId(first.user_id))),
        None => create(connection, kms, FIRST_TENANT_NAME, (FIRST_OWNER_EMAIL, FIRST_OWNER_NAME)).await,
    }
}

/// Sets the tiers that each tenant may use.
pub async fn set_tiers(connection: &mut PgConnection, tiers: &[Tier]) -> Result<(), sqlx::Error> {
    let names: Vec<String> = tiers.iter().map(|tier| Text(*tier).name().to_owned()).collect();
    sqlx::query!("update tenants set tiers = $1 where tiers <> $1", &names).execute(connection).await?;
    Ok(())
}

/// Creates a tenant with its owner and a template for each tier.
pub async fn create(
    connection: &mut PgConnection,
    kms: &Kms,
    name: &str,
    (email, owner_name): (&str, &str),
) -> Result<(TenantId, UserId), TenantError> {
    let (tenant, owner) = (TenantId::random(), UserId::random());
    sqlx::query!(
        "insert into tenants (tenant_id, name, wrapped_key) values ($1, $2, $3)",
        tenant.0,
        name,
        tenant_keys::generate(kms, tenant).await?,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into users (tenant_id, user_id, email, name, role, active) values ($1, $2, $3, $4,
            'owner', true)",
        tenant.0,
        owner.0,
        email,
        owner_name,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into templates (tenant_id, name, title, description, image, vcpus, memory_mib, home_mib,
             scratch_mib, pids, tier)
         values ($1, 'base', 'Base', 'Debian 12 with git, Python, Node.js and a C compiler.', 'base', 2,
                 1024, 4096, 4096, 2048, 'microvm'),
             ($1, 'container', 'Container', $2, 'base', 2, 1024, 4096, 4096, 2048, 'container'),
             ($1, 'gvisor', 'gVisor', $3, 'base', 2, 1024, 4096, 4096, 2048, 'gvisor')",
        tenant.0,
        CONTAINER_DESCRIPTION,
        GVISOR_DESCRIPTION,
    )
    .execute(connection)
    .await?;
    Ok((tenant, owner))
}

/// Whether the key of the caller's tenant exists, and how long.
pub async fn find_key(scope: &mut Scope) -> Result<TenantKeyState, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_as!(
        TenantKeyState,
        r#"select case when key_destroyed_at is null then destroy_key_at end as destroy_at,
              key_destroyed_at as destroyed_at
           from tenants where tenant_id = $1"#,
        tenant,
    )
    .fetch_one(scope.connection())
    .await
}

/// Whether the key of the caller's tenant was destroyed.
pub async fn is_key_destroyed(scope: &mut Scope) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_scalar!(
        r#"select key_destroyed_at is not null as "is_destroyed!" from tenants where tenant_id = $1"#,
        tenant,
    )
    .fetch_one(scope.connection())
    .await
}

/// The failure of a workspace whose tenant's key was destroyed.
pub fn key_destroyed_failure() -> Failure {
    Failure {
        step: Step::Runner,
        cause: KEY_DESTROYED.to_owned(),
        action: "Delete the workspace, or create a new one in another organisation.".to_owned(),
        log: vec![],
    }
}
