//! Token buckets: a rate limit for each source, and one for all sources together. A bucket is one word, so that taking a
//! token is one compare-and-swap. Eight buckets of sources share a cache line.
//!
//! The algorithm is the generic cell rate algorithm. A bucket stores the time at which a source that asks at its rate
//! would ask next. A source may be ahead of that time by a burst.
//!
//! The bucket of all sources has a cache line of its own, which all CPUs share. Only a token that is taken writes it, so
//! the limit itself bounds how often the line moves between CPUs. A flood above the limit only reads it.
//!
//! ```
//! use nat_common::tables::buckets::{Buckets, limit, rate, take};
//!
//! let (mut line, rate) = (Buckets::default(), rate(20, 2));
//! assert_eq!(limit(&rate), Some((20, 2)));
//! // SAFETY: the line is valid, and nobody else uses it.
//! let mut ask = |now| unsafe { take(&raw mut line, 0x1234 << 48, now, &rate) };
//! assert!(ask(1_000_000_000) && ask(1_000_000_000));
//! assert!(!ask(1_000_000_000), "the burst is used up");
//! assert!(ask(1_050_000_000), "20 a second are one in 50 ms");
//! ```

use crate::abi::{Rate, SECOND};
use crate::bpf::{atomic::Word, bounded, sign};

/// Number of buckets in a line.
pub const WAYS: usize = 8;

/// Line of buckets: the value of `BUCKETS`. Each word is a tag, from the hash of the source, and a time; 0: never used.
pub type Buckets = [u64; WAYS];

/// Nanoseconds of a bucket's tick, as a shift: about a microsecond.
const TICK_SHIFT: u32 = 10;
/// Bits of the time, which therefore wraps in thirteen days.
const TIME_BITS: u32 = 40;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// Longest burst: a longer one could not be told from a time long past.
const LONGEST: u64 = TIME / 4;
/// Ticks by which the clock of another CPU may be behind: it may have read it just before the kernel moved it on.
const SKEW: u64 = 1 << 16;
/// Number of tries for a bucket that other CPUs change at the same time.
const TRIES: usize = 4;

/// Makes a rate limit of so many in a second, and so many at once.
#[must_use]
pub const fn rate(per_second: u32, burst: u32) -> Rate {
    if per_second == 0 {
        return Rate {
            interval: 0,
            burst: 0,
        };
    }
    let interval = (1_000_000_000 / per_second as u64) >> TICK_SHIFT;
    let interval = if interval == 0 { 1 } else { interval };
    let burst = interval.saturating_mul(burst.saturating_sub(1) as u64);
    Rate {
        interval,
        burst: if burst > LONGEST { LONGEST } else { burst },
    }
}

/// Returns how many in a second and how many at once a rate limit allows; none if there is no limit. The inverse of
/// [`rate`], except for rounding to ticks at rates of many hundreds.
#[must_use]
pub const fn limit(rate: &Rate) -> Option<(u64, u64)> {
    if rate.interval == 0 {
        return None;
    }
    let interval = rate.interval << TICK_SHIFT;
    Some((
        (1_000_000_000 + interval / 2) / interval,
        rate.burst / rate.interval + 1,
    ))
}

/// Makes the rate limit of all sources together: so many in a second, and as many at once.
///
/// It counts in nanoseconds, because ticks are too coarse for thousands a second. Its bucket has no tag, so the time has
/// the whole word and never wraps.
#[must_use]
pub const fn total_rate(per_second: u32) -> Rate {
    if per_second == 0 {
        return Rate {
            interval: 0,
            burst: 0,
        };
    }
    let interval = SECOND / per_second as u64;
    let interval = if interval == 0 { 1 } else { interval };
    Rate {
        interval,
        burst: SECOND - interval,
    }
}

/// Returns how many in a second a rate limit of all sources allows; none if there is no limit. The inverse of
/// [`total_rate`], except for rounding to nanoseconds at rates of many thousands.
#[must_use]
pub const fn total_limit(rate: &Rate) -> Option<u64> {
    if rate.interval == 0 {
        return None;
    }
    Some((SECOND + rate.interval / 2) / rate.interval)
}

/// Returns by how much a time is ahead of `now`; 0 if it is past.
#[inline(always)]
fn ahead(time: u64, now: u64, rate: &Rate) -> u64 {
    let ahead = time.wrapping_sub(now) & TIME;
    // No bucket is further ahead than this; a time beyond it is past. Not a branch, as below.
    let most = rate.burst + rate.interval + SKEW;
    let is_past = sign(most.wrapping_sub(ahead) as i64);
    ahead * (1 - is_past)
}

/// Takes a token from the bucket of a source, by its hash. False if none is left.
///
/// A source without a bucket gets the fullest one of its line. A flood from many sources so makes the line forget others,
/// which then have their burst again. That costs no more than having no limit.
///
/// # Safety
/// `line` must be valid, aligned to eight bytes, and only ever be accessed so.
#[inline(always)]
#[must_use]
pub unsafe fn take(line: *mut Buckets, hash: u64, now: u64, rate: &Rate) -> bool {
    if rate.interval == 0 {
        return true;
    }
    let now = now >> TICK_SHIFT;
    let tag = hash & !TIME;
    // 0 was never used.
    let tag = if tag == 0 { 1 << TIME_BITS } else { tag };
    for _ in 0..TRIES {
        // Without a branch: the verifier would follow each of eight ways, three times.
        let (mut slot, mut old, mut least) = (0, 0, i64::MAX);
        for way in 0..WAYS {
            // SAFETY: by the caller's promise, and `way` is within.
            let word = unsafe { Word::new(line.cast::<u64>().add(way)) }.peek();
            // The bucket of the source comes first, then the fullest one.
            let other = word & !TIME ^ tag;
            let is_other = sign((other | other.wrapping_neg()) as i64);
            let rank = (is_other * (ahead(word, now, rate) + 1)) as i64;
            let before = sign(rank.wrapping_sub(least));
            slot ^= (slot ^ way as u64) * before;
            old ^= (old ^ word) * before;
            least ^= (least ^ rank) * before as i64;
        }
        let slot = bounded::<WAYS>(slot as usize);
        let mine = old & !TIME == tag;
        let used = if mine { ahead(old, now, rate) } else { 0 };
        if used > rate.burst {
            return false;
        }
        let next = tag | (now.wrapping_add(used + rate.interval) & TIME);
        // SAFETY: as above.
        if unsafe { Word::new(line.cast::<u64>().add(slot)) }.replace(old, next) {
            return true;
        }
    }
    // Many CPUs change this line at the same time: the source can wait.
    false
}

/// Takes a token from the bucket of all sources: the first word of a line that holds no other. False if none is left.
///
/// # Safety
/// As for [`take`].
#[inline(always)]
#[must_use]
pub unsafe fn take_of_total(line: *mut Buckets, now: u64, rate: &Rate) -> bool {
    if rate.interval == 0 {
        return true;
    }
    // SAFETY: by the caller's promise.
    let bucket = unsafe { Word::new(line.cast::<u64>()) };
    for _ in 0..TRIES {
        let next = bucket.peek();
        let used = next.saturating_sub(now);
        if used > rate.burst {
            return false;
        }
        if bucket.replace(next, now + used + rate.interval) {
            return true;
        }
    }
    // Other CPUs took a token at each try, which takes more requests at once than phones send. The limit holds.
    false
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn ask(line: &mut Buckets, hash: u64, at: u64, rate: &Rate) -> bool {
        // SAFETY: a valid reference.
        unsafe { take(line, hash, at, rate) }
    }

    #[test]
    fn a_rate_can_be_read_back() {
        for (per_second, burst) in [(1, 1), (20, 50), (333, 7), (600, 3000)] {
            let back = limit(&rate(per_second, burst));
            assert_eq!(back, Some((per_second.into(), burst.into())));
        }
        assert_eq!(limit(&rate(0, 50)), None);
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = rate(20, 50);
        let start = 1_000_000 * SECOND;
        let mut line = Buckets::default();
        let taken = (0..1000)
            .filter(|_| ask(&mut line, 1 << 50, start, &rate))
            .count();
        assert_eq!(taken, 50);
        let mut taken = 0;
        for millisecond in 1..=10_000 {
            taken += u32::from(ask(
                &mut line,
                1 << 50,
                start + millisecond * 1_000_000,
                &rate,
            ));
        }
        assert!((199..=201).contains(&taken), "{taken} in ten seconds");
        // After a pause the bucket is full again, also where the time has gone round.
        for pause in [10 * SECOND, 86_400 * SECOND, 13 * 86_400 * SECOND] {
            let mut line = line;
            let taken = (0..1000)
                .filter(|_| ask(&mut line, 1 << 50, start + 10 * SECOND + pause, &rate))
                .count();
            assert_eq!(taken, 50, "after {pause} ns");
        }
    }

    #[test]
    fn sources_do_not_share() {
        let rate = rate(1, 1);
        let mut line = Buckets::default();
        for source in 1..=WAYS as u64 {
            assert!(ask(&mut line, source << TIME_BITS, 0, &rate), "{source}");
            assert!(!ask(&mut line, source << TIME_BITS, 0, &rate), "{source}");
        }
        // A ninth one replaces one of them, which then starts anew.
        assert!(ask(&mut line, 9 << TIME_BITS, 1000, &rate));
        assert!(!ask(&mut line, 9 << TIME_BITS, 1000, &rate));
    }

    #[test]
    fn the_emptiest_bucket_gives_way() {
        let rate = rate(1, 100);
        let mut line = Buckets::default();
        for source in 1..=WAYS as u64 {
            // The higher the fuller.
            for _ in 0..=(WAYS as u64 - source) {
                assert!(ask(&mut line, source << TIME_BITS, 0, &rate));
            }
        }
        assert!(ask(&mut line, 9 << TIME_BITS, 0, &rate));
        let tags = line.map(|word| word >> TIME_BITS);
        assert!(!tags.contains(&(WAYS as u64)), "{tags:?}");
        assert!(tags.contains(&1) && tags.contains(&9), "{tags:?}");
    }

    /// Another CPU may ask with a clock that is a tick behind: it read the time before the kernel moved it on.
    #[test]
    fn a_clock_behind_is_not_one_that_has_gone_round() {
        const JIFFY: u64 = 4_000_000;
        let rate = rate(20, 50);
        let start = 1_000_000 * SECOND;
        let mut line = Buckets::default();
        let mut taken = 0;
        // Two CPUs, one of which is always a tick late, answer a flood of one source for ten seconds.
        for jiffy in 1..=2500 {
            for behind in [0, JIFFY, 0, JIFFY] {
                let at = start + jiffy * JIFFY - behind;
                taken += u32::from(ask(&mut line, 1 << 50, at, &rate));
            }
        }
        assert!(
            taken <= 251,
            "{taken} in ten seconds, and not 20 a second after 50"
        );
    }

    fn ask_total(line: &mut Buckets, at: u64, rate: &Rate) -> bool {
        // SAFETY: a valid reference.
        unsafe { take_of_total(line, at, rate) }
    }

    #[test]
    fn a_total_rate_can_be_read_back() {
        for per_second in [1, 3, 20, 20_000, 1_000_000] {
            let back = total_limit(&total_rate(per_second));
            assert_eq!(back, Some(per_second.into()));
        }
        assert_eq!(total_limit(&total_rate(0)), None);
        assert_eq!(total_limit(&total_rate(u32::MAX)), Some(SECOND));
    }

    #[test]
    fn all_sources_together_have_a_second_s_tokens_at_once_and_then_the_rate() {
        let rate = total_rate(20_000);
        let start = 1_000_000 * SECOND;
        let mut line = Buckets::default();
        let mut burst = |at| {
            (0..50_000)
                .filter(|_| ask_total(&mut line, at, &rate))
                .count()
        };
        assert_eq!(burst(start), 20_000);
        assert_eq!(burst(start), 0);
        // Half a second later half of them are there again, and never more than all.
        assert_eq!(burst(start + SECOND / 2), 10_000);
        assert_eq!(burst(start + 86_400 * SECOND), 20_000);
        let mut taken = 0;
        for jiffy in 1..=1000 {
            for _ in 0..200 {
                let at = start + 86_400 * SECOND + jiffy * 4_000_000;
                taken += u32::from(ask_total(&mut line, at, &rate));
            }
        }
        assert_eq!(taken, 80_000, "in four seconds");
        assert_eq!(line[1..], Buckets::default()[1..], "only the first word");
    }

    /// A refusal writes nothing, so that a flood leaves the line in the caches of all CPUs.
    #[test]
    fn a_refusal_changes_nothing() {
        let rate = total_rate(1);
        let mut line = Buckets::default();
        assert!(ask_total(&mut line, SECOND, &rate));
        let before = line;
        assert!((0..1000).all(|_| !ask_total(&mut line, SECOND, &rate)));
        // The clock of another CPU may be a tick behind.
        assert!(!ask_total(&mut line, SECOND - 4_000_000, &rate));
        assert_eq!(line, before);
    }

    /// No answer is left out of the count, however many CPUs take tokens at the same time.
    #[test]
    fn tokens_taken_at_the_same_time_are_all_counted() {
        const ASKED: u64 = 500_000;
        let rate = total_rate(1_500_000);
        let mut line = Buckets::default();
        let shared = &raw mut line as usize;
        let start = std::sync::Barrier::new(4);
        let ask = || {
            let line = shared as *mut Buckets;
            start.wait();
            // SAFETY: valid until the threads have ended, and only accessed so.
            let taken = (0..ASKED).filter(|_| unsafe { take_of_total(line, SECOND, &rate) });
            taken.count() as u64
        };
        let taken: u64 = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(ask));
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        // The rate is rounded to whole nanoseconds.
        assert!((1_000_000..1_502_000).contains(&taken), "{taken}");
        assert_eq!(line[0], SECOND + taken * rate.interval);
    }

    #[test]
    fn no_total_and_extreme_ones() {
        let mut line = Buckets::default();
        let none = total_rate(0);
        assert!((0..1000).all(|_| ask_total(&mut line, 5, &none)));
        assert_eq!(line, Buckets::default(), "nothing is kept");
        let most = total_rate(u32::MAX);
        assert!((0..1000).all(|_| ask_total(&mut line, 5, &most)));
    }

    #[test]
    fn no_limit_and_extreme_ones() {
        let mut line = Buckets::default();
        let none = rate(0, 50);
        assert!((0..1000).all(|_| ask(&mut line, 1, 5, &none)));
        assert_eq!(line, Buckets::default(), "nothing is kept");
        let most = rate(u32::MAX, u32::MAX);
        assert!((0..1000).all(|_| ask(&mut line, 1, 5, &most)));
        let mut line = Buckets::default();
        // The tag of 0 is not that of a bucket never used.
        let one = rate(1, 1);
        assert!(ask(&mut line, 0, 0, &one));
        assert!(!ask(&mut line, 0, 0, &one));
    }
}
