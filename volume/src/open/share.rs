//! The share of the local disk that a volume may use for what the store does not have. A guest that
//! writes faster than the store takes fills only this, and waits: the rest of the disk is for other
//! volumes, the store and the database.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use protocol::runner::DiskShare;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::error::VolumeError;

/// A write is refused when it has waited this long and the store has taken nothing in that time.
const SHARE_TIMEOUT: Duration = Duration::from_mins(10);

/// The bytes that the store lacks, and how many that may be.
#[derive(Debug)]
pub struct WriteShare {
    unsaved_bytes: AtomicU64,
    /// [`u64::MAX`]: no limit.
    max_bytes: AtomicU64,
    must_shrink: AtomicBool,
    are_uploads_paced: AtomicBool,
    /// Notified when one of these changes.
    changed: Notify,
}

impl WriteShare {
    /// No limit yet.
    pub fn new(unsaved_bytes: u64) -> Self {
        Self {
            unsaved_bytes: unsaved_bytes.into(),
            max_bytes: u64::MAX.into(),
            must_shrink: AtomicBool::new(false),
            are_uploads_paced: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Replaces the share.
    pub fn set(&self, share: DiskShare) {
        self.max_bytes.store(share.max_unsaved_bytes.unwrap_or(u64::MAX), Ordering::SeqCst);
        self.must_shrink.store(share.must_shrink, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Sets how many bytes the store lacks.
    pub fn set_unsaved(&self, bytes: u64) {
        if self.unsaved_bytes.swap(bytes, Ordering::SeqCst) != bytes {
            self.changed.notify_waiters();
        }
    }

    /// Sets whether uploads wait, so that it is no fault if the store takes nothing.
    pub fn set_paced(&self, are_paced: bool) {
        self.are_uploads_paced.store(are_paced, Ordering::SeqCst);
    }

    /// Whether the cache should drop what the store has.
    pub fn must_shrink(&self) -> bool {
        self.must_shrink.load(Ordering::SeqCst)
    }

    /// How much of the upper half of the share is used: 0 below it, 1 at the limit.
    pub fn crowding(&self) -> f64 {
        let (unsaved, max) = self.load();
        let slow = DiskShare::slow_above(max);
        if max == 0 {
            return 1.0;
        }
        (unsaved.saturating_sub(slow) as f64 / (max - slow) as f64).min(1.0)
    }

    /// Waits until the store lacks so much that an upload makes writes faster.
    pub async fn wait_until_crowded(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (unsaved, max) = self.load();
            if unsaved > DiskShare::slow_above(max) {
                return;
            }
            changed.await;
        }
    }

    /// The unsaved bytes, and the limit.
    fn load(&self) -> (u64, u64) {
        (self.unsaved_bytes.load(Ordering::SeqCst), self.max_bytes.load(Ordering::SeqCst))
    }

    /// Waits until the store lacks so little that this many more bytes are within the share, and counts
    /// them. Writes that are in flight together exceed it by no more than their own size.
    pub async fn reserve(&self, bytes: u64) -> Result<(), VolumeError> {
        let (mut least_missing, mut progress_at) = (u64::MAX, Instant::now());
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some(missing) = self.try_reserve(bytes) else { return Ok(()) };
            let is_paced = self.are_uploads_paced.load(Ordering::SeqCst);
            if missing < least_missing || is_paced {
                (least_missing, progress_at) = (missing, Instant::now());
            }
            let is_changed = timeout_at(progress_at + SHARE_TIMEOUT, changed).await.is_ok();
            if !is_changed && !self.are_uploads_paced.load(Ordering::SeqCst) {
                return Err(VolumeError::Full);
            }
        }
    }

    /// Counts these bytes if they are within the share. Otherwise returns how many are not.
    fn try_reserve(&self, bytes: u64) -> Option<u64> {
        let (unsaved, max) = self.load();
        let wanted = unsaved.saturating_add(bytes);
        // A share that is smaller than one write still lets one write at a time through.
        if wanted <= max || (unsaved == 0 && max > 0) {
            self.unsaved_bytes.fetch_add(bytes, Ordering::SeqCst);
            return None;
        }
        Some(wanted - max)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;

    fn share(max: u64, unsaved: u64) -> Arc<WriteShare> {
        let share = WriteShare::new(unsaved);
        share.set(DiskShare { max_unsaved_bytes: Some(max), must_shrink: false });
        Arc::new(share)
    }

    #[tokio::test(start_paused = true)]
    async fn write_beyond_share_waits_for_store() {
        let share = share(100, 0);
        share.reserve(60).await.expect("within");
        share.reserve(40).await.expect("within");
        let mut waiting = Box::pin(share.reserve(10));
        assert!((&mut waiting).now_or_never().is_none());
        share.set_unsaved(91);
        assert!((&mut waiting).now_or_never().is_none());
        share.set_unsaved(90);
        waiting.await.expect("the store has taken some");
    }

    #[tokio::test(start_paused = true)]
    async fn write_is_refused_without_progress() {
        let share = share(100, 100);
        let begun = Instant::now();
        let (refused, ()) = tokio::join!(share.reserve(50), async {
            tokio::time::sleep(SHARE_TIMEOUT / 2).await;
            share.set_unsaved(90);
        });
        assert!(matches!(refused, Err(VolumeError::Full)));
        assert_eq!(begun.elapsed(), SHARE_TIMEOUT / 2 + SHARE_TIMEOUT, "counted from the last progress");
    }

    #[tokio::test(start_paused = true)]
    async fn write_waits_for_paced_upload() {
        let share = share(100, 100);
        share.set_paced(true);
        let (written, ()) = tokio::join!(share.reserve(50), async {
            tokio::time::sleep(SHARE_TIMEOUT * 20).await;
            share.set_unsaved(0);
        });
        written.expect("not refused");
    }

    #[tokio::test]
    async fn small_share_lets_single_writes_through() {
        let share = share(1, 0);
        share.reserve(4096).await.expect("the only one");
        assert!(share.try_reserve(4096).is_some());
        share.set(DiskShare { max_unsaved_bytes: Some(0), must_shrink: false });
        share.set_unsaved(0);
        assert!(share.try_reserve(1).is_some(), "nothing may be written");
    }

    #[tokio::test]
    async fn crowding_begins_at_half_of_share() {
        for (unsaved, expected) in [(0, 0.0), (50, 0.0), (75, 0.5), (100, 1.0), (300, 1.0)] {
            assert!((share(100, unsaved).crowding() - expected).abs() < 1e-9, "{unsaved}");
        }
        assert!(WriteShare::new(u64::MAX / 2).crowding().abs() < 1e-9, "no limit");
        let crowded = share(100, 0);
        let mut waiting = Box::pin(crowded.wait_until_crowded());
        assert!((&mut waiting).now_or_never().is_none());
        crowded.set_unsaved(51);
        waiting.await;
        let empty = share(0, 0);
        assert!((empty.crowding() - 1.0).abs() < 1e-9, "nothing may be written");
        assert!(Box::pin(empty.wait_until_crowded()).now_or_never().is_none(), "nothing to upload");
    }
}
