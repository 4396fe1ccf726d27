//! Actors.

use super::input::{Anyone, Attacker, Honest};

/// Sender or receiver of packets, but for the PBX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Actor {
    Victim,
    Public,
    Trunk,
    Registrar,
    Outsider,
    Account,
    Friend,
    Neighbour,
    Local,
}

impl Actor {
    /// Number of actors.
    pub(super) const COUNT: usize = Self::Local as usize + 1;

    /// Whether the rules protect it.
    pub(super) const fn is_honest(self) -> bool {
        matches!(
            self,
            Self::Victim | Self::Public | Self::Trunk | Self::Registrar
        )
    }
}

impl From<Honest> for Actor {
    fn from(who: Honest) -> Self {
        match who {
            Honest::Victim => Self::Victim,
            Honest::Public => Self::Public,
            Honest::Trunk => Self::Trunk,
        }
    }
}

impl From<Anyone> for Actor {
    fn from(who: Anyone) -> Self {
        match who {
            Anyone::Victim => Self::Victim,
            Anyone::Public => Self::Public,
            Anyone::Trunk => Self::Trunk,
            Anyone::Outsider => Self::Outsider,
            Anyone::Account => Self::Account,
            Anyone::Friend => Self::Friend,
            Anyone::Neighbour => Self::Neighbour,
            Anyone::Registrar => Self::Registrar,
        }
    }
}

impl From<Attacker> for Actor {
    fn from(by: Attacker) -> Self {
        match by {
            Attacker::Account => Self::Account,
            Attacker::Outsider => Self::Outsider,
            Attacker::Friend => Self::Friend,
            Attacker::Neighbour => Self::Neighbour,
            Attacker::Local => Self::Local,
        }
    }
}
