//! How much of the allowance of a home for automatic snapshots is used up. The runner keeps the pace
//! while it runs; here it survives the runner, which learns it at its start.

use protocol::{TenantId, VolumeId, runner::complete_upload_allowance};
use sqlx::PgConnection;
use time::OffsetDateTime;

const SECONDS_PER_HOUR: f64 = 3600.0;

/// What was used up at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedAllowance {
    pub bytes: i64,
    pub at: OffsetDateTime,
}

impl UsedAllowance {
    /// What is still used up. An allowance grows by `bytes_per_hour`; 0: uploads have no bound.
    pub fn at(self, now: OffsetDateTime, bytes_per_hour: u64) -> u64 {
        let hours = (now - self.at).as_seconds_f64().max(0.0) / SECONDS_PER_HOUR;
        let grown = hours * bytes_per_hour as f64;
        ((self.bytes.max(0) as f64 - grown).max(0.0) as u64).min(complete_upload_allowance(bytes_per_hour))
    }
}

/// Records that a snapshot has uploaded this many bytes. The volume is locked.
pub async fn record_upload(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    (tenant, volume): (TenantId, VolumeId),
    uploaded_bytes: i64,
    bytes_per_hour: u64,
) -> Result<(), sqlx::Error> {
    let used = sqlx::query_as!(
        UsedAllowance,
        "select allowance_used_bytes as bytes, allowance_used_at as at from volumes
         where tenant_id = $1 and volume_id = $2",
        tenant.0,
        volume.0,
    )
    .fetch_one(&mut *connection)
    .await?;
    let bytes = used.at(now, bytes_per_hour).saturating_add(uploaded_bytes.max(0).unsigned_abs());
    sqlx::query!(
        "update volumes set allowance_used_bytes = $3, allowance_used_at = $4
         where tenant_id = $1 and volume_id = $2",
        tenant.0,
        volume.0,
        i64::try_from(bytes.min(complete_upload_allowance(bytes_per_hour))).unwrap_or(i64::MAX),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn allowance_grows_with_time_only() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let used = UsedAllowance { bytes: 5000, at };
        for (minutes, expected) in [(0, 5000), (30, 4500), (60, 4000), (600, 0), (-60, 5000)] {
            assert_eq!(used.at(at + Duration::minutes(minutes), 1000), expected, "{minutes}");
        }
        assert_eq!(used.at(at, 100), 800, "a complete allowance at most");
        assert_eq!(used.at(at, 0), 0, "no bound");
    }
}
