//! Programs with slower loops than the kernel has.

use crate::checks::warnings::Warning;

/// Warns that the verifier refused the programs with `may_goto`, for this reason.
#[must_use]
pub fn find(refused: Option<&str>) -> Option<Warning> {
    let text = format!(
        "the programs loop by bpf_loop, which is slower: {}",
        refused?
    );
    let remedy = "report it with the output of `sipnat run --verifier-log`; nothing else is wrong";
    Some(Warning::without_terminal(text, Some(remedy.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_reason_is_named() {
        assert_eq!(find(None), None);
        let warning = find(Some(
            "the kernel's verifier refuses program `ingress`: too large",
        ));
        let text = warning.expect("a warning").text;
        assert_eq!(
            text,
            "the programs loop by bpf_loop, which is slower: the kernel's verifier refuses program `ingress`: too large"
        );
    }
}
