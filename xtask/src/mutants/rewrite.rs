//! Rewriting of a file, so that it has all its mutants. No line moves.

use std::cmp::Reverse;

use super::mutation::Mutation;

/// Returns the text with each mutation around its code. The first has the number `first`.
///
/// Mutations nest as the code does. Of two with the same code, the later lies within the earlier.
pub(super) fn rewrite(text: &str, mutations: &[Mutation], first: usize) -> String {
    let mut insertions = Vec::new();
    for (index, mutation) in mutations.iter().enumerate() {
        let chosen = format!("crate::mutant::is({})", first + index);
        let (before, after) = mutation.form.around(&chosen);
        let (start, end) = (mutation.range.start as isize, mutation.range.end as isize);
        let index = index as isize;
        // At one place, what ends comes first, from the inside out; then what begins, from the outside in.
        insertions.push(((start, 1, Reverse(end), index), before));
        insertions.push(((end, 0, Reverse(start), -index), after));
    }
    insertions.sort();
    let mut rewritten = String::new();
    let mut copied = 0;
    for ((place, ..), insertion) in insertions {
        let place = place as usize;
        rewritten.push_str(&text[copied..place]);
        rewritten.push_str(&insertion);
        copied = place;
    }
    rewritten.push_str(&text[copied..]);
    rewritten
}
