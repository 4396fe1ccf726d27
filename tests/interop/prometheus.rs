//! A real Prometheus that scrapes a real agent, and is asked what the dashboard asks.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Lab, Plan, Sipnat, StrictPbx, http,
    netns::Netns,
    process::Process,
    scene::SOON,
    sipp::{Scenario, Sipp},
};
use serde_json::Value;

/// Address of the agent's metrics.
const METRICS: &str = "127.0.0.1:9060";
/// Address of Prometheus.
const SERVER: &str = "127.0.0.1:9090";
/// Time within which Prometheus starts, and has scraped often enough for rates.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Prometheus.
struct Prometheus<'a> {
    netns: &'a Netns,
    process: Process,
}

impl<'a> Prometheus<'a> {
    /// Starts it on the host of the agent.
    fn start(netns: &'a Netns) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = format!(
            "global:
  scrape_interval: 1s
scrape_configs:
  - job_name: sipnat
    static_configs:
      - targets: ['{METRICS}']
"
        );
        fs::write(dir.path().join("prometheus.yml"), config)?;
        let mut command = Command::new("prometheus");
        command.args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            &format!("--web.listen-address={SERVER}"),
        ]);
        let process = Process::spawn(netns, &mut command, dir)?;
        Ok(Self { netns, process })
    }

    /// Asks for a page of its API. Returns its data.
    fn ask(&self, page: &str) -> Result<Value> {
        let server: SocketAddr = SERVER.parse()?;
        let answer = http::request(self.netns, server, "GET", &format!("/api/v1/{page}"))?;
        let mut body: Value = serde_json::from_str(&answer.body).context(answer.body)?;
        ensure!(body["status"] == "success", "{page}: {body:#}");
        Ok(body["data"].take())
    }

    /// Evaluates an expression. Returns the samples.
    fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let escaped: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        let mut data = self.ask(&format!("query?query={escaped}"))?;
        let samples = data["result"].take();
        Ok(serde_json::from_value(samples)?)
    }

    /// Waits until an expression has a sample above 0.
    fn wait_for(&self, expression: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.query(expression);
            if found.as_ref().is_ok_and(|samples| number(samples) > 0.0) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{expression}: {found:?}\n{}",
                self.process.output()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Returns the largest number among samples; 0 if there are none.
fn number(samples: &[Value]) -> f64 {
    let numbers = samples.iter().filter_map(|sample| {
        let number = sample["value"][1].as_str()?.parse::<f64>().ok()?;
        Some(number).filter(|number| number.is_finite())
    });
    numbers.fold(0.0, f64::max)
}

/// Returns the panels of the dashboard with their expressions, as Grafana would ask for them.
fn dashboard() -> Result<Vec<(String, String)>> {
    let dashboard: Value = serde_json::from_str(include_str!("../../packaging/grafana.json"))?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let mut asked = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().context("no title")?;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("no expression")?;
            let expression = expression
                .replace("$instance", ".*")
                .replace("$__rate_interval", "15s");
            ensure!(!expression.contains('$'), "{title}: {expression}");
            asked.push((title.to_owned(), expression));
        }
    }
    Ok(asked)
}

/// Panels whose figures stay 0 in a call of one phone without STUN or trouble.
const QUIET: [&str; 4] = ["Shadow", "SIP in doubt", "STUN", "Not stored"];
/// Panels of which no number is asked: a stream comes and goes, and no terminal is registered.
const FREE: [&str; 3] = ["Streams", "Keepalives", "Round-trip times of keepalives"];

#[test]
fn each_expression_of_the_dashboard_has_an_answer() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let arguments = [
        "--metrics",
        METRICS,
        "--metrics-run-time",
        "--media",
        "--keepalive=options",
    ];
    let agent = Sipnat::start(&lab.pbx, &arguments)?;
    let prometheus = Prometheus::start(&lab.pbx)?;
    // A rate needs two scrapes before the first packet.
    prometheus.wait_for("count_over_time(up[1m]) > 3")?;

    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    let mut sipp = Sipp::start(lab.phone(), "1000", Scenario::Call)?;
    let call = pbx.call(SOON)?;
    pbx.request(&call, "INVITE")?;
    prometheus.wait_for("sum(rate(sipnat_redirects_total{by=\"dialog\"}[15s]))")?;
    prometheus.wait_for("sum(rate(sipnat_program_run_seconds_total[15s]))")?;

    let asked = dashboard()?;
    ensure!(asked.len() > 15, "{asked:?}");
    let mut used = BTreeSet::new();
    for (title, expression) in &asked {
        let samples = prometheus.query(expression)?;
        ensure!(!samples.is_empty(), "{title}: nothing for {expression}");
        let is_quiet = QUIET.contains(&title.as_str());
        if !FREE.contains(&title.as_str()) {
            let number = number(&samples);
            ensure!(
                (number > 0.0) != is_quiet,
                "{title}: {number} for {expression}: {samples:#?}"
            );
        }
        let names = expression.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        used.extend(names.filter(|name| name.starts_with("sipnat_")));
    }
    // Each metric is on the dashboard, and Prometheus knows its type and what it means.
    let metadata = prometheus.ask("metadata")?;
    let metadata = metadata.as_object().context("no metadata")?;
    let described = metadata.keys().filter(|name| name.starts_with("sipnat_"));
    for family in described {
        let is_used = used.iter().any(|name| name.starts_with(family.as_str()));
        ensure!(is_used, "{family} is not on the dashboard");
    }
    for name in used {
        let family = name.trim_end_matches("_total").trim_end_matches("_info");
        let family = family.trim_end_matches("_bucket");
        let known = [name, family].iter().find_map(|name| metadata.get(*name));
        let known = known.with_context(|| format!("Prometheus knows nothing of {name}"))?;
        ensure!(
            known[0]["help"]
                .as_str()
                .is_some_and(|help| !help.is_empty()),
            "{known}"
        );
    }
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)?;
    drop(prometheus);
    agent.stop()
}
