//! Frame of every test: one scenario at each PBX, with sipnat and without.

use anyhow::{Context as _, Result};
use nat_test_support::{
    Lab, Plan,
    asterisk::{Asterisk, Options, Release},
    capture::Packet,
    handset::Handset,
    scene::{Death, SOON, Scene, With, play_in},
};

/// For terminals whose Contact has another user than their address-of-record, and numbers behind a gateway: no first hour.
pub(crate) const WITHOUT_FIRST_HOUR: With = With::Arguments(&["--settle", "0"]);

/// A lab with a PBX at work in it.
pub(crate) struct Stage<'a> {
    pub(crate) scene: &'a Scene<'a>,
    pub(crate) asterisk: Asterisk<'a>,
}

/// Makes tests of one scenario at each PBX: it succeeds with sipnat, and without it the message with this start line
/// does not arrive. Plan of the lab, options of the PBX and arguments of sipnat may be left out, from the last one on. A known
/// failure has the attribute `ignore` with its reason.
macro_rules! at_each_pbx {
    (#[$known:meta] $name:ident, without sipnat $start:literal dies) => {
        mod $name {
            use super::*;
            const PLAN: Plan = Plan::PLAIN_NAT;
            crate::frame::at_pbx!(#[$known] pjsip22, Pjsip22, $name, PLAN, Default::default(), With::Sipnat, $start);
            crate::frame::at_pbx!(#[$known] pjsip16, Pjsip16, $name, PLAN, Default::default(), With::Sipnat, $start);
            crate::frame::at_pbx!(#[$known] chan_sip16, ChanSip16, $name, PLAN, Default::default(), With::Sipnat, $start);
        }
    };
    ($name:ident, without sipnat $start:literal dies) => {
        crate::frame::at_each_pbx!($name, Plan::PLAIN_NAT, without sipnat $start dies);
    };
    ($name:ident, $plan:expr, without sipnat $start:literal dies) => {
        crate::frame::at_each_pbx!($name, $plan, Options::default(), without sipnat $start dies);
    };
    ($name:ident, $plan:expr, $options:expr, without sipnat $start:literal dies) => {
        crate::frame::at_each_pbx!($name, $plan, $options, With::Sipnat, without sipnat $start dies);
    };
    ($name:ident, $plan:expr, $options:expr, $with:expr, without sipnat $start:literal dies) => {
        mod $name {
            use super::*;
            crate::frame::at_pbx!(pjsip22, Pjsip22, $name, $plan, $options, $with, $start);
            crate::frame::at_pbx!(pjsip16, Pjsip16, $name, $plan, $options, $with, $start);
            crate::frame::at_pbx!(chan_sip16, ChanSip16, $name, $plan, $options, $with, $start);
        }
    };
}
pub(crate) use at_each_pbx;

/// Makes the tests of one scenario at each Asterisk with `chan_pjsip`, for what `chan_sip` cannot do. Arguments of sipnat are a
/// full path.
macro_rules! at_each_pjsip {
    ($name:ident, without sipnat $start:literal dies) => {
        crate::frame::at_each_pjsip!($name, nat_test_support::scene::With::Sipnat, without sipnat $start dies);
    };
    ($name:ident, $with:expr, without sipnat $start:literal dies) => {
        mod $name {
            const PLAN: nat_test_support::Plan = nat_test_support::Plan::PLAIN_NAT;
            crate::frame::at_pbx!(pjsip22, Pjsip22, $name, PLAN, Default::default(), $with, $start);
            crate::frame::at_pbx!(pjsip16, Pjsip16, $name, PLAN, Default::default(), $with, $start);
        }
    };
}
pub(crate) use at_each_pjsip;

/// Makes a test of one function with each PBX, for what starts the PBX itself.
macro_rules! with_each_pbx {
    ($scenario:ident) => {
        mod $scenario {
            use nat_test_support::asterisk::Release;

            #[test]
            fn pjsip22() -> anyhow::Result<()> {
                super::$scenario(Release::Pjsip22)
            }

            #[test]
            fn pjsip16() -> anyhow::Result<()> {
                super::$scenario(Release::Pjsip16)
            }

            #[test]
            fn chan_sip16() -> anyhow::Result<()> {
                super::$scenario(Release::ChanSip16)
            }
        }
    };
}
pub(crate) use with_each_pbx;

/// Makes the two tests of one scenario at one PBX.
macro_rules! at_pbx {
    ($(#[$known:meta])? $module:ident, $release:ident, $name:ident, $plan:expr, $options:expr, $with:expr, $start:literal) => {
        mod $module {
            use nat_test_support::{asterisk::Release, scene::With};

            use super::*;

            #[test]
            $(#[$known])?
            fn with_sipnat() -> anyhow::Result<()> {
                let scenario = super::super::$name;
                crate::frame::play(Release::$release, $options, $plan, $with, scenario)
            }

            #[test]
            fn without_sipnat() -> anyhow::Result<()> {
                let with = With::Nothing;
                crate::frame::play(Release::$release, $options, $plan, with, |stage| {
                    stage.must_fail(super::super::$name, $start)
                })
            }
        }
    };
}
pub(crate) use at_pbx;

/// Plays a scenario at a PBX. An error contains the call ladder and the PBX's log.
pub(crate) fn play(
    release: Release,
    options: Options,
    plan: Plan,
    with: With,
    scenario: impl FnOnce(&Stage<'_>) -> Result<()>,
) -> Result<()> {
    let lab = Lab::new(plan)?;
    let asterisk = Asterisk::start(&lab.pbx, release, options)?;
    play_in(&lab, with, |scene| {
        let stage = Stage { scene, asterisk };
        scenario(&stage).with_context(|| {
            let sent = stage.scene.sent_by_pbx("");
            let last = sent.iter().rev().find_map(Packet::sip);
            let last = last.map(|message| message.to_string()).unwrap_or_default();
            format!(
                "\nlast message of the PBX:\n{last}\nlog of the PBX:\n{}",
                stage.asterisk.log()
            )
        })
    })
}

impl Stage<'_> {
    /// A phone of the lab, of a user at the PBX. `chan_pjsip` answers to the source of requests, whatever they ask for.
    pub(crate) fn phone(&self, site: usize, phone: usize, user: &str) -> Result<Handset> {
        let phone = &self.scene.lab.sites[site].phones[phone];
        Handset::start(&phone.netns, phone.private, user, SOON)
    }

    /// A phone of the lab that has registered.
    pub(crate) fn registered(&self, site: usize, phone: usize, user: &str) -> Result<Handset> {
        let phone = self.phone(site, phone, user)?;
        phone.register()?;
        Ok(phone)
    }

    /// Plays `scenario`, which must fail because the PBX's message that begins with `start` does not arrive. `chan_sip`
    /// answers to the port in Via: not even its first answer arrives.
    pub(crate) fn must_fail(
        &self,
        scenario: impl FnOnce(&Self) -> Result<()>,
        start: &str,
    ) -> Result<()> {
        let (start, death) = if self.asterisk.release().is_chan_sip() {
            ("SIP/2.0 401", Death::Port5060)
        } else {
            (start, Death::PrivateAddress)
        };
        self.scene.must_fail(|_| scenario(self), start, death)
    }
}
