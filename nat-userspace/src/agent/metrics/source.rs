//! Answers to requests for metrics. One is given again while it is fresh.

use std::time::{Duration, Instant};

use anyhow::Result;
use hyper::body::Bytes;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Mutex;

use super::{families, reading::Reading};
use crate::host::net::Net;

/// Shortest time for which an answer is given again.
const FRESH: Duration = Duration::from_secs(1);
/// That time as a multiple of the time that the reading took.
const REST: u32 = 10;

/// Source of answers.
pub(super) struct Source {
    net: Net,
    round_trips: Option<Histogram>,
    last: Mutex<Option<Answer>>,
}

/// Text of the metrics, or the reason for which there is none.
pub(super) type Text = Result<Bytes, String>;

/// Answer that is given again while it is fresh.
struct Answer {
    text: Text,
    until: Instant,
}

impl Source {
    /// Opens it.
    pub(super) fn open(round_trips: Option<Histogram>) -> Result<Self> {
        Ok(Self {
            net: Net::open()?,
            round_trips,
            last: Mutex::default(),
        })
    }

    /// Returns the metrics, which may be a little old.
    pub(super) async fn text(&self) -> Text {
        let mut last = self.last.lock().await;
        let begun = Instant::now();
        if let Some(last) = last.as_ref().filter(|last| begun < last.until) {
            return last.text.clone();
        }
        let text = match Reading::take(&self.net, self.round_trips.as_ref()).await {
            Ok(reading) => Ok(families::encode(reading).into()),
            Err(error) => Err(format!("{error:#}")),
        };
        let answer = last.insert(Answer {
            text,
            until: Instant::now() + fresh_for(begun.elapsed()),
        });
        answer.text.clone()
    }
}

/// Returns how long an answer is fresh whose reading took so long.
fn fresh_for(took: Duration) -> Duration {
    FRESH.max(took * REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_read_rarely() {
        assert_eq!(fresh_for(Duration::from_millis(3)), Duration::from_secs(1));
        assert_eq!(
            fresh_for(Duration::from_millis(400)),
            Duration::from_secs(4)
        );
    }
}
