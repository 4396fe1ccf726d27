//! Subscriptions, messages, and what the PBX tells phones.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Plan, asterisk::Options, handset::Handset, sip::Message};

use crate::frame::{Stage, at_each_pbx};

const TWO_PHONES: Plan = Plan {
    phones: 2,
    ..Plan::PLAIN_NAT
};

at_each_pbx!(mailbox, without sipnat "NOTIFY" dies);

/// The PBX tells a phone that registers of its mailbox.
fn mailbox(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    let notify = phone.hear("NOTIFY")?;
    let event = notify.message.field("Event").unwrap_or_default();
    ensure!(event == "message-summary", "{}", notify.message);
    phone.respond(&notify, "200 OK", "told")
}

at_each_pbx!(subscribed_mailbox, without sipnat "NOTIFY" dies);

/// A phone subscribes to its mailbox.
fn subscribed_mailbox(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "2000")?;
    subscribes(
        &phone,
        "2000",
        "message-summary",
        "application/simple-message-summary",
    )?;
    Ok(())
}

at_each_pbx!(busy_lamp, TWO_PHONES, without sipnat "NOTIFY" dies);

/// A phone shows whether another one is in a call.
fn busy_lamp(stage: &Stage<'_>) -> Result<()> {
    let watcher = stage.registered(0, 0, "1000")?;
    let watched = stage.registered(0, 1, "2000")?;
    let first = subscribes(&watcher, "2000", "dialog", "application/dialog-info+xml")?;
    ensure!(first.body().contains("dialog-info"), "{first}");
    let call = watched.calls("600")?;
    // The state before it may be told as well.
    loop {
        let notify = watcher.hear("NOTIFY")?;
        watcher.respond(&notify, "200 OK", "seen")?;
        let notify = notify.message;
        let state = "<state>confirmed</state>";
        if notify.call_id() == first.call_id() && notify.body().contains(state) {
            break;
        }
    }
    call.hangs_up()
}

/// A phone subscribes to an event of a user. Returns the first NOTIFY.
fn subscribes(phone: &Handset, user: &str, event: &str, accept: &str) -> Result<Message> {
    let answered = phone.request(
        "SUBSCRIBE",
        user,
        &[("Event", event), ("Accept", accept), ("Expires", "60")],
    )?;
    let call_id = answered.request.call_id().to_owned();
    answered.succeeded()?;
    loop {
        let notify = phone.hear("NOTIFY")?;
        phone.respond(&notify, "200 OK", "seen")?;
        if notify.message.call_id() == call_id {
            let named = notify.message.field("Event").context("no Event")?;
            ensure!(named.starts_with(event), "{}", notify.message);
            return Ok(notify.message);
        }
    }
}

at_each_pbx!(message, TWO_PHONES, without sipnat "MESSAGE" dies);

/// A phone sends a text to another.
fn message(stage: &Stage<'_>) -> Result<()> {
    let sender = stage.registered(0, 0, "1000")?;
    let receiver = stage.registered(0, 1, "2000")?;
    sender
        .request_with("MESSAGE", "2000", |message| message.with_text("hello"))?
        .succeeded()?;
    let heard = receiver.hear("MESSAGE")?;
    ensure!(heard.message.body() == "hello", "{}", heard.message);
    receiver.respond(&heard, "200 OK", "read")
}

at_each_pbx!(
    qualified,
    Plan::PLAIN_NAT,
    Options { qualify: 5, ..Options::default() },
    without sipnat "OPTIONS" dies
);

/// The PBX asks with OPTIONS whether the phone is there, and takes it for reachable.
fn qualified(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    let options = phone.hear("OPTIONS")?;
    phone.respond(&options, "200 OK", "here")?;
    stage.asterisk.sees_reachable("1000")
}
