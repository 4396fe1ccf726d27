//! Numbers of bindings, as their list shows them.

use crate::view::{
    listing::Listing,
    rows::{BindingKind, BindingState},
};

/// Number of bindings of each kind and state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([[usize; BindingState::ALL.len()]; BindingKind::ALL.len()]);

impl Counts {
    /// Counts the rows of a list.
    pub(crate) fn of(listing: &Listing) -> Self {
        let mut counts = Self::default();
        listing.states(|kind, state| counts.0[kind as usize][state as usize] += 1);
        counts
    }

    /// Returns the number of bindings of a kind and a state.
    pub(crate) const fn get(&self, kind: BindingKind, state: BindingState) -> usize {
        self.0[kind as usize][state as usize]
    }

    /// Returns all numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (BindingKind, BindingState, usize)> {
        BindingKind::ALL.into_iter().flat_map(move |kind| {
            let states = BindingState::ALL.into_iter();
            states.map(move |state| (kind, state, self.get(kind, state)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are found by the place of a kind and a state in the lists.
    #[test]
    fn kinds_and_states_are_listed_in_order() {
        for (place, kind) in BindingKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
        for (place, state) in BindingState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, place);
        }
    }
}
