//! The two forms of loops in the kernel programs.

/// Name of the XDP program.
pub const INGRESS: &str = "ingress";
/// Name of the TC program.
pub const EGRESS: &str = "egress";

/// Form of the programs' loops. The object has each program in both forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loops {
    /// The `may_goto` instruction (6.9): faster.
    MayGoto,
    /// The helper `bpf_loop`.
    BpfLoop,
}

impl Loops {
    /// Returns the name of the XDP program that loops so.
    pub(super) const fn ingress(self) -> &'static str {
        match self {
            Self::MayGoto => INGRESS,
            Self::BpfLoop => "ingress_loop",
        }
    }

    /// Returns the name of the TC program that loops so.
    pub(super) const fn egress(self) -> &'static str {
        match self {
            Self::MayGoto => EGRESS,
            Self::BpfLoop => "egress_loop",
        }
    }

    /// Returns the names of the programs of media behind XDP: for descriptions, and for packets.
    pub(super) const fn media_xdp(self) -> [&'static str; 2] {
        match self {
            Self::MayGoto => ["sdp_in", "media_in"],
            Self::BpfLoop => ["sdp_in_loop", "media_in"],
        }
    }

    /// Returns the names of the programs of media behind TC, in the same order.
    pub(super) const fn media_tc(self) -> [&'static str; 2] {
        match self {
            Self::MayGoto => ["sdp_out", "media_out"],
            Self::BpfLoop => ["sdp_out_loop", "media_out"],
        }
    }

    /// Returns the form of the program of that name.
    #[must_use]
    pub fn of(program: &str) -> Self {
        let [descriptions_in, _] = Self::BpfLoop.media_xdp();
        let [descriptions_out, _] = Self::BpfLoop.media_tc();
        let all = [
            Self::BpfLoop.ingress(),
            Self::BpfLoop.egress(),
            descriptions_in,
            descriptions_out,
        ];
        if all.contains(&program) {
            Self::BpfLoop
        } else {
            Self::MayGoto
        }
    }

    /// Returns its name in the kernel's documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MayGoto => "may_goto",
            Self::BpfLoop => "bpf_loop",
        }
    }
}
