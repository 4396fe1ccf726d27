//! Model of a network in which somebody attacks: a PBX, honest terminals, attackers, and the engine between them.
//!
//! An input is a setup and a story of steps ([`Step`]). Terminals and the PBX react to each packet as real ones do. Each
//! packet of the PBX is checked:
//!
//! - What is meant for an honest terminal goes to where the PBX sent it, or to an address of that terminal.
//! - A packet that arrives without sipnat arrives at the first transmission, if those before were answered.
//! - A request in a call with a terminal whose Contact is another public host gets two transmissions there, unless the terminal
//!   seems to have answered at its learned address.
//! - A request for the victim goes at once to where the PBX last heard it, if nothing else can be at its Contact.
//! - A terminal that answers by itself gets two transmissions in a row there; one that has answered at its learned address
//!   gets the first one there, though somebody else answered once.
//! - A request that only the Contact URI names reaches the victim at the second transmission, if nobody else has that URI.
//!   So does one for a number behind it, whose URI has its address and another user, if nobody else has that address, and the
//!   first hour is over.
//! - What another proxy waits for goes there: a request along its Route, a response with another Via.
//! - An OPTIONS leaves no dialog end.
//! - When the attackers have gone, a phone that registers again is reached: the victim at the second transmission, unless
//!   somebody at its Contact has accepted a call.
//!
//! An attacker guesses Call-IDs, the tags of callers and branches, and knows each tag that a packet to him has. He does not
//! know the tags of answers to others.
//!
//! What sipnat cannot see is left out of the rules: a SUBSCRIBE that a firewall drops, in a dialog that sipnat does not
//! know; a private trunk that is silent, without a peer's entry; and a 2xx to an attacker's REGISTER that the PBX relays, and
//! that neither arrives by UDP nor answers one that left by UDP (`Claim` says what it gets him). Faults of the engine that are not mended are left out
//! where the comment says "a known fault".

mod actor;
mod address;
mod attack;
mod end;
mod input;
mod pbx;
mod proxy;
mod raw;
mod rules;
mod sip;
mod state;
mod terminal;
mod text;
mod words;
mod world;

pub use input::*;
pub use text::{read_story, write_story};

use actor::Actor;
use world::World;

/// Plays an input, and checks every rule.
///
/// # Panics
///
/// If a rule is broken, with the story that led there.
pub fn check(input: &[u8]) {
    let Some((setup, steps)) = decode(input) else {
        return;
    };
    if setup.raw {
        return raw::check(&input[SETUP_LEN..]);
    }
    if play(setup, &steps, false).is_err() {
        match play(setup, &steps, true) {
            Err((reason, story)) => panic!("{reason}\n{}", story.join("\n")),
            Ok(_) => unreachable!("the same story has the same end"),
        }
    }
}

/// Plays a story. Returns what happened, if it is to be told.
///
/// # Errors
///
/// The rule that is broken, with what happened.
pub fn play(
    setup: Setup,
    steps: &[Step],
    traced: bool,
) -> Result<Vec<String>, (String, Vec<String>)> {
    let mut world = World::new(setup, traced);
    world.tell(|| format!("{setup:?}"));
    for step in steps {
        world.tell(|| format!("{step:?}"));
        world.step(*step);
        world.run();
        if world.failure.is_some() {
            break;
        }
    }
    if world.failure.is_none() {
        world.end();
    }
    let story = world.story.take().unwrap_or_default();
    match world.failure.take() {
        Some(reason) => Err((reason, story)),
        None => Ok(story),
    }
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Register {
                who,
                removal,
                short,
            } => self.register(who, removal, short),
            Step::Call { who, to, through } => self.calls(who.into(), to, "INVITE", through),
            Step::Subscribe { who, refer } => {
                let method = if refer { "REFER" } else { "SUBSCRIBE" };
                self.calls(who.into(), Callee::Trunk, method, false);
            }
            Step::Inner { who, which, method } => {
                self.sends_inner(who.into(), which.0.into(), method);
            }
            Step::Repeat { who } => self.repeats(who.into()),
            Step::Pickup {
                who,
                refuse,
                trying,
            } => self.picks_up(who.into(), refuse, trying),
            Step::Behave { who, mood, tag } => {
                let terminal = self.terminal(who.into());
                (terminal.mood, terminal.tag) = (mood, tag);
            }
            Step::Remap {} => self.terminal(Actor::Victim).changes += 1,
            Step::Wait { pause } => self.pause(pause),
            Step::PbxCall { to } if self.setup.proxy => {
                self.calls(Actor::Trunk, to, "INVITE", false);
            }
            Step::PbxCall { to } => self.pbx_calls(to, "INVITE"),
            Step::PbxOptions { to } => self.pbx_calls(to, "OPTIONS"),
            Step::PbxRepeat { which } => self.pbx_repeats(which.0.into()),
            Step::PbxInner { which, method } => self.pbx_inner(which.0.into(), method),
            Step::PbxCancel { which } => self.pbx_cancels(which.0.into()),
            Step::PbxAnswer { refuse } => self.pbx_answers(refuse),
            Step::PbxAgain { which } => self.pbx_again(which.0.into()),
            Step::PbxBehave { mood } => self.pbx.mood = mood,
            Step::Restart {} => self.boot(self.now()),
            Step::Attack { request } => self.attacks(&request),
            Step::Forge { response } => self.forges(&response),
            Step::Again { who, which } => self.answers_again(who.into(), which.0.into()),
            Step::Slip { answer } => self.slips(&answer),
        }
    }
}
