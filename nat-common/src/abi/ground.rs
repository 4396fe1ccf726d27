//! Grounds: the evidence that chose between a learned address and an original destination.
//!
//! ```
//! use nat_common::abi::Ground;
//!
//! assert_eq!(Ground::from(Ground::Proven as u8), Ground::Proven);
//! assert_eq!(Ground::Proven.text(), "it answered at its learned address");
//! ```

use num_enum::FromPrimitive;

macro_rules! grounds {
    ($($variant:ident = $text:literal;)*) => {
        /// Evidence that chose between two addresses. A number in a map keeps its meaning: new ones come last.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromPrimitive)]
        pub enum Ground {
            /// None: there was no choice.
            #[default]
            None = 0,
            $(#[doc = $text] $variant,)*
        }

        impl Ground {
            /// Explanation for people; empty where there was no choice.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    Self::None => "",
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

grounds! {
    Forced = "the policy is force";
    Unreachable = "the original destination cannot be reached from here";
    Proven = "it answered at its learned address";
    Progress = "it got what was sent to its learned address";
    Occupied = "the original destination is another terminal's address";
    Answers = "it answers at the original destination";
    First = "nothing is proven yet: the original destination comes first";
    Turn = "the transmission before drew no answer: the other address is tried";
    Rung = "where its INVITE went";
    Moved = "it registered from another host; the one before comes first until it is silent";
    Seems = "it seems to have answered at its learned address";
}
