//! Access to the database. No other module has the connection pool.
//!
//! Every statement runs in a transaction of one of two roles. A [`Scope`] sees the rows of one
//! tenant, because Postgres hides the others, and it takes an [`Allowed`] to make one. A [`System`]
//! transaction sees all tenants; it is for sign-in, the reconciler and the reports of runners. Both
//! roles own no table and cannot bypass row-level security.

pub mod text;

use std::{str::FromStr as _, time::Duration};

use protocol::{Redacted, TenantId};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use crate::authz::{Allowed, Caller};

/// Connections of one controller. The private Postgres allows 100, and a second controller may run
/// while this one is replaced.
const MAX_CONNECTIONS: u32 = 16;
/// Connections for the reports of runners, apart from all others: however many requests there are,
/// a runner can report that it lives.
const MAX_REPORT_CONNECTIONS: u32 = 4;
/// Longest wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// No statement takes long. The server cancels one that does, and a transaction that was forgotten.
const SETTINGS: [(&str, &str); 4] = [
    ("statement_timeout", "20s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "30s"),
    ("timezone", "UTC"),
];

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Applies the migrations up to this one, as an older version did.
#[cfg(test)]
pub async fn migrate_to(version: i64, connection: &mut PgConnection) {
    MIGRATIONS.run_to(version, connection).await.expect("migrated");
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address is not a valid Postgres URL.
    #[error("Cannot parse the address of the database")]
    Address(#[source] sqlx::Error),
    /// No server answers at the address, or it refuses the login.
    #[error("Cannot connect to the database")]
    Connect(#[source] sqlx::Error),
    /// A migration failed, or the database was migrated by a newer version.
    #[error("Cannot migrate the schema of the database")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// Applies the migrations that the database does not have yet. Several controllers may do so at the
/// same time.
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

/// The connection pools. Clones share them.
#[derive(Clone)]
pub struct Database {
    pool: PgPool,
    reports: PgPool,
}

impl Database {
    /// Connects to the database.
    pub async fn connect(url: &Redacted<String>) -> Result<Self, DatabaseError> {
        let pool = |max_connections| {
            PgPoolOptions::new().max_connections(max_connections).acquire_timeout(ACQUIRE_TIMEOUT)
        };
        let reports = pool(MAX_REPORT_CONNECTIONS).connect_lazy_with(options(url)?);
        let pool = pool(MAX_CONNECTIONS).connect_with(options(url)?).await.map_err(DatabaseError::Connect)?;
        Ok(Self { pool, reports })
    }

    /// Begins a transaction that sees the rows of the caller's tenant.
    pub async fn scope(&self, allowed: Allowed) -> Result<Scope, sqlx::Error> {
        let caller = allowed.caller();
        let transaction = begin(&self.pool, "burrow_app", Some(caller.tenant)).await?;
        Ok(Scope { transaction, caller })
    }

    /// Begins a transaction that sees the rows of all tenants.
    pub async fn system(&self) -> Result<System, sqlx::Error> {
        Ok(System { transaction: begin(&self.pool, "burrow_system", None).await? })
    }

    /// Like [`Self::system`], for the reports of runners.
    pub async fn reports(&self) -> Result<System, sqlx::Error> {
        Ok(System { transaction: begin(&self.reports, "burrow_system", None).await? })
    }

    /// A connection that receives notifications.
    pub async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        PgListener::connect_with(&self.pool).await
    }

    /// Takes an advisory lock of the database. None if another controller has it. It ends with its
    /// connection.
    pub async fn try_lock(&self, lock: i64) -> Result<Option<AdvisoryLock>, sqlx::Error> {
        // The connection does not return to the pool: dropping it always releases the lock.
        let mut connection = self.pool.acquire().await?.detach();
        let is_locked = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "is_locked!""#, lock)
            .fetch_one(&mut connection)
            .await?;
        Ok(is_locked.then_some(AdvisoryLock { connection, lock }))
    }

    /// Closes all connections.
    pub async fn close(&self) {
        tokio::join!(self.pool.close(), self.reports.close());
    }
}

fn options(url: &Redacted<String>) -> Result<PgConnectOptions, DatabaseError> {
    let options = PgConnectOptions::from_str(url.expose()).map_err(DatabaseError::Address)?;
    Ok(options
        .application_name("burrow")
        .options(SETTINGS)
        // Statements are not secret, but the log is for what an operator can act on.
        .disable_statement_logging())
}

/// Begins a transaction with a role and a tenant. Both end with the transaction.
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

/// A transaction that sees one tenant's rows. Dropping it rolls it back.
pub struct Scope {
    transaction: Transaction<'static, Postgres>,
    caller: Caller,
}

impl Scope {
    /// Who the transaction is for.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// The tenant whose rows it sees.
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

/// A transaction that sees all tenants' rows. Dropping it rolls it back.
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

/// An advisory lock of Postgres.
pub struct AdvisoryLock {
    connection: PgConnection,
    lock: i64,
}

impl AdvisoryLock {
    /// Releases the lock now, instead of when Postgres notices that the connection is closed.
    pub async fn release(mut self) -> Result<(), sqlx::Error> {
        sqlx::query!("select pg_advisory_unlock($1)", self.lock).fetch_one(&mut self.connection).await?;
        self.connection.close().await
    }
}

/// The unique constraint that an insert or update violated, if that is why it failed.
pub fn violated_constraint(error: &sqlx::Error) -> Option<&str> {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => error.constraint(),
        _ => None,
    }
}
