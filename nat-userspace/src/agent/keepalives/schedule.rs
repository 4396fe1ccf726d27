//! Times of keepalives. All are nanoseconds.

use nat_common::abi::SECOND;

use crate::settings::Keepalives;

/// Doublings of the interval of a silent terminal.
const DOUBLINGS: u32 = 4;

/// Intervals of keepalives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval: u64,
    misses: u32,
}

impl Schedule {
    pub(super) fn of(settings: &Keepalives) -> Self {
        Self {
            interval: u64::from(settings.interval) * SECOND,
            misses: settings.misses,
        }
    }

    /// Returns the interval for a terminal that is heard.
    pub(super) const fn interval(self) -> u64 {
        self.interval
    }

    /// Whether a terminal with so many misses counts as silent.
    pub(super) const fn is_silent(self, misses: u32) -> bool {
        misses >= self.misses
    }

    /// Returns the time of the first keepalive, for a terminal that was last heard, or had its last keepalive, at `heard`. After a
    /// restart many are overdue: each takes its own time within one interval.
    pub(super) const fn first(self, heard: u64, now: u64, phase: u64) -> u64 {
        let due = heard + self.interval;
        if due > now {
            return due;
        }
        self.next(now, 0, phase)
    }

    /// Returns the time of the keepalive after one that was sent at `sent`: no later than an interval after it. Each phase has its own
    /// times, so that keepalives spread over the interval, whatever happened at once before. A silent terminal has longer intervals.
    pub(super) const fn next(self, sent: u64, misses: u32, phase: u64) -> u64 {
        let interval = if self.is_silent(misses) {
            let more = misses - self.misses + 1;
            self.interval << if more < DOUBLINGS { more } else { DOUBLINGS }
        } else {
            self.interval
        };
        let offset = phase % interval;
        (sent + interval - offset) / interval * interval + offset
    }

    /// Returns the most keepalives that are sent in a time, of so many mappings: twice what is needed in the mean. So what is due at
    /// once goes out within half an interval.
    pub(super) fn most(self, mappings: usize, time: u64) -> usize {
        let mean = mappings as u64 * time / self.interval;
        2 * mean as usize + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule::of(&Keepalives {
            interval: 25,
            misses: 3,
            ..Keepalives::default()
        })
    }

    #[test]
    fn no_mapping_waits_for_longer_than_an_interval() {
        let schedule = schedule();
        for phase in [0, 1, 7 * SECOND, 24 * SECOND, 1_234_567_890_123_456_789] {
            let mut sent = 1000 * SECOND + 17;
            for round in 0..4 {
                let next = schedule.next(sent, 0, phase);
                assert!(next > sent && next <= sent + 25 * SECOND, "{phase}");
                // From the second on, it is exactly one.
                assert!(round == 0 || next == sent + 25 * SECOND, "{phase} {round}");
                sent = next;
            }
        }
    }

    #[test]
    fn what_was_heard_has_an_interval() {
        let schedule = schedule();
        let now = 1000 * SECOND;
        assert_eq!(schedule.first(now - 10 * SECOND, now, 7), now + 15 * SECOND);
        let overdue = schedule.first(now - 90 * SECOND, now, 7);
        assert!(overdue > now && overdue <= now + 25 * SECOND);
    }

    #[test]
    fn what_is_overdue_spreads_over_the_interval() {
        let schedule = schedule();
        let now = 1000 * SECOND;
        let mut seconds = [0_u32; 25];
        for phase in 0..10_000_u64 {
            let due = schedule.first(0, now, phase.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            seconds[((due - now - 1) / SECOND) as usize] += 1;
        }
        assert!(
            seconds.iter().all(|n| (300..500).contains(n)),
            "{seconds:?}"
        );
        assert_eq!(schedule.most(10_000, SECOND), 801);
        assert_eq!(schedule.most(0, SECOND), 1);
    }

    #[test]
    fn a_silent_terminal_is_asked_more_rarely_and_for_ever() {
        let schedule = schedule();
        let interval = |misses| {
            let first = schedule.next(1000 * SECOND, misses, 5);
            (schedule.next(first, misses, 5) - first) / SECOND
        };
        let intervals = [0, 2, 3, 4, 5, 6, 1000].map(interval);
        assert_eq!(intervals, [25, 25, 50, 100, 200, 400, 400]);
        assert!(!schedule.is_silent(2) && schedule.is_silent(3));
    }
}
