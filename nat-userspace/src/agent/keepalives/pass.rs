//! Reading of a table from its first slot to its last, a part at each tick. So the agent does nothing else for a few milliseconds at
//! most, however large the table is.

use std::time::{Duration, Instant};

/// Time between two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Ticks that a pass takes at least.
const TICKS: u32 = 20;
/// Nanoseconds that a pass takes at least.
pub(super) const SHORTEST: u64 = TICKS as u64 * TICK.as_nanos() as u64;
/// Time for which a tick may read: 4 % of a core.
const MOST: Duration = Duration::from_millis(4);
/// Slots between two looks at the clock.
const STEP: u32 = 64;

/// A pass through a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    slots: u32,
    /// Time for which a tick reads.
    most: Duration,
    /// Slot that is read next.
    next: u32,
    /// Number of the pass.
    pub(super) number: u64,
}

impl Pass {
    /// Begins the first pass, of so many slots.
    pub(super) const fn new(slots: u32) -> Self {
        Self {
            slots,
            most: MOST,
            next: 0,
            number: 1,
        }
    }

    /// Whether nothing has been read of this pass.
    pub(super) const fn is_new(&self) -> bool {
        self.next == 0
    }

    /// Visits the slots of a tick. Returns true at the end of the pass; then the next one begins.
    pub(super) fn tick(&mut self, mut visit: impl FnMut(u32)) -> bool {
        let begun = Instant::now();
        let end = (self.next + self.slots.div_ceil(TICKS)).min(self.slots);
        while self.next < end {
            let stop = (self.next + STEP).min(end);
            (self.next..stop).for_each(&mut visit);
            self.next = stop;
            if begun.elapsed() > self.most {
                break;
            }
        }
        let ended = self.next == self.slots;
        if ended {
            self.next = 0;
            self.number += 1;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_slot_is_visited_once_within_twenty_ticks() {
        for slots in [1, 19, 64, 1000, 131_072] {
            let mut pass = Pass {
                most: Duration::MAX,
                ..Pass::new(slots)
            };
            for number in 1..4 {
                assert!(pass.is_new() && pass.number == number);
                let (mut seen, mut ticks) = (Vec::new(), 1);
                while !pass.tick(|slot| seen.push(slot)) {
                    ticks += 1;
                }
                assert!(
                    seen.iter().copied().eq(0..slots) && ticks <= TICKS,
                    "{slots}"
                );
            }
        }
    }

    #[test]
    fn a_tick_ends_in_time() {
        let mut pass = Pass::new(1 << 20);
        let mut seen = 0;
        let ended = pass.tick(|_| {
            seen += 1;
            thread::sleep(Duration::from_micros(100));
        });
        assert!(!ended && (STEP..4 * STEP).contains(&seen), "{seen}");
        pass.tick(|slot| assert!(slot >= seen, "{slot} is visited again"));
    }
}
