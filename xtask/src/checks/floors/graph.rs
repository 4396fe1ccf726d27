//! A graph of modules or files, and its circles.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::arrows::Arrow;

/// A graph of names, with the first arrow from each name to another.
#[derive(Default)]
pub(super) struct Graph {
    arrows: BTreeMap<String, BTreeMap<String, Arrow>>,
}

impl Graph {
    /// Adds an arrow, unless there is one between these names.
    pub(super) fn add(&mut self, from: &str, to: &str, arrow: Arrow) {
        let arrows = self.arrows.entry(from.into()).or_default();
        arrows.entry(to.into()).or_insert(arrow);
    }

    /// Returns one circle for each group of names that reach each other: the shortest, with the size of the group.
    pub(super) fn circles(&self) -> Vec<(Vec<&Arrow>, usize)> {
        let mut circles: Vec<(Vec<&Arrow>, usize)> = Vec::new();
        let mut seen = HashSet::new();
        for start in self.arrows.keys() {
            if seen.contains(start.as_str()) {
                continue;
            }
            let reached = self.reach(start);
            let group: Vec<_> = reached
                .keys()
                .copied()
                .filter(|name| self.reach(name).contains_key(start.as_str()))
                .collect();
            let shortest = group
                .iter()
                .map(|name| self.circle(name))
                .min_by_key(Vec::len);
            circles.extend(shortest.map(|circle| (circle, group.len())));
            seen.extend(group);
        }
        circles
    }

    /// Names reachable from `start`, each with the name before it on a shortest path.
    fn reach<'g>(&'g self, start: &'g str) -> BTreeMap<&'g str, &'g str> {
        let mut before = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(name) = queue.pop_front() {
            for next in self.arrows.get(name).into_iter().flat_map(BTreeMap::keys) {
                if !before.contains_key(next.as_str()) {
                    before.insert(next.as_str(), name);
                    queue.push_back(next);
                }
            }
        }
        before
    }

    /// A shortest circle through a name.
    fn circle(&self, start: &str) -> Vec<&Arrow> {
        let before = self.reach(start);
        let mut arrows = Vec::new();
        let mut name = start;
        while let Some(previous) = before.get(name) {
            arrows.push(&self.arrows[*previous][name]);
            name = previous;
            if name == start {
                break;
            }
        }
        arrows.reverse();
        arrows
    }
}
