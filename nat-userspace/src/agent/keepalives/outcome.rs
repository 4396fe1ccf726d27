//! Outcome of pings, as their records have it.

use std::time::Duration;

use nat_common::abi::Keepalive;
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the histogram of round-trip times, in seconds.
const BOUNDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Returns an empty histogram of round-trip times.
pub(crate) fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

/// Looks at what became of the last ping of a record, whose terminal was last heard by itself at `heard`.
pub(super) fn judge(record: &mut Keepalive, heard: u64, round_trips: &Histogram) {
    /// Weight of the smoothed round-trip time before (RFC 6298 2.3).
    const WEIGHT: u64 = 7;
    if let Some(time) = record.answer_time() {
        let micros = (time / 1000).clamp(1, u32::MAX.into());
        round_trips.observe(Duration::from_nanos(time).as_secs_f64());
        let smoothed = match u64::from(record.smoothed) {
            0 => micros,
            before => (before * WEIGHT + micros) / (WEIGHT + 1),
        };
        record.round_trip = micros as u32;
        record.smoothed = smoothed as u32;
        record.misses = 0;
    } else if heard > record.sent {
        record.misses = 0;
    } else {
        record.misses = record.misses.saturating_add(1);
    }
}

/// Forgets the outcome of the pings before: no answer can come, so nothing is known of the terminal any more.
pub(super) fn forget(record: &mut Keepalive) {
    (record.nonce, record.misses, record.silent) = ([0; 2], 0, 0);
    (record.round_trip, record.smoothed) = (0, 0);
}

#[cfg(test)]
mod tests {
    use nat_common::engine::keepalive::Ping;

    use super::*;

    #[test]
    fn an_answer_tells_the_round_trip_time_and_ends_silence() {
        let round_trips = histogram();
        let mut record = Keepalive {
            sent: 1_000_000,
            answered: 21_000_000,
            misses: 7,
            ..Keepalive::default()
        };
        judge(&mut record, 0, &round_trips);
        assert_eq!(
            (record.misses, record.round_trip, record.smoothed),
            (0, 20_000, 20_000)
        );
        (record.sent, record.answered) = (100_000_000, 200_000_000);
        judge(&mut record, 0, &round_trips);
        assert_eq!((record.round_trip, record.smoothed), (100_000, 30_000));
        // The answer is that to the ping before.
        record.sent = 300_000_000;
        judge(&mut record, 0, &round_trips);
        let sent = record.sent;
        judge(&mut record, sent, &round_trips);
        assert_eq!((record.misses, record.round_trip), (2, 100_000));
        // It was heard by itself since.
        judge(&mut record, sent + 1, &round_trips);
        assert_eq!(record.misses, 0);
    }

    #[test]
    fn where_no_answer_can_come_nothing_is_known() {
        let mut record = Keepalive {
            nonce: Ping::digits(5),
            sent: 300,
            answered: 200,
            misses: 7,
            silent: 1,
            round_trip: 20_000,
            smoothed: 30_000,
            ..Keepalive::default()
        };
        forget(&mut record);
        let known = Keepalive {
            sent: 300,
            answered: 200,
            ..Keepalive::default()
        };
        assert_eq!(record, known);
    }
}
