//! Phones played by SIPp: they neither send nor honour `rport`.

use std::{fs, net::SocketAddrV4, process::Command, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    asterisk::PASSWORD,
    lab::{PBX, Phone},
    netns::Netns,
    process::Process,
};

/// Longer than any scenario takes. A phone never outlives its guard.
const TIMEOUT: &str = "20s";
const START: Duration = Duration::from_secs(5);

/// Scenario of a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// It registers.
    Register,
    /// It registers with a password.
    RegisterWithPassword,
    /// It unregisters.
    Unregister,
    /// It calls; the other end changes the session and hangs up.
    Call,
    /// It calls, changes the session and hangs up.
    CallAndHangUp,
    /// It calls and gives up while the other end rings.
    CallAndCancel,
    /// It answers; the other end changes the session and hangs up.
    Answer,
    /// It answers with a session description; the other end hangs up.
    AnswerWithMedia,
    /// It answers, changes the session and hangs up.
    AnswerAndHangUp,
    /// It rings until the other end gives up.
    Ring,
    /// It answers one OPTIONS.
    Options,
}

impl Scenario {
    fn xml(self) -> &'static str {
        match self {
            Self::Register => include_str!("../scenarios/register.xml"),
            Self::RegisterWithPassword => {
                include_str!("../scenarios/register_with_password.xml")
            }
            Self::Unregister => include_str!("../scenarios/unregister.xml"),
            Self::Call => include_str!("../scenarios/call.xml"),
            Self::CallAndHangUp => include_str!("../scenarios/call_and_hang_up.xml"),
            Self::CallAndCancel => include_str!("../scenarios/call_and_cancel.xml"),
            Self::Answer => include_str!("../scenarios/answer.xml"),
            Self::AnswerWithMedia => include_str!("../scenarios/answer_with_media.xml"),
            Self::AnswerAndHangUp => include_str!("../scenarios/answer_and_hang_up.xml"),
            Self::Ring => include_str!("../scenarios/ring.xml"),
            Self::Options => include_str!("../scenarios/options.xml"),
        }
    }
}

/// Identity of a phone.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// The user part of its address-of-record.
    pub user: &'a str,
    /// The user part of its Contact.
    pub contact: &'a str,
}

impl<'a> From<&'a str> for Account<'a> {
    fn from(user: &'a str) -> Self {
        Self {
            user,
            contact: user,
        }
    }
}

/// A SIPp process.
#[derive(Debug)]
pub struct Sipp(Process);

impl Sipp {
    /// Starts `scenario` on a phone behind a router. It calls `sip:2000@` the PBX.
    pub fn start<'a>(
        phone: &Phone,
        account: impl Into<Account<'a>>,
        scenario: Scenario,
    ) -> Result<Self> {
        Self::start_at(&phone.netns, phone.private, account, scenario)
    }

    /// Starts `scenario` on any host.
    pub fn start_at<'a>(
        netns: &Netns,
        local: SocketAddrV4,
        account: impl Into<Account<'a>>,
        scenario: Scenario,
    ) -> Result<Self> {
        let account = account.into();
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("scenario.xml"), scenario.xml())?;
        let mut process = Process::spawn(
            netns,
            Command::new("sipp")
                .arg(PBX.to_string())
                .args(["-sf", "scenario.xml", "-m", "1", "-nostdin", "-nd"])
                .args([
                    "-i",
                    &local.ip().to_string(),
                    "-p",
                    &local.port().to_string(),
                ])
                .args([
                    "-s",
                    "2000",
                    "-key",
                    "user",
                    account.user,
                    "-key",
                    "contact",
                    account.contact,
                    "-au",
                    account.user,
                    "-ap",
                    PASSWORD,
                ])
                .args(["-timeout", TIMEOUT, "-timeout_error"])
                .args(["-trace_err", "-error_file", "errors"]),
            dir,
        )?;
        process.wait_bound(local.port(), START)?;
        Ok(Self(process))
    }

    /// Waits until the scenario has ended with success.
    pub fn finish(&mut self, limit: Duration) -> Result<()> {
        let status = self.0.wait(limit)?;
        let errors = fs::read_to_string(self.0.file("errors")).unwrap_or_default();
        ensure!(
            status.success(),
            "the phone's scenario failed ({status}): {errors}"
        );
        Ok(())
    }
}
