//! Outcome of a reload of the configuration.

use serde::{Deserialize, Serialize};

/// Outcome of the agent's last reload. The agent writes it into its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Number of reloads since the agent started, with this one.
    pub number: u64,
    /// Reason for the refusal. A wrong configuration changes nothing; if a map cannot be written, earlier writes stay.
    pub refused: Option<String>,
    /// Options with a new value that is in force.
    pub applied: Vec<String>,
    /// Options whose new value needs a restart of the agent; the earlier value stays in force.
    pub restart: Vec<String>,
}

impl Outcome {
    /// Describes a reload that was not refused, one message a line.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        if !self.applied.is_empty() {
            messages.push(format!("reloaded: {} changed", self.applied.join(", ")));
        }
        if !self.restart.is_empty() {
            messages.push(format!(
                "a restart of the agent is needed for {}; until then the earlier values stay in force",
                self.restart.join(", ")
            ));
        }
        if messages.is_empty() {
            messages.push("reloaded: no setting has changed".into());
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_is_in_force() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let none = Outcome::default();
        assert_eq!(none.messages(), ["reloaded: no setting has changed"]);
        let both = Outcome {
            applied: names(&["policy", "peer"]),
            restart: names(&["iface"]),
            ..Outcome::default()
        };
        assert_eq!(
            both.messages(),
            [
                "reloaded: policy, peer changed",
                "a restart of the agent is needed for iface; until then the earlier values stay in force"
            ]
        );
    }
}
