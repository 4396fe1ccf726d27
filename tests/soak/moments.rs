//! Random moments of a load at which something happens.

use std::time::{Duration, SystemTime};

use crate::shared::Random;

/// Moments that are still to come.
pub(crate) struct Moments {
    left: u32,
    /// Time between two, at most.
    most: Duration,
    /// The next one.
    next: Duration,
    random: Random,
}

impl Moments {
    /// Spreads so many moments over the duration of the load.
    pub(crate) fn new(count: u32, duration: Duration) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        // Half of it on average, and what happens last has a while.
        let most = duration * 2 / (count + 2);
        Self {
            left: count,
            most,
            next: most,
            random: Random::new(now.as_nanos() as u64),
        }
    }

    /// Whether the next one has come.
    pub(crate) fn come(&mut self, elapsed: Duration) -> bool {
        let come = self.left > 0 && elapsed >= self.next;
        if come {
            self.left -= 1;
            self.next = elapsed + self.random.between(0, self.most.as_millis() as u64);
        }
        come
    }

    /// Whether none is left.
    pub(crate) fn are_over(&self) -> bool {
        self.left == 0
    }
}
