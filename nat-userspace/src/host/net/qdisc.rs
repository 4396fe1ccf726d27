//! The clsact qdisc.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::tc::{TcHandle, TcMessage};
use tracing::info;

use super::Net;

impl Net {
    /// Deletes the clsact qdisc of an interface, unless filters are left in it.
    ///
    /// # Errors
    /// If there is none, or the kernel refuses.
    pub async fn delete_clsact(&self, index: u32) -> Result<()> {
        let index = i32::try_from(index)?;
        let filters = || self.0.traffic_filter(index).get();
        for request in [filters().ingress(), filters().egress()] {
            let left: Vec<TcMessage> = request
                .execute()
                .try_collect()
                .await
                .context("cannot list the filters")?;
            if !left.is_empty() {
                info!(
                    interface = index,
                    "left the clsact qdisc in place for others' filters"
                );
                return Ok(());
            }
        }
        let mut request = self.0.qdisc().del(index);
        clsact(request.message_mut());
        request
            .execute()
            .await
            .context("cannot delete the clsact qdisc")
    }
}

/// Addresses a message to the clsact qdisc, which has a fixed parent and handle.
fn clsact(message: &mut TcMessage) {
    const MAJOR: u16 = 0xffff;
    message.header.parent = TcHandle {
        major: MAJOR,
        minor: 0xfff1,
    };
    message.header.handle = TcHandle {
        major: MAJOR,
        minor: 0,
    };
}
