//! A user agent and registrar that knows nothing about NAT.
//!
//! It sends requests to the Contact (RFC 3261 12.2.1.1) and responses by Via (18.2.2), and ignores `rport`. Many PBXs
//! respond to the source of the request and are as strict in everything else: [`Answers::ToSource`].

mod dialog;
mod server;

use std::{
    net::SocketAddrV4,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use dialog::{GIVE_UP, field};
use server::{Shared, TICK};

pub use dialog::Dialog;

use crate::{
    lab::PBX,
    netns::Netns,
    sip::{self, Answers, Message, address},
};

/// A running PBX, ended when dropped.
#[derive(Debug)]
pub struct StrictPbx {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// An INVITE of the PBX without a final response.
#[derive(Debug)]
pub struct Invitation {
    request: Message,
    destination: SocketAddrV4,
}

impl StrictPbx {
    /// Starts it on [`PBX`] in `netns`. It holds its calls, so that no media flow.
    pub fn start(netns: &Netns, answers: Answers) -> Result<Self> {
        Self::start_at(netns, PBX, answers)
    }

    /// Starts it on another address, which a NAT in front of it translates to [`PBX`]: that is the one that it writes into
    /// its messages.
    pub fn start_at(netns: &Netns, local: SocketAddrV4, answers: Answers) -> Result<Self> {
        Self::start_with(netns, local, answers, &description(4000, "a=inactive\r\n"))
    }

    /// Starts it as one whose calls have audio at this port.
    pub fn start_with_audio(netns: &Netns, answers: Answers, port: u16) -> Result<Self> {
        Self::start_with(netns, PBX, answers, &description(port, ""))
    }

    fn start_with(netns: &Netns, local: SocketAddrV4, answers: Answers, sdp: &str) -> Result<Self> {
        let socket = netns.udp(local)?;
        socket.set_read_timeout(Some(TICK))?;
        let shared = Arc::new(Shared {
            socket,
            answers,
            sdp: sdp.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            counter: AtomicU32::new(1),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.serve()
        });
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Waits until `aor` (`sip:user@host`) is registered. Returns its Contact URI.
    pub fn registered(&self, aor: &str, limit: Duration) -> Result<String> {
        self.shared
            .wait(limit, |state| state.contacts.get(aor).cloned())
            .with_context(|| format!("the PBX got no REGISTER of {aor} within {limit:?}"))
    }

    /// Waits until `number` calls of phones are established, each with its ACK.
    pub fn calls(&self, number: usize, limit: Duration) -> Result<Vec<Dialog>> {
        self.shared
            .wait(limit, |state| {
                let confirmed = state.incoming.iter().filter(|(_, confirmed)| *confirmed);
                let dialogs: Vec<_> = confirmed.map(|(dialog, _)| dialog.clone()).collect();
                (dialogs.len() >= number).then_some(dialogs)
            })
            .with_context(|| format!("not {number} calls at the PBX within {limit:?}"))
    }

    /// Waits for the first call of a phone to be established.
    pub fn call(&self, limit: Duration) -> Result<Dialog> {
        Ok(self.calls(1, limit)?.swap_remove(0))
    }

    /// Sends a request inside `dialog`. Returns its final response. A 2xx to INVITE is acknowledged.
    pub fn request(&self, dialog: &Dialog, method: &str) -> Result<Message> {
        let request = self.shared.new_request(
            method,
            &dialog.target,
            &dialog.local,
            &dialog.remote,
            &dialog.call_id,
        );
        let destination = address(&dialog.target)?;
        self.shared.send_request(&request, destination)?;
        let response = self.shared.final_response(&request, destination)?;
        if method == "INVITE" {
            self.shared.acknowledge(&request, &response)?;
        }
        Ok(response)
    }

    /// Sends a request outside of any dialog to the contact of `aor`. Returns its final response.
    pub fn request_to(&self, aor: &str, method: &str) -> Result<Message> {
        let invitation = self.start_request(aor, method)?;
        self.shared
            .final_response(&invitation.request, invitation.destination)
    }

    /// Calls the contact of `aor`.
    pub fn invite(&self, aor: &str) -> Result<Invitation> {
        self.start_request(aor, "INVITE")
    }

    /// Waits for the provisional response `status`.
    pub fn provisional(&self, invitation: &Invitation, status: u16) -> Result<()> {
        self.shared
            .wait(GIVE_UP, |state| {
                state
                    .response_to(&invitation.request, |code| code == status)
                    .map(drop)
            })
            .with_context(|| format!("no {status} for {}", invitation.request.start))
    }

    /// Waits for the call to be answered, and acknowledges it.
    pub fn answered(&self, invitation: &Invitation) -> Result<Dialog> {
        let request = &invitation.request;
        let response = self
            .shared
            .final_response(request, invitation.destination)?;
        self.shared.acknowledge(request, &response)?;
        Ok(Dialog {
            call_id: request.call_id().to_owned(),
            audio: response.audio(),
            local: field(request, "From")?,
            remote: field(&response, "To")?,
            target: response
                .contact()
                .context("2xx without Contact")?
                .to_owned(),
        })
    }

    /// Cancels the call. Returns the responses to CANCEL and to INVITE.
    pub fn cancel(&self, invitation: &Invitation) -> Result<(Message, Message)> {
        let invite = &invitation.request;
        let cancel = sip::of_same_transaction(invite, "CANCEL", &field(invite, "To")?)?;
        self.shared.send_request(&cancel, invitation.destination)?;
        let cancelled = self
            .shared
            .final_response(&cancel, invitation.destination)?;
        let invited = self.shared.final_response(invite, invitation.destination)?;
        Ok((cancelled, invited))
    }

    fn start_request(&self, aor: &str, method: &str) -> Result<Invitation> {
        let contact = self.shared.state().contacts.get(aor).cloned();
        let contact = contact.with_context(|| format!("{aor} is not registered"))?;
        let number = self.shared.next();
        let from = format!("<sip:pbx@{}>;tag=pbx{number}", PBX.ip());
        let call_id = format!("pbx-{number}@{}", PBX.ip());
        let request =
            self.shared
                .new_request(method, &contact, &from, &format!("<{aor}>"), &call_id);
        let destination = address(&contact)?;
        self.shared.send_request(&request, destination)?;
        Ok(Invitation {
            request,
            destination,
        })
    }
}

/// Returns a session description of the PBX.
fn description(port: u16, direction: &str) -> String {
    let host = PBX.ip();
    format!(
        "v=0\r\no=pbx 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\n{direction}"
    )
}

impl Drop for StrictPbx {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
