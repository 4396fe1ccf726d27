//! `sipnat doctor`: what can keep sipnat from working on this host.

use anyhow::{Result, bail};
use aya::programs::ProgramInfo;
use clap::Args;

use crate::{
    agent::record::AgentRecord,
    checks::doctor::{Finding, Health, examine},
    commands::run::Run,
    host::namespaces::path_of_process,
    kernel::loops::EGRESS,
    view::output,
};

/// Arguments of `sipnat doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    run: Run,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Examines this host for an agent with these options.
    ///
    /// # Errors
    /// If sipnat cannot work here.
    pub async fn run(self) -> Result<()> {
        let settings = self.run.settings()?;
        let agent = AgentRecord::find().ok().flatten();
        let attached = agent.as_ref().map(|agent| agent.interfaces.as_slice());
        let ours = agent.as_ref().and_then(|agent| {
            let pin = path_of_process(agent.pid, &agent.pins).join(EGRESS);
            ProgramInfo::from_pin(pin).ok().map(|info| info.id())
        });
        let findings = examine(&settings, attached.unwrap_or_default(), ours).await?;
        if self.json {
            output::json(&findings)?;
        } else {
            output::print(&render(&findings))?;
        }
        let failures = findings.iter().filter(|f| f.health == Health::Failure);
        match failures.count() {
            0 => Ok(()),
            1 => bail!("one failure: sipnat cannot work here as it is"),
            count => bail!("{count} failures: sipnat cannot work here as it is"),
        }
    }
}

fn render(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let health = match finding.health {
            Health::Ok => "ok",
            Health::Warning => "warning",
            Health::Failure => "FAILURE",
        };
        lines.push(format!(
            "{health:<8} {:<11} {}",
            finding.check, finding.text
        ));
        let details = [
            ("why", finding.why.map(str::to_owned)),
            ("remedy", finding.remedy.clone()),
        ];
        for (name, text) in details {
            if let Some(text) = text {
                lines.push(format!("{:<8} {:<11}   {name}: {text}", "", ""));
            }
        }
    }
    lines.join("\n")
}
