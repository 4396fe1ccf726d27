//! Evidence of where a terminal is: an accepted request of its own, or its answer to the PBX.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::{
    Entry, EvidenceFlags, InboundTransaction, OutboundFlags, OutboundTransaction, PendingDialog,
};
use crate::endpoint::Endpoint;

/// Evidence for a dialog end. It lies in scratch memory between the stages of a message.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Evidence {
    /// Address at which the terminal is.
    pub learned: Endpoint,
    /// Address in its Contact, where numeric; else unknown.
    pub advertised: Endpoint,
    /// Hash of the branch of the PBX's request, or 0.
    pub branch: u64,
    /// Time of the request, in ticks.
    pub at: u64,
    /// Hash of the terminal's address-of-record; 0 if unknown.
    pub owner: u64,
    /// Kind of the evidence.
    pub flags: EvidenceFlags,
    /// Unused, zero.
    pub reserved: [u8; 2],
    /// Least life of the dialog end of a subscription, in seconds; 0: its state decides.
    pub lasts: u32,
}

impl Evidence {
    /// Takes it from a request of the terminal, which the PBX accepted. The owner is left for whoever needs it.
    #[inline(always)]
    pub(super) fn take_request(&mut self, request: &Entry<InboundTransaction>) {
        request.value.copy_source(&mut self.learned);
        request.value.copy_advertised(&mut self.advertised);
        self.branch = 0;
        self.at = request.at;
        self.flags = EvidenceFlags::from_bits_truncate(request.value.flags.bits())
            & (EvidenceFlags::DIRECT | EvidenceFlags::IN_DIALOG);
        self.lasts = 0;
    }

    /// Takes it from a request of the PBX, which the terminal answered.
    #[inline(always)]
    pub(super) fn take_answer(
        &mut self,
        request: &Entry<OutboundTransaction>,
        branch: u64,
        advertised: &Endpoint,
    ) {
        request.value.copy_destination(&mut self.learned);
        self.advertised.addr[0] = advertised.addr[0];
        self.advertised.addr[1] = advertised.addr[1];
        self.advertised.port = advertised.port;
        self.branch = branch;
        self.at = request.at;
        self.owner = if request.value.flags.contains(OutboundFlags::WEAK) {
            0
        } else {
            request.value.subject
        };
        self.flags = (EvidenceFlags::from_bits_truncate(request.value.flags.bits())
            & (EvidenceFlags::DIRECT | EvidenceFlags::IN_DIALOG | EvidenceFlags::LEFT_ALONE))
            | EvidenceFlags::BY_PBX;
        self.lasts = 0;
    }

    /// Takes it from a request that the PBX has not answered yet, but believes, since it sends within the dialog.
    #[inline(always)]
    pub(super) fn take_pending(&mut self, pending: &Entry<PendingDialog>) {
        pending.value.copy_source(&mut self.learned);
        pending.value.copy_advertised(&mut self.advertised);
        self.branch = 0;
        self.at = pending.at;
        self.owner = 0;
        self.flags = (EvidenceFlags::from_bits_truncate(pending.value.flags.bits())
            & EvidenceFlags::DIRECT)
            | EvidenceFlags::BY_PBX
            | EvidenceFlags::EARLY;
        self.lasts = 0;
    }
}
