//! Packets by what became of them.

use nat_common::abi::{Counter, CounterKind};

/// Redirects, by what named the terminal.
pub(crate) const REDIRECTS: [(&str, Counter); 5] = [
    ("response", Counter::OutRedirectedResponse),
    ("dialog", Counter::OutRedirectedDialog),
    ("contact", Counter::OutRedirectedContact),
    ("invite", Counter::OutRedirectedInvite),
    ("fragment", Counter::OutFragmentRedirected),
];

/// Fate of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrived, and sipnat noted where it came from.
    Learned,
    /// It arrived, and was passed on, answered or dropped for another reason.
    Passed,
    /// The PBX sent it, and it went to a learned address.
    Redirected,
    /// The PBX sent it, and it went where the PBX sent it.
    LeftAlone,
    /// It is no SIP of the PBX or for it.
    Other,
}

impl Fate {
    /// Returns the fate of a packet by its verdict; none if the counter is an event.
    pub(crate) fn of(counter: Counter) -> Option<Self> {
        use Counter as C;
        Some(match counter {
            C::InRequest | C::InRepeat => Self::Learned,
            C::InNotIp | C::InNotUdp | C::InOtherPort | C::InFragment => Self::Other,
            C::OutNotIp | C::OutNotUdp | C::OutOtherPort | C::OutKeepalive | C::OutNotSip => {
                Self::Other
            }
            _ if REDIRECTS.iter().any(|(_, redirect)| *redirect == counter) => Self::Redirected,
            _ => match counter.kind() {
                CounterKind::Ingress => Self::Passed,
                CounterKind::Egress => Self::LeftAlone,
                CounterKind::Event => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_a_fate_of_its_direction() {
        for counter in Counter::ALL {
            let fate = Fate::of(*counter);
            let fits = match counter.kind() {
                CounterKind::Ingress => {
                    matches!(fate, Some(Fate::Learned | Fate::Passed | Fate::Other))
                }
                CounterKind::Egress => {
                    matches!(fate, Some(Fate::Redirected | Fate::LeftAlone | Fate::Other))
                }
                CounterKind::Event => fate.is_none(),
            };
            assert!(fits, "{}: {fate:?}", counter.name());
            let is_redirect = counter.name().contains("_redirected");
            assert_eq!(
                fate == Some(Fate::Redirected),
                is_redirect,
                "{}",
                counter.name()
            );
        }
    }
}
