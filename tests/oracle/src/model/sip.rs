//! SIP messages as the actors write them.

use std::fmt::{self, Display, Formatter};

use nat_common::endpoint::Endpoint;

use super::actor::Actor;

/// Socket of the PBX.
pub(super) const PBX: Endpoint = Endpoint::v4([203, 0, 113, 10], 5060);

/// Number behind the victim, and another number of the trunk.
pub(super) const NUMBER: &str = "0401234567";
pub(super) const TRUNK_NUMBER: &str = "+49305678";

/// Tag; 0 is none.
pub(super) type Tag = u16;

/// Number in a Call-ID.
pub(super) type Call = u16;

/// Number in a branch.
pub(super) type Branch = u32;

/// SIP URI of a user at a domain, or at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) user: &'static str,
    /// Domain; empty if it is an address.
    pub(super) domain: &'static str,
    /// Address and port; unknown if it is a domain.
    pub(super) place: Endpoint,
}

impl Uri {
    pub(super) const fn named(user: &'static str, domain: &'static str) -> Self {
        Self {
            user,
            domain,
            place: Endpoint::UNKNOWN,
        }
    }

    pub(super) const fn at(user: &'static str, place: Endpoint) -> Self {
        Self {
            user,
            domain: "",
            place,
        }
    }

    /// The URI of another user at the same address.
    pub(super) const fn of_user(self, user: &'static str) -> Self {
        Self { user, ..self }
    }

    /// The URI without the port of its address.
    pub(super) const fn without_port(self) -> Self {
        let place = Endpoint {
            port: 5060,
            ..self.place
        };
        Self { place, ..self }
    }

    /// Whether it is that of a number, which no terminal has registered.
    pub(super) fn is_number(&self) -> bool {
        [NUMBER, TRUNK_NUMBER].contains(&self.user)
    }

    /// Whether it names an address other than the PBX's.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.domain.is_empty() && self.place != PBX
    }
}

/// Address and port as SIP and logs write them.
pub(super) struct Place<'a>(pub(super) &'a Endpoint);

impl Display for Place<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&Text(String::new()).place(self.0).0)
    }
}

impl Display for Uri {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&Text(String::new()).uri(self).0)
    }
}

/// Entry of Via.
#[derive(Clone, Copy, Debug)]
pub(super) struct Via {
    pub(super) sent_by: Endpoint,
    pub(super) rport: bool,
    pub(super) branch: Branch,
}

/// Party of a dialog: From or To.
#[derive(Clone, Copy, Debug)]
pub(super) struct Party {
    pub(super) uri: Uri,
    pub(super) tag: Tag,
}

/// Contacts of a message.
#[derive(Clone, Debug, Default)]
pub(super) enum Contacts {
    #[default]
    None,
    /// `Contact: *`.
    Star,
    /// URIs, each with its expiry.
    Uris(Vec<(Uri, Option<u32>)>),
}

impl From<Uri> for Contacts {
    fn from(uri: Uri) -> Self {
        Self::Uris(vec![(uri, None)])
    }
}

/// SIP message.
#[derive(Clone, Debug)]
pub(super) struct Sip {
    pub(super) method: &'static str,
    /// Status of a response; 0 is a request.
    pub(super) status: u16,
    pub(super) target: Uri,
    pub(super) route: Option<Uri>,
    /// The PBX has written itself into Record-Route.
    pub(super) record_route: bool,
    /// Entries of Via, the topmost last.
    pub(super) vias: Vec<Via>,
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) call: Call,
    pub(super) cseq: u32,
    pub(super) contacts: Contacts,
    /// Expiry that a REGISTER asks for.
    pub(super) expires: Option<u32>,
    /// Owner of the account of which the sender has the password.
    pub(super) credentials: Option<Actor>,
    /// Its next hop has it by TCP, where sipnat does not see it.
    pub(super) unseen: bool,
}

impl Sip {
    /// Branch of the topmost Via.
    pub(super) fn branch(&self) -> Branch {
        self.vias.last().map_or(0, |via| via.branch)
    }

    /// First Contact URI.
    pub(super) fn contact(&self) -> Option<Uri> {
        match &self.contacts {
            Contacts::Uris(uris) => uris.first().map(|(uri, _)| *uri),
            Contacts::None | Contacts::Star => None,
        }
    }

    /// Whether one of its Contacts is this URI.
    pub(super) fn names(&self, contact: &Uri) -> bool {
        matches!(&self.contacts, Contacts::Uris(uris) if uris.iter().any(|(uri, _)| uri == contact))
    }

    /// Whether this REGISTER binds a contact to an address-of-record.
    pub(super) fn binds(&self, aor: &Uri) -> bool {
        let lasts = |(_, seconds): &(Uri, Option<u32>)| seconds.or(self.expires) != Some(0);
        self.to.uri == *aor
            && matches!(&self.contacts, Contacts::Uris(uris) if uris.iter().any(lasts))
    }

    /// Response to this request, without Contact.
    pub(super) fn answer(&self, status: u16, tag: Tag) -> Self {
        let mut answer = self.clone();
        answer.status = status;
        answer.to.tag = tag;
        answer.contacts = Contacts::None;
        answer.expires = None;
        answer.route = None;
        answer
    }

    /// Text of the message. It is written piece by piece: `format!` took most of the fuzzer's time.
    pub(super) fn text(&self) -> String {
        let mut text = Text(String::with_capacity(700));
        if self.status == 0 {
            text.add(self.method).add(" ").uri(&self.target);
            text.add(" SIP/2.0");
        } else {
            text.add("SIP/2.0 ")
                .number(self.status.into())
                .add(" Reason");
        }
        for via in self.vias.iter().rev() {
            text.add("\r\nVia: SIP/2.0/UDP ").place(&via.sent_by);
            text.add(if via.rport { ";rport" } else { "" });
            text.add(";branch=z9hG4bK").number(via.branch);
        }
        if self.record_route {
            text.add("\r\nRecord-Route: <sip:").place(&PBX).add(";lr>");
        }
        if let Some(route) = &self.route {
            text.add("\r\nRoute: <").uri(route).add(";lr>");
        }
        for (name, party) in [("From: <", &self.from), ("To: <", &self.to)] {
            text.add("\r\n").add(name).uri(&party.uri).add(">");
            if party.tag != 0 {
                text.add(";tag=t").number(party.tag.into());
            }
        }
        text.add("\r\nCall-ID: call").number(self.call.into());
        text.add("\r\nCSeq: ").number(self.cseq);
        text.add(" ").add(self.method);
        match &self.contacts {
            Contacts::None => {}
            Contacts::Star => _ = text.add("\r\nContact: *"),
            Contacts::Uris(uris) => {
                for (uri, expires) in uris {
                    text.add("\r\nContact: <").uri(uri).add(">");
                    if let Some(seconds) = expires {
                        text.add(";expires=").number(*seconds);
                    }
                }
            }
        }
        if let Some(seconds) = self.expires {
            text.add("\r\nExpires: ").number(seconds);
        }
        text.add("\r\n\r\n");
        text.0
    }
}

/// Text of a message under construction.
struct Text(String);

impl Text {
    fn add(&mut self, piece: &str) -> &mut Self {
        self.0.push_str(piece);
        self
    }

    fn number(&mut self, number: u32) -> &mut Self {
        if number >= 10 {
            self.number(number / 10);
        }
        self.0.push(char::from(b'0' + (number % 10) as u8));
        self
    }

    fn place(&mut self, place: &Endpoint) -> &mut Self {
        let mut dot = "";
        for byte in place.as_v4() {
            self.add(dot).number(byte.into());
            dot = ".";
        }
        match place.port {
            5060 => self,
            port => self.add(":").number(port),
        }
    }

    fn uri(&mut self, uri: &Uri) -> &mut Self {
        self.add("sip:");
        if !uri.user.is_empty() {
            self.add(uri.user).add("@");
        }
        if uri.domain.is_empty() {
            self.place(&uri.place)
        } else {
            self.add(uri.domain)
        }
    }
}
