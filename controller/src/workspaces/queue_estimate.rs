//! When a waiting start gets its turn: an estimate from what the host has done lately. Pure.
//!
//! A place becomes free when a workspace ends. Until enough have ended since the queue began, the rate is
//! what the lives of earlier workspaces say; each end that is seen counts more. Without either there is no
//! estimate, because any number would be invented. Starts that come later go ahead of some that wait, if
//! their tenant has the smaller share: how many did so lately, and ahead of this one, makes its wait
//! longer.

use time::{Duration, OffsetDateTime};

/// Ends for which the rate of earlier lives counts.
const PRIOR_ENDS: f64 = 3.0;
/// Lives that are needed to say anything from them.
const MIN_LIVES: usize = 5;
/// Ends without earlier lives that are needed to say anything from them.
const MIN_ENDS: usize = 3;
/// Starts for which the earlier share of overtaking starts counts.
const PRIOR_STARTS: f64 = 4.0;
/// Largest share of starts that overtake another one.
const MAX_OVERTAKING: f64 = 0.9;
/// Longest time that is considered.
const MAX_WINDOW: Duration = Duration::hours(1);
/// Longest estimate. A longer one says nothing.
const MAX_ESTIMATE: Duration = Duration::hours(24);

/// A placement of a workspace on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "they are the names of the columns")]
pub struct Run {
    pub queued_at: OffsetDateTime,
    pub placed_at: OffsetDateTime,
    pub ended_at: Option<OffsetDateTime>,
}

/// How fast places become free, and who gets them.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueRate {
    /// Places that are free already. The start of others holds back those who get them.
    free_places: usize,
    /// Places in one second. None: not known.
    per_second: Option<f64>,
    runs: Vec<Run>,
    /// The share of places that went to starts that were queued later than one that waited, from 0 to 1.
    overtaking: f64,
}

impl QueueRate {
    /// Derives the rate from placements: those that run, and those that ended lately. `waiting_since` is when
    /// the oldest waiting start was queued.
    pub fn of(now: OffsetDateTime, waiting_since: OffsetDateTime, runs: &[Run], free_places: usize) -> Self {
        let since = busy_since(now, waiting_since, runs);
        let seconds = (now - since).as_seconds_f64().max(0.0);
        let ended = runs.iter().filter(|run| run.ended_at.is_some_and(|end| end > since));
        let ends = ended.count();
        let running = runs.iter().filter(|run| run.ended_at.is_none()).count();
        let per_second = match expected_rate(runs, running) {
            Some(expected) => Some((PRIOR_ENDS + ends as f64) / (PRIOR_ENDS / expected + seconds)),
            None if ends >= MIN_ENDS && seconds > 0.0 => Some(ends as f64 / seconds),
            None => None,
        };
        let (mut later, mut all) = (0, 0);
        for run in runs {
            let places = count_places(runs, run.queued_at, run.placed_at);
            (later, all) = (later + places.later, all + places.all);
        }
        let overtaking = if all == 0 { 0.0 } else { later as f64 / all as f64 };
        Self { free_places, per_second, runs: runs.to_vec(), overtaking }
    }

    /// How long the start at this position still waits; 1 is next.
    pub fn wait(&self, now: OffsetDateTime, position: usize, queued_at: OffsetDateTime) -> Option<Duration> {
        let ends_needed = position.saturating_sub(self.free_places);
        if ends_needed == 0 {
            return Some(Duration::ZERO);
        }
        let places = count_places(&self.runs, queued_at, now);
        let overtaking =
            (places.later as f64 + PRIOR_STARTS * self.overtaking) / (places.all as f64 + PRIOR_STARTS);
        let seconds = ends_needed as f64 / self.per_second? / (1.0 - overtaking.min(MAX_OVERTAKING));
        Some(Duration::seconds_f64(seconds.min(MAX_ESTIMATE.as_seconds_f64())))
    }
}

/// Places that others got while a start waited.
struct Places {
    /// By those that were queued after it.
    later: usize,
    all: usize,
}

fn count_places(runs: &[Run], queued_at: OffsetDateTime, until: OffsetDateTime) -> Places {
    let during = || runs.iter().filter(|run| run.placed_at > queued_at && run.placed_at < until);
    Places { later: during().filter(|run| run.queued_at > queued_at).count(), all: during().count() }
}

/// Since when somebody has waited without a break: before that, places that became free say nothing.
fn busy_since(now: OffsetDateTime, waiting_since: OffsetDateTime, runs: &[Run]) -> OffsetDateTime {
    let mut placed: Vec<&Run> = runs.iter().collect();
    placed.sort_by_key(|run| std::cmp::Reverse(run.placed_at));
    let mut since = waiting_since;
    for run in placed {
        if run.placed_at < since {
            break;
        }
        since = since.min(run.queued_at);
    }
    since.max(now - MAX_WINDOW)
}

/// Ends in one second, if what runs lives as long as what has ended.
fn expected_rate(runs: &[Run], running: usize) -> Option<f64> {
    let lives: Vec<f64> = runs
        .iter()
        .filter_map(|run| Some((run.ended_at? - run.placed_at).as_seconds_f64()))
        .filter(|seconds| *seconds > 0.0)
        .collect();
    if lives.len() < MIN_LIVES || running == 0 {
        return None;
    }
    let mean = lives.iter().sum::<f64>() / lives.len() as f64;
    Some(running as f64 / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::days(1) + Duration::seconds(seconds)
    }

    fn run(queued: i64, placed: i64, ended: Option<i64>) -> Run {
        Run { queued_at: at(queued), placed_at: at(placed), ended_at: ended.map(at) }
    }

    #[test]
    fn nothing_is_invented() {
        let running = [run(0, 0, None); 4];
        let wait =
            |position, free| QueueRate::of(at(60), at(50), &running, free).wait(at(60), position, at(50));
        assert_eq!(wait(1, 0), None);
        assert_eq!(wait(2, 2), Some(Duration::ZERO));
    }

    #[test]
    fn ends_since_the_queue_began_count() {
        // Four ends in the 40 s since somebody waits, among them waits without a break.
        let mut runs = vec![run(0, 0, None); 4];
        runs.extend([110, 120, 130, 140].map(|second| run(0, 0, Some(second))));
        runs.push(run(100, 120, None));
        let rate = QueueRate::of(at(140), at(115), &runs[..4], 0);
        assert_eq!(rate.wait(at(140), 1, at(115)), None, "nothing has ended");
        assert_eq!(busy_since(at(140), at(115), &runs), at(100));
        let rate = QueueRate::of(at(140), at(115), &runs, 0);
        assert_eq!(rate.wait(at(140), 2, at(125)), Some(Duration::seconds(20)));
    }

    #[test]
    fn earlier_lives_tell_before_anything_ends() {
        // Ten places, each for 100 s: one becomes free every ten seconds.
        let mut runs = vec![run(900, 900, None); 10];
        runs.extend([run(0, 0, Some(100)); 20]);
        let rate = QueueRate::of(at(1000), at(1000), &runs, 0);
        assert_eq!(rate.wait(at(1000), 3, at(1000)), Some(Duration::seconds(30)));
        // Nothing has ended for a minute: it takes longer than they say.
        let rate = QueueRate::of(at(1060), at(1000), &runs, 0);
        assert!(rate.wait(at(1060), 3, at(1000)) > Some(Duration::seconds(60)));
    }

    #[test]
    fn overtaking_starts_make_the_wait_longer() {
        let mut runs = vec![run(0, 0, None); 10];
        runs.extend([run(0, 0, Some(100)); 20]);
        let wait = |runs: &[Run]| {
            QueueRate::of(at(1000), at(900), runs, 0).wait(at(1000), 3, at(900)).expect("known")
        };
        let before = wait(&runs);
        // Of eight places that became free, others got half who came later.
        runs.extend([run(890, 910, None); 4]);
        let fair = wait(&runs);
        runs.extend([run(905, 920, None); 4]);
        assert!(wait(&runs) > fair, "{before} {fair}");
    }
}
