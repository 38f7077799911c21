//! The way to the database. Nobody else has the pool.
//!
//! All reads and writes happen in a transaction of one of two roles: a [`Scope`] sees one tenant's rows, because Postgres
//! itself hides the others, and can be made only of an [`Allowed`]; a [`System`] transaction looks across tenants, for sign-in,
//! scheduling and runners' reports. Both roles own no table and cannot bypass row-level security.

use std::{str::FromStr as _, time::Duration};

use protocol::{Redacted, TenantId};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use crate::authz::{Allowed, Caller};

/// The private Postgres admits 100; a second controller may run beside this one while it is replaced.
const MAX_CONNECTIONS: u32 = 16;
/// Longest wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// No statement of ours takes long; one that does is ended by the server, and so is a forgotten transaction.
const SETTINGS: [(&str, &str); 4] = [
    ("statement_timeout", "20s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "30s"),
    ("timezone", "UTC"),
];

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database's address is not valid")]
    Address(#[source] sqlx::Error),
    #[error("the database cannot be reached")]
    Connect(#[source] sqlx::Error),
    #[error("the database's schema cannot be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// Brings the schema of the database up to date. Several may do so at once.
pub async fn migrate(url: &Redacted<String>) -> Result<(), DatabaseError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options(url)?.options([("statement_timeout", "0")]))
        .await
        .map_err(DatabaseError::Connect)?;
    let migrated = MIGRATIONS.run(&pool).await;
    pool.close().await;
    Ok(migrated?)
}

#[derive(Clone)]
pub struct Database(PgPool);

impl Database {
    pub async fn connect(url: &Redacted<String>) -> Result<Self, DatabaseError> {
        PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options(url)?)
            .await
            .map(Self)
            .map_err(DatabaseError::Connect)
    }

    /// The rows of the tenant of whoever was allowed.
    pub async fn scope(&self, allowed: Allowed) -> Result<Scope, sqlx::Error> {
        let caller = allowed.caller();
        let transaction = begin(&self.0, "burrow_app", Some(caller.tenant)).await?;
        Ok(Scope { transaction, caller })
    }

    /// All rows.
    pub async fn system(&self) -> Result<System, sqlx::Error> {
        Ok(System { transaction: begin(&self.0, "burrow_system", None).await? })
    }

    pub async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        PgListener::connect_with(&self.0).await
    }

    /// Takes a lock of the database's own, whoever else is there; nothing if another has it. It ends with its connection.
    pub async fn hold(&self, lock: i64) -> Result<Option<Held>, sqlx::Error> {
        // The pool never sees this connection again: dropping it gives the lock back, however that comes about.
        let mut connection = self.0.acquire().await?.detach();
        let taken = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "taken!""#, lock)
            .fetch_one(&mut connection)
            .await?;
        Ok(taken.then_some(Held { connection, lock }))
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}

fn options(url: &Redacted<String>) -> Result<PgConnectOptions, DatabaseError> {
    let options = PgConnectOptions::from_str(url.expose()).map_err(DatabaseError::Address)?;
    Ok(options
        .application_name("burrow")
        .options(SETTINGS)
        // Statements are not secret, but the log is for what people can act on.
        .disable_statement_logging())
}

/// Role and tenant hold until the transaction's end and no longer, whatever becomes of the connection.
async fn begin(
    pool: &PgPool,
    role: &str,
    tenant: Option<TenantId>,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let tenant = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
    sqlx::query!(
        r#"select set_config('app.tenant_id', $2, true) as tenant, set_config('role', $1, true) as role"#,
        role,
        tenant,
    )
    .fetch_one(&mut *transaction)
    .await?;
    Ok(transaction)
}

/// A transaction that sees one tenant.
pub struct Scope {
    transaction: Transaction<'static, Postgres>,
    caller: Caller,
}

impl Scope {
    pub fn caller(&self) -> Caller {
        self.caller
    }

    pub fn tenant(&self) -> uuid::Uuid {
        self.caller.tenant.0
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }
}

/// A transaction that sees all tenants.
pub struct System {
    transaction: Transaction<'static, Postgres>,
}

impl System {
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }
}

/// A lock that is held.
pub struct Held {
    connection: PgConnection,
    lock: i64,
}

impl Held {
    /// Gives it back now, and not when Postgres notices that the connection is gone.
    pub async fn release(mut self) -> Result<(), sqlx::Error> {
        sqlx::query!("select pg_advisory_unlock($1)", self.lock).fetch_one(&mut self.connection).await?;
        self.connection.close().await
    }
}
