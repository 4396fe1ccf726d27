//! BPF programs in the clsact qdisc.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};

use super::Net;

/// A filter of the clsact qdisc that is a BPF program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Priority: the lowest runs first.
    pub priority: u16,
    /// Id of the program.
    pub program: u32,
}

impl Net {
    /// Lists the BPF filters for what an interface sends, in the order in which they run.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub async fn egress_filters(&self, index: u32) -> Result<Vec<Filter>> {
        let filters = self.0.traffic_filter(i32::try_from(index)?).get().egress();
        let messages: Vec<TcMessage> = filters
            .execute()
            .try_collect()
            .await
            .context("cannot list the filters")?;
        let mut filters: Vec<Filter> = messages.iter().filter_map(filter).collect();
        filters.sort_by_key(|filter| filter.priority);
        Ok(filters)
    }
}

fn filter(message: &TcMessage) -> Option<Filter> {
    let options = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Options(options) => Some(options),
            _ => None,
        })?;
    let program = options.iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    })?;
    Some(Filter {
        // The protocol is in the lower half.
        priority: (message.header.info >> 16) as u16,
        program,
    })
}
