//! The metrics as OpenMetrics text. docs/metrics.md lists them, and a test of the lab holds the list to this text.

use std::fmt;

use nat_common::abi::{ABI, Counter, CounterKind};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use super::reading::Reading;
use crate::view::{streams::Stream, traffic::REDIRECTS};

/// Names of the rings of `HISTORY`.
const RINGS: [&str; 2] = ["other", "bound"];

/// Writes a reading.
pub(super) fn encode(reading: Reading) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(reading));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes any text");
    text
}

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        families.agent(self)?;
        families.packets(self)?;
        families.tables(self)?;
        families.programs(self)?;
        families.keepalives(self)?;
        families.media(self)
    }
}

/// Labels of a sample.
type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

/// Writer of metrics.
struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn agent(&mut self, reading: &Reading) -> fmt::Result {
        let abi = ABI.to_string();
        let build = Info::new([
            ("version", reading.version.as_str().to_owned()),
            ("abi", abi),
        ]);
        let help = "Version of sipnat, and number of the layout of its tables";
        let metric = self
            .0
            .encode_descriptor("sipnat_build", help, None, MetricType::Info)?;
        build.encode(metric)?;
        self.number(
            "process_start_time",
            "Start of the agent, since 1970",
            Some(&Unit::Seconds),
            reading.since as f64,
        )?;
        self.number(
            "sipnat_metrics_read",
            "Time that it took to read these metrics",
            Some(&Unit::Seconds),
            reading.took.as_secs_f64(),
        )?;
        self.number(
            "sipnat_shadow",
            "1 if nothing is redirected, and the counters say what would have been done",
            None,
            f64::from(u8::from(reading.shadow)),
        )?;
        let interfaces = reading.interfaces.iter().map(|(name, attached)| {
            let attached = f64::from(u8::from(*attached));
            ([("interface", name.as_str())], attached)
        });
        self.gauge(
            "sipnat_attached",
            "1 if both programs are on the interface, as the kernel says",
            interfaces,
        )
    }

    fn packets(&mut self, reading: &Reading) -> fmt::Result {
        let direction = |counter: Counter| match counter.kind() {
            CounterKind::Ingress => Some("ingress"),
            CounterKind::Egress => Some("egress"),
            CounterKind::Event => None,
        };
        let packets = reading.counters.iter().filter_map(|(counter, count)| {
            let direction = direction(*counter)?;
            let labels = [("direction", direction), ("reason", counter.name())];
            Some((labels, *count))
        });
        let help = "Packets by direction and verdict, as `sipnat stats` names it";
        self.counter("sipnat_packets", help, packets)?;
        let of = |wanted: Counter| {
            let found = reading.counters.iter().find(|(known, _)| *known == wanted);
            found.map_or(0, |(_, count)| *count)
        };
        let redirects = REDIRECTS.map(|(by, counter)| ([("by", by)], of(counter)));
        let help = "Packets of the PBX sent to a learned address, by what named the terminal";
        self.counter("sipnat_redirects", help, redirects)?;
        let events = reading.counters.iter();
        let events = events.filter(|(counter, _)| direction(*counter).is_none());
        let events = events.map(|(counter, count)| ([("event", counter.name())], *count));
        let help = "Events of bindings and tables, as `sipnat stats` names them";
        self.counter("sipnat_events", help, events)
    }

    fn tables(&mut self, reading: &Reading) -> fmt::Result {
        let bindings = reading.bindings.iter().map(|(kind, state, count)| {
            let labels = [("kind", kind.name()), ("state", state.name())];
            (labels, count as f64)
        });
        let help = "Bindings by kind and state, as `sipnat bindings list` shows them";
        self.gauge("sipnat_bindings", help, bindings)?;
        let tables = || reading.tables.iter();
        let entries = tables().map(|table| ([("table", table.name)], table.used as f64));
        self.gauge("sipnat_table_entries", "Live entries of a table", entries)?;
        let capacity = tables().map(|table| ([("table", table.name)], table.size as f64));
        let help =
            "Entries that a table can hold; of bindings, those that it keeps whatever else arrives";
        self.gauge("sipnat_table_capacity", help, capacity)?;
        self.number(
            "sipnat_tables_memory",
            "Memory of all tables",
            Some(&Unit::Bytes),
            reading.memory as f64,
        )?;
        let records = RINGS.into_iter().zip(reading.records);
        let records = records.map(|(ring, count)| ([("ring", ring)], count));
        let help = "Decisions recorded for `sipnat explain`, which keeps the newest of each ring";
        self.counter("sipnat_history_records", help, records)
    }

    fn programs(&mut self, reading: &Reading) -> fmt::Result {
        let programs = || reading.programs.iter();
        let runs = programs().map(|program| ([("program", program.name)], program.runs));
        let help = "Runs of a program while the kernel measured them";
        self.counter("sipnat_program_runs", help, runs)?;
        let help = "Time of these runs";
        let unit = Some(&Unit::Seconds);
        let mut metric =
            self.0
                .encode_descriptor("sipnat_program_run", help, unit, MetricType::Counter)?;
        for program in programs() {
            let labels = [("program", program.name)];
            let time = ConstCounter::new(program.time.as_secs_f64());
            time.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn keepalives(&mut self, reading: &Reading) -> fmt::Result {
        let Some(keepalives) = &reading.keepalives else {
            return Ok(());
        };
        let terminals = [
            ("answering", keepalives.answering),
            ("silent", keepalives.silent),
            ("unknown", keepalives.unknown),
        ];
        let terminals = terminals.map(|(state, count)| ([("state", state)], count as f64));
        let help = "Terminals whose NAT mappings are kept open, by what became of their keepalives";
        self.gauge("sipnat_keepalive_terminals", help, terminals)?;
        let help = "Round-trip times of answered keepalives since the agent started";
        let metric = self.0.encode_descriptor(
            "sipnat_keepalive_round_trip",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        keepalives.round_trips.encode(metric)
    }

    fn media(&mut self, reading: &Reading) -> fmt::Result {
        let Some(media) = &reading.media else {
            return Ok(());
        };
        let events = media.counters.iter();
        let events = events.map(|(counter, count)| ([("event", counter.name())], *count));
        let help = "Packets and events of media, as `sipnat stats` names them";
        self.counter("sipnat_media_events", help, events)?;
        let count = |kind, is_learned| {
            let is =
                |stream: &&Stream| stream.kind == kind && stream.learned.is_some() == is_learned;
            media.streams.iter().filter(is).count() as f64
        };
        let streams = Stream::KINDS.into_iter().flat_map(|kind| {
            [("learned", true), ("waiting", false)].map(|(state, is_learned)| {
                let labels = [("kind", kind), ("state", state)];
                (labels, count(kind, is_learned))
            })
        });
        let help =
            "Streams of calls, by kind of their packets, and by whether their source is learned";
        self.gauge("sipnat_media_streams", help, streams)
    }

    /// Writes a family of counters.
    fn counter<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Writes a gauge without labels.
    fn number(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
        let metric = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    /// Writes a family of gauges.
    fn gauge<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, f64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
