//! Tables of bindings that are nearly full.

use anyhow::Result;

use crate::{
    checks::warnings::Warning,
    kernel::tables::{BINDINGS, Tables},
    view::fill::{self, Fill},
};

/// Names the tables of bindings that hold four fifths of their capacity.
///
/// # Errors
/// If one cannot be read.
pub fn names(tables: &Tables) -> Result<Vec<&'static str>> {
    let fills = fill::of_bindings(tables)?;
    Ok(fills
        .iter()
        .filter(|fill| is_nearly_full(fill))
        .map(|fill| fill.name)
        .collect())
}

/// Lists warnings for tables of bindings that hold four fifths of their capacity.
#[must_use]
pub fn find(fills: &[Fill]) -> Vec<Warning> {
    fills
        .iter()
        .filter(|fill| is_nearly_full(fill))
        .map(|fill| {
            let text = format!(
                "{} holds {} bindings; beyond {}, new ones may not be stored",
                fill.name, fill.used, fill.size
            );
            Warning::without_terminal(text, None)
        })
        .collect()
}

fn is_nearly_full(fill: &Fill) -> bool {
    BINDINGS.contains(&fill.name) && fill.used as u64 * 5 >= fill.size * 4
}

#[cfg(test)]
mod tests {
    use nat_common::abi::map;

    use super::*;

    #[test]
    fn four_fifths_are_warned_of() {
        let fill = |name, used| Fill {
            name,
            used,
            size: 100,
        };
        let fills = [
            fill(map::DIALOGS, 79),
            fill(map::CONTACTS, 80),
            fill(map::INBOUND, 100),
        ];
        let [warning] = &find(&fills)[..] else {
            panic!("{:?}", find(&fills));
        };
        assert_eq!(
            warning.text,
            "CONTACTS holds 80 bindings; beyond 100, new ones may not be stored"
        );
    }
}
