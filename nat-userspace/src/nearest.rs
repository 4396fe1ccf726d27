//! Search for the name that somebody meant.

/// Similarity below which two names have little in common.
const ALIKE: f64 = 0.8;

/// Returns the name among `names` that is most similar to `name`, if one is similar.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    names
        .into_iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(similarity, _)| *similarity > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}
