//! Input of the model: a few bytes of setup, then steps of five bytes each.
//!
//! All bytes are an input: a choice takes as many bits as it needs, and goes round. So the fuzzer may change any of them,
//! and a story in text has bytes of its own ([`read_story`](super::read_story)).

use std::fmt::Write as _;

use super::words::Words;

/// Length of an encoded [`Setup`].
pub const SETUP_LEN: usize = 4;

/// Length of an encoded [`Step`].
pub const STEP_LEN: usize = 5;

/// Most steps that are played of an input.
pub const MAX_STEPS: usize = 48;

/// Bits of an input, lowest first.
#[derive(Default)]
struct Bits {
    bits: u32,
    used: u32,
}

impl Bits {
    fn take<F: Field>(&mut self) -> F {
        let value = self.bits >> self.used & u32::MAX >> (u32::BITS - F::BITS);
        self.used += F::BITS;
        assert!(self.used <= u32::BITS, "the fields of a step have 32 bits");
        F::from_bits(value)
    }

    fn put<F: Field>(&mut self, field: F) {
        self.bits |= field.to_bits() << self.used;
        self.used += F::BITS;
    }
}

/// Choice that is stored in some bits.
trait Field: Copy {
    const BITS: u32;
    fn from_bits(bits: u32) -> Self;
    fn to_bits(self) -> u32;

    /// Reads the value of a field; the first choice if the words have none.
    fn read(words: &mut Words<'_>, field: &str) -> Result<Self, String> {
        let Some(word) = words.take(field) else {
            return Ok(Self::from_bits(0));
        };
        let mut all = (0..1 << Self::BITS).map(Self::from_bits);
        all.find(|choice| choice.name() == word)
            .ok_or_else(|| format!("{field} is no {word}"))
    }

    /// Writes the value of a field, unless it is the first choice.
    fn write(self, field: &str, text: &mut String) {
        if self.to_bits() != 0 {
            _ = write!(text, " {field}={}", self.name());
        }
    }

    /// Returns the choice as a word.
    fn name(self) -> String;
}

impl Field for bool {
    const BITS: u32 = 1;

    fn from_bits(bits: u32) -> Self {
        bits != 0
    }

    fn to_bits(self) -> u32 {
        self.into()
    }

    fn write(self, field: &str, text: &mut String) {
        if self {
            _ = write!(text, " {field}");
        }
    }

    fn name(self) -> String {
        self.to_string()
    }
}

/// Number of few bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number<const WIDTH: u32>(pub u8);

impl<const WIDTH: u32> Field for Number<WIDTH> {
    const BITS: u32 = WIDTH;

    fn from_bits(bits: u32) -> Self {
        Self(bits as u8)
    }

    fn to_bits(self) -> u32 {
        self.0.into()
    }

    fn name(self) -> String {
        self.0.to_string()
    }
}

/// Defines choices; the first one is the default.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident: $bits:literal {
        $(#[$first_doc:meta])* $first:ident, $($(#[$variant_doc:meta])* $variant:ident,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $(#[$first_doc])* #[default] $first,
            $($(#[$variant_doc])* $variant,)*
        }

        impl Field for $name {
            const BITS: u32 = $bits;

            fn from_bits(bits: u32) -> Self {
                const ALL: &[$name] = &[$name::$first, $($name::$variant),*];
                const { assert!(ALL.len() <= 1 << $bits) };
                ALL[bits as usize % ALL.len()]
            }

            fn to_bits(self) -> u32 {
                self as u32
            }

            fn name(self) -> String {
                format!("{self:?}")
            }
        }
    )*};
}

choices! {
    /// Terminal that is no attacker.
    Honest: 2 {
        /// Phone behind NAT, with an account.
        Victim,
        /// Public phone, with an account.
        Public,
        /// Static trunk: it never registers.
        Trunk,
    }
    /// Any terminal.
    Anyone: 3 {
        /// The victim.
        Victim,
        /// The public phone.
        Public,
        /// The trunk.
        Trunk,
        /// The outsider.
        Outsider,
        /// The account.
        Account,
        /// The friend.
        Friend,
        /// The neighbour.
        Neighbour,
        /// The registrar behind a PBX that relays.
        Registrar,
    }
    /// Destination of a call.
    Callee: 3 {
        /// The victim.
        Victim,
        /// The public phone.
        Public,
        /// The trunk.
        Trunk,
        /// The account.
        Account,
        /// The friend.
        Friend,
        /// All accounts at once: a forked call.
        Group,
        /// A number behind the victim, which is a gateway.
        Number,
        /// Another number of the trunk.
        TrunkNumber,
    }
    /// Attacker.
    Attacker: 3 {
        /// Has an account.
        Account,
        /// Has its own IP address, and no account.
        Outsider,
        /// Answers what the PBX relays to him.
        Friend,
        /// Behind the victim's NAT, with an account.
        Neighbour,
        /// Another socket of the PBX's host: it sends to the account.
        Local,
    }
    /// Behaviour when a request comes.
    Mood: 3 {
        /// Answers.
        Answer,
        /// Is silent.
        Silent,
        /// Rings only.
        Ring,
        /// Refuses.
        Refuse,
        /// Sends 100 only.
        Trying,
        /// Rings, and sends nothing before it answers.
        Slow,
    }
    /// Tag that a far end writes into To.
    TagChoice: 2 {
        /// A new one that nobody guesses.
        Fresh,
        /// That of the request, or an invented one.
        Echo,
        /// The one that the call's caller has in From.
        Callers,
        /// An invented one, always the same.
        Invented,
    }
    /// Contact that the victim writes.
    VictimContact: 2 {
        /// Private address.
        Private,
        /// A SIP ALG wrote the NAT's address without the port.
        Alg,
        /// The mapped address, as with STUN.
        Mapped,
        /// A SIP ALG wrote the mapped address into the REGISTER, and forgets the port elsewhere.
        AlgInCalls,
    }
    /// Kind of the public phone.
    PublicKind: 2 {
        /// Sends from one port and listens at another.
        TwoPorts,
        /// Contact is another public host.
        Front,
        /// Sends from a new port each time.
        NewPorts,
        /// Contact is an address that a route leads to.
        Vpn,
    }
    /// Address of the trunk.
    TrunkKind: 2 {
        /// The public phone.
        Public,
        /// Private.
        Private,
        /// Peer.
        Peer,
        /// OnLink.
        OnLink,
    }
    /// Destination of the PBX's responses.
    Responses: 2 {
        /// Source address, with the port in Via (RFC 3261 18.2.2).
        Received,
        /// Address and port in Via.
        Strict,
        /// Source, if the request has `rport` (RFC 3581).
        Rport,
    }
    /// Registrar of a PBX that relays.
    Registrar: 2 {
        /// The PBX itself.
        Own,
        /// A host that the user named.
        Named,
        /// A host that the user did not name.
        Unnamed,
    }
    /// Removal of contacts by a REGISTER.
    Removal: 2 {
        /// None.
        None,
        /// Star.
        Star,
        /// Zero.
        Zero,
    }
    /// Method within a dialog.
    Inner: 2 {
        /// Invite.
        Invite,
        /// Bye.
        Bye,
        /// Info.
        Info,
        /// Notify.
        Notify,
    }
    /// Method of an attacker's request.
    Outer: 3 {
        /// Register.
        Register,
        /// Invite.
        Invite,
        /// Subscribe.
        Subscribe,
        /// Info.
        Info,
        /// Bye.
        Bye,
        /// Notify.
        Notify,
        /// Options.
        Options,
        /// Refer.
        Refer,
    }
    /// Way of an attacker's packet.
    Transit: 2 {
        /// The PBX gets it.
        Right,
        /// Its UDP checksum is wrong.
        BadChecksum,
        /// A first fragment, whose others never come.
        Fragment,
        /// The host's firewall drops it.
        Filtered,
    }
    /// Request-URI of an attacker's request.
    Target: 3 {
        /// Pbx.
        Pbx,
        /// The friend.
        Friend,
        /// The victim.
        Victim,
        /// The public phone.
        Public,
        /// The trunk.
        Trunk,
        /// VictimAor.
        VictimAor,
        /// AccountAor.
        AccountAor,
        /// GroupAor.
        GroupAor,
    }
    /// Party in From, or address-of-record of an attacker's REGISTER.
    Party: 2 {
        /// Own.
        Own,
        /// The victim.
        Victim,
        /// The public phone.
        Public,
        /// The trunk.
        Trunk,
    }
    /// Contact of an attacker's message.
    ContactChoice: 3 {
        /// Own.
        Own,
        /// The victim.
        Victim,
        /// The public phone.
        Public,
        /// The trunk.
        Trunk,
        /// None.
        None,
        /// Star.
        Star,
        /// OwnExpires.
        OwnExpires,
        /// VictimExpires.
        VictimExpires,
    }
    /// Tag in an attacker's From.
    FromTag: 2 {
        /// Public tag of the call.
        Public,
        /// A tag that an attacker was told last.
        Learned,
        /// An invented one.
        Invented,
    }
    /// Tag in an attacker's To.
    ToTag: 2 {
        /// None.
        None,
        /// Invented.
        Invented,
        /// Learned.
        Learned,
        /// The public phone.
        Public,
    }
    /// Route of an attacker's request.
    RouteChoice: 2 {
        /// None.
        None,
        /// To the friend.
        Friend,
        /// To the friend, by TCP: sipnat does not see it.
        Unseen,
        /// To the registrar.
        Registrar,
    }
    /// Status of a forged response.
    Forged: 3 {
        /// Sends 100 only.
        Trying,
        /// Ringing.
        Ringing,
        /// Ok.
        Ok,
        /// Progress.
        Progress,
        /// Moved.
        Moved,
        /// Busy.
        Busy,
        /// Challenge.
        Challenge,
        /// Gone.
        Gone,
    }
    /// Time that passes.
    Pause: 4 {
        /// Tenth.
        Tenth,
        /// HalfSecond.
        HalfSecond,
        /// Second.
        Second,
        /// Five.
        Five,
        /// Ten.
        Ten,
        /// Forty.
        Forty,
        /// Minute.
        Minute,
        /// Early.
        Early,
        /// HalfHour.
        HalfHour,
        /// Hour.
        Hour,
        /// Half.
        Half,
        /// Day.
        Day,
    }
}

/// Defines the setup. Fields take bits in their order.
macro_rules! setup {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// Setup of a network.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Setup {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Setup {
            /// Reads a setup.
            pub fn decode(bytes: [u8; SETUP_LEN]) -> Self {
                let mut bits = Bits { bits: u32::from_le_bytes(bytes), used: 0 };
                Self { $($field: bits.take(),)* }
            }

            /// Writes it.
            pub fn encode(self) -> [u8; SETUP_LEN] {
                let mut bits = Bits::default();
                $(bits.put(self.$field);)*
                bits.bits.to_le_bytes()
            }

            pub(super) fn read(words: &mut Words<'_>) -> Result<Self, String> {
                Ok(Self { $($field: Field::read(words, stringify!($field))?,)* })
            }

            pub(super) fn write(self, text: &mut String) {
                $(Field::write(self.$field, stringify!($field), text);)*
            }
        }
    };
}

setup! {
    /// The input is no story, but messages of any kind in any order.
    raw: bool,
    /// The PBX relays; else it is a back-to-back user agent.
    proxy: bool,
    /// The PBX writes the Contact URI into To, as Asterisk does.
    uri_in_to: bool,
    /// Destination of responses.
    responses: Responses,
    /// The user of the victim's Contact is not its account's.
    other_user: bool,
    /// Contact of the victim.
    victim: VictimContact,
    /// The victim's Via has `rport`.
    rport: bool,
    /// Kind of the public phone.
    public: PublicKind,
    /// The public phone answers from the address from which it sends.
    answers_elsewhere: bool,
    /// The public phone calls from the port at which it listens, and with another user in From.
    caller_id: bool,
    /// Address of the trunk.
    trunk: TrunkKind,
    /// The account has the victim's user, in another domain.
    tenant: bool,
    /// Registrar of a PBX that relays.
    registrar: Registrar,
    /// sipnat has run for an hour.
    settled: bool,
    /// The PBX sends NOTIFY ahead of its answer to a SUBSCRIBE.
    early_notify: bool,
    /// The neighbour owns port 5060 of the NAT.
    owns_5060: bool,
    /// The host's other socket has the SIP port of another local address.
    other_address: bool,
    /// The PBX, which relays no calls, relays REGISTERs for other domains, and those in a dialog along their Route.
    relays_registers: bool,
    /// The account's address-of-record is the victim's Contact URI.
    tenant_of_contact: bool,
    /// Terminals register again without waiting for an answer.
    impatient: bool,
    /// The PBX derives its tag from Call-ID and From-tag.
    derived_tags: bool,
    /// The account's own Contact has the private address of the victim's: another phone in another private network.
    same_address: bool,
    /// The user of the account's own Contact is the number behind the victim.
    claims_number: bool,
    /// The victim's private address has another port than 5060, and the PBX leaves ports out of To, as `chan_pjsip` does.
    no_port_in_to: bool,
    /// A REGISTER of an attacker names his own Contact before the one that he chose.
    several_contacts: bool,
}

/// Defines several choices as one.
macro_rules! joined {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[expect(missing_docs, reason = "a field is documented with its type")]
        pub struct $name {
            $(pub $field: $type,)*
        }

        impl Field for $name {
            const BITS: u32 = 0 $(+ <$type>::BITS)*;

            fn from_bits(bits: u32) -> Self {
                let mut bits = Bits { bits, used: 0 };
                Self { $($field: bits.take(),)* }
            }

            fn to_bits(self) -> u32 {
                let mut bits = Bits::default();
                $(bits.put(self.$field);)*
                bits.bits
            }

            fn read(words: &mut Words<'_>, _: &str) -> Result<Self, String> {
                Ok(Self { $($field: Field::read(words, stringify!($field))?,)* })
            }

            fn write(self, _: &str, text: &mut String) {
                $(self.$field.write(stringify!($field), text);)*
            }

            fn name(self) -> String {
                stringify!($name).into()
            }
        }
    )*};
}

joined! {
    /// Request of an attacker.
    Attack {
        by: Attacker,
        transit: Transit,
        other_socket: bool,
        guessed_branch: bool,
        credentials: bool,
        method: Outer,
        to_tag: ToTag,
        target: Target,
        call: Number<4>,
        party: Party,
        from_tag: FromTag,
        contact: ContactChoice,
        cseq: Number<3>,
        route: RouteChoice,
    }
    /// Response of an attacker.
    Forgery {
        by: Attacker,
        transit: Transit,
        status: Forged,
        to_tag: ToTag,
        which: Number<2>,
        contact: ContactChoice,
    }
    /// Answer to an attacker's REGISTER that the friend writes for the PBX to relay.
    Slip {
        which: Number<2>,
        status: Forged,
        party: Party,
        seen: bool,
    }
}

/// Defines the steps. A step is a byte that selects it, and its fields take bits in their order.
macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* },)*) => {
        /// Step of a story.
        #[derive(Clone, Copy, Debug)]
        #[expect(missing_docs, reason = "a field is documented with its type")]
        pub enum Step {
            $($(#[$doc])* $name { $($field: $type),* },)*
        }

        impl Step {
            /// Reads a step.
            pub fn decode(bytes: [u8; STEP_LEN]) -> Self {
                const KINDS: &[fn(&mut Bits) -> Step] =
                    &[$(|_bits| Step::$name { $($field: _bits.take()),* }),*];
                let [kind, rest @ ..] = bytes;
                let mut bits = Bits { bits: u32::from_le_bytes(rest), used: 0 };
                KINDS[usize::from(kind) % KINDS.len()](&mut bits)
            }

            /// Writes it.
            pub fn encode(self) -> [u8; STEP_LEN] {
                #[repr(u8)]
                enum Kind { $($name),* }
                let mut bits = Bits::default();
                let kind = match self {
                    $(Self::$name { $($field),* } => {
                        $(bits.put($field);)*
                        Kind::$name as u8
                    })*
                };
                let [a, b, c, d] = bits.bits.to_le_bytes();
                [kind, a, b, c, d]
            }

            pub(super) fn read(name: &str, _words: &mut Words<'_>) -> Result<Self, String> {
                match name {
                    $(stringify!($name) => Ok(Self::$name {
                        $($field: Field::read(_words, stringify!($field))?),*
                    }),)*
                    _ => Err("no step has this name".into()),
                }
            }

            pub(super) fn write(self, text: &mut String) {
                match self {
                    $(Self::$name { $($field),* } => {
                        text.push_str(stringify!($name));
                        $($field.write(stringify!($field), text);)*
                    })*
                }
            }
        }
    };
}

steps! {
    /// A terminal registers. The trunk does not.
    Register { who: Honest, removal: Removal, short: bool },
    /// A terminal calls. Its outbound proxy may be the trunk's host.
    Call { who: Honest, to: Callee, through: bool },
    /// A terminal subscribes, or refers the PBX.
    Subscribe { who: Honest, refer: bool },
    /// A terminal sends a request within one of its dialogs, counted from the newest.
    Inner { who: Anyone, which: Number<2>, method: Inner },
    /// A terminal repeats its last request.
    Repeat { who: Honest },
    /// A terminal answers the call that rings, or sends 100 only.
    Pickup { who: Anyone, refuse: bool, trying: bool },
    /// A terminal behaves otherwise from now on.
    Behave { who: Anyone, mood: Mood, tag: TagChoice },
    /// The victim's NAT gives it another port.
    Remap {},
    /// Time passes.
    Wait { pause: Pause },
    /// The PBX calls; one that relays is called by the trunk.
    PbxCall { to: Callee },
    /// The PBX asks a terminal whether it is there.
    PbxOptions { to: Callee },
    /// The PBX repeats a request, counted from the newest unanswered.
    PbxRepeat { which: Number<2> },
    /// The PBX sends a request within a dialog, counted from the newest.
    PbxInner { which: Number<2>, method: Inner },
    /// The PBX cancels a call, counted from the newest.
    PbxCancel { which: Number<2> },
    /// The PBX answers the oldest request that it has not answered.
    PbxAnswer { refuse: bool },
    /// The PBX repeats a final answer, counted from the newest.
    PbxAgain { which: Number<2> },
    /// The PBX behaves otherwise from now on.
    PbxBehave { mood: Mood },
    /// sipnat starts again, and knows nothing.
    Restart {},
    /// An attacker sends a request.
    Attack { request: Attack },
    /// An attacker answers a request of the PBX, counted from the newest.
    Forge { response: Forgery },
    /// The friend answers an attacker's REGISTER, counted from the newest, and the PBX relays that.
    Slip { answer: Slip },
    /// The network delivers an answer of a terminal again, counted from the newest.
    Again { who: Honest, which: Number<2> },
}

/// Returns the setup and the steps of an input; none if it is too short.
pub fn decode(input: &[u8]) -> Option<(Setup, Vec<Step>)> {
    let (setup, steps) = input.split_first_chunk::<SETUP_LEN>()?;
    let steps = steps.as_chunks::<STEP_LEN>().0.iter();
    let steps = steps.take(MAX_STEPS).map(|bytes| Step::decode(*bytes));
    Some((Setup::decode(*setup), steps.collect()))
}

/// Returns the input of a setup and steps.
pub fn encode(setup: Setup, steps: &[Step]) -> Vec<u8> {
    let mut input = setup.encode().to_vec();
    input.extend(steps.iter().flat_map(|step| step.encode()));
    input
}
