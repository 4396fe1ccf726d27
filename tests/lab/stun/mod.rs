//! sipnat answers STUN: to phones that put their mapped address into Contact, to STUN clients, and to no more than it
//! should.

mod clients;
mod limits;
mod phones;

use std::{net::SocketAddrV4, time::Duration};

use nat_test_support::{PBX, Plan, stun};

use crate::scene::With;

/// sipnat with STUN, answered in the driver.
const STUN: With = With::Arguments(&["--stun", "--xdp", "native"]);

const PLAN: Plan = Plan {
    xdp_replies: true,
    ..Plan::PLAIN_NAT
};

const STUN_PORT: SocketAddrV4 = SocketAddrV4::new(*PBX.ip(), stun::PORT);

/// Longest time of a datagram through the lab.
const TRANSIT: Duration = Duration::from_millis(200);
