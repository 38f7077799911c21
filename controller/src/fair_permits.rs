//! Permits for expensive work, shared fairly between users.
//!
//! A semaphore serves requests in the order in which they come: a user who sends a hundred keeps
//! everyone else waiting. Here users take turns. Who holds the fewest permits is served first, then
//! who was served longest ago, and each user's requests in their order. Each user has a largest
//! share, also while nobody else waits, because work that has begun is not interrupted.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

/// Most requests of one user that wait for a permit, unless the owner of the permits says otherwise.
const MAX_WAITING_PER_USER: usize = 64;
/// Most requests of all users that wait for a permit. Each looks at all of them when its turn may have come.
const MAX_WAITING: usize = 1024;
/// Users whose last turn is remembered. Beyond that all count as never served.
const MAX_REMEMBERED: usize = 10_000;

/// No permit was free in time, or too many requests of this user wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Permits that users, named by `K`, share. Clones share them.
pub struct FairPermits<K: Eq + Hash + Clone>(Arc<Inner<K>>);

struct Inner<K> {
    turns: Mutex<Turns<K>>,
    changed: Notify,
}

/// A permit. Dropping it gives the next user their turn.
pub struct FairPermit<K: Eq + Hash + Clone> {
    user: K,
    inner: Arc<Inner<K>>,
}

impl<K: Eq + Hash + Clone> Clone for FairPermits<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone> FairPermits<K> {
    /// `permits` at the same time, of which one user holds `max_per_user` at most.
    pub fn new(permits: usize, max_per_user: usize) -> Self {
        let turns = Turns::new(permits, max_per_user);
        Self(Arc::new(Inner { turns: Mutex::new(turns), changed: Notify::new() }))
    }

    /// Sets how many requests of one user may wait.
    #[must_use]
    pub fn with_max_waiting_per_user(self, max_waiting: usize) -> Self {
        self.0.lock().max_waiting_per_user = max_waiting;
        self
    }

    /// How many requests wait for a permit.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// Waits for a permit, at most this long. Hold it while working.
    pub async fn acquire(&self, user: K, longest: Duration) -> Result<FairPermit<K>, Busy> {
        let number = self.0.lock().enqueue(user.clone()).ok_or(Busy)?;
        let ticket = Ticket { number, inner: &self.0 };
        let turn = async {
            loop {
                let mut changed = std::pin::pin!(self.0.changed.notified());
                changed.as_mut().enable();
                if self.0.lock().try_serve(number) {
                    return;
                }
                changed.await;
            }
        };
        timeout(longest, turn).await.map_err(|_elapsed| Busy)?;
        // Its removal lets the next one look whether it is its turn too.
        drop(ticket);
        Ok(FairPermit { user, inner: self.0.clone() })
    }
}

impl<K: Eq + Hash + Clone> Drop for FairPermit<K> {
    fn drop(&mut self) {
        self.inner.lock().release(&self.user);
        self.inner.changed.notify_waiters();
    }
}

impl<K> Inner<K> {
    fn lock(&self) -> MutexGuard<'_, Turns<K>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a request in the queue. Dropping it leaves the queue.
struct Ticket<'a, K: Eq + Hash + Clone> {
    number: u64,
    inner: &'a Inner<K>,
}

impl<K: Eq + Hash + Clone> Drop for Ticket<'_, K> {
    fn drop(&mut self) {
        self.inner.lock().leave(self.number);
        self.inner.changed.notify_waiters();
    }
}

/// Who holds permits, who waits, and whose turn it is. Pure.
struct Turns<K> {
    free: usize,
    max_per_user: usize,
    max_waiting_per_user: usize,
    /// Permits that a user holds. No entry: none.
    held: HashMap<K, usize>,
    /// The turn in which a user was last served.
    served: HashMap<K, u64>,
    /// The requests that wait, by number.
    waiting: Vec<(u64, K)>,
    /// The number of the next request, and of the next turn.
    next: u64,
}

impl<K: Eq + Hash + Clone> Turns<K> {
    fn new(permits: usize, max_per_user: usize) -> Self {
        let (held, served) = Default::default();
        let max_waiting_per_user = MAX_WAITING_PER_USER;
        Self { free: permits, max_per_user, max_waiting_per_user, held, served, waiting: Vec::new(), next: 0 }
    }

    /// Adds a request. None if too many wait, of this user or of all.
    fn enqueue(&mut self, user: K) -> Option<u64> {
        let own = self.waiting.iter().filter(|(_, waiting)| *waiting == user).count();
        if own >= self.max_waiting_per_user || self.waiting.len() >= MAX_WAITING {
            return None;
        }
        self.next += 1;
        self.waiting.push((self.next, user));
        Some(self.next)
    }

    /// Gives a permit to a request if it is its turn.
    fn try_serve(&mut self, number: u64) -> bool {
        if self.free == 0 || self.find_next() != Some(number) {
            return false;
        }
        let Some(index) = self.waiting.iter().position(|(waiting, _)| *waiting == number) else {
            return false;
        };
        let (_, user) = self.waiting.remove(index);
        self.free -= 1;
        self.next += 1;
        if self.served.len() >= MAX_REMEMBERED {
            self.served.clear();
        }
        self.served.insert(user.clone(), self.next);
        *self.held.entry(user).or_default() += 1;
        true
    }

    /// The request whose turn is next, whether a permit is free or not.
    fn find_next(&self) -> Option<u64> {
        let held = |user: &K| self.held.get(user).copied().unwrap_or_default();
        let served = |user: &K| self.served.get(user).copied().unwrap_or_default();
        let may_hold_more = self.waiting.iter().filter(|(_, user)| held(user) < self.max_per_user);
        let next = may_hold_more.min_by_key(|(number, user)| (held(user), served(user), *number));
        next.map(|(number, _)| *number)
    }

    fn release(&mut self, user: &K) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(user) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(user);
            }
        }
    }

    fn leave(&mut self, number: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Lets requests come in this order, serves one at a time, and returns who was served.
    fn serve_in_turn(max_per_user: usize, requests: &str) -> String {
        let mut turns = Turns::new(1, max_per_user);
        for user in requests.chars() {
            turns.enqueue(user).expect("few");
        }
        let mut served = String::new();
        while let Some(number) = turns.find_next() {
            assert!(turns.try_serve(number));
            let (user, _) = turns.held.iter().next().expect("one holds it");
            let user = *user;
            served.push(user);
            turns.release(&user);
        }
        served
    }

    #[test]
    fn users_take_turns() {
        for (requests, expected) in
            [("aaa", "aaa"), ("aaab", "abaa"), ("aabbcc", "abcabc"), ("aaaabc", "abcaaa"), ("", "")]
        {
            assert_eq!(serve_in_turn(1, requests), expected, "{requests}");
        }
    }

    #[test]
    fn user_never_holds_more_than_share() {
        let mut turns = Turns::new(3, 2);
        let first = ["a", "a", "a"].map(|user| turns.enqueue(user).expect("few"));
        assert_eq!(first.map(|number| turns.try_serve(number)), [true, true, false]);
        let other = turns.enqueue("b").expect("few");
        assert!(turns.try_serve(other), "one is free for others");
        turns.release(&"b");
        assert!(!turns.try_serve(first[2]), "still at the share");
        turns.release(&"a");
        assert!(turns.try_serve(first[2]));
    }

    #[test]
    fn queue_of_one_user_is_bounded() {
        let mut turns = Turns::new(1, 1);
        assert_eq!((0..100).filter_map(|_| turns.enqueue("a")).count(), MAX_WAITING_PER_USER);
        assert!(turns.enqueue("b").is_some());
    }

    #[test]
    fn queue_of_all_users_is_bounded() {
        let mut turns = Turns::new(1, 1);
        assert_eq!((0..2 * MAX_WAITING).filter_map(|user| turns.enqueue(user)).count(), MAX_WAITING);
    }

    #[tokio::test(start_paused = true)]
    async fn permit_is_waited_for_and_passed_on() {
        let permits = FairPermits::new(2, 1);
        let held = permits.acquire("a", LONG).await.expect("free");
        assert!(permits.acquire("a", LONG).await.is_err(), "one for each user");
        let other = permits.acquire("b", LONG).await.expect("one member does not block another");
        let (waiting, ()) = tokio::join!(permits.acquire("a", LONG), async {
            tokio::task::yield_now().await;
            drop(held);
        });
        drop((waiting.expect("passed on"), other));
        // Nothing is left of requests that gave up.
        drop(tokio::time::timeout(Duration::ZERO, permits.acquire("a", LONG)).await);
        assert!(permits.0.lock().waiting.is_empty() && permits.0.lock().held.is_empty());
        assert_eq!(permits.0.lock().free, 2);
    }

    #[tokio::test]
    async fn crowd_is_served_completely() {
        let permits = FairPermits::new(3, 2);
        let crowd = (0..60).map(|number| {
            let permits = permits.clone();
            tokio::spawn(async move {
                let permit = permits.acquire(number % 7, LONG).await;
                tokio::task::yield_now().await;
                drop(permit.expect("served"));
            })
        });
        for request in crowd.collect::<Vec<_>>() {
            request.await.expect("ends");
        }
        assert_eq!(permits.0.lock().free, 3);
    }
}
