//! Which stage waits for which: drawn from what the stages need and make.

use std::collections::BTreeMap;

use crate::artifact::{Artifact, Kind};
use crate::environment::Environment;
use crate::fingerprint::Reading;
use crate::stages::{Given, Stage};

/// The needs of every stage of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph(pub(super) BTreeMap<Kind, Vec<Kind>>);

impl Graph {
    pub fn new(stages: &[Box<dyn Stage>], env: &Environment) -> Self {
        Self(stages.iter().map(|stage| (stage.makes(), stage.needs(env))).collect())
    }

    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.0.keys().copied()
    }

    pub fn needs(&self, kind: Kind) -> &[Kind] {
        self.0.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Every kind after all that it needs, ties in the order of the road.
    ///
    /// # Errors
    /// The kinds that need each other, or a kind that nothing makes.
    pub fn order(&self) -> Result<Vec<Kind>, Vec<Kind>> {
        let mut order: Vec<Kind> = Vec::new();
        let mut left: Vec<Kind> = self.kinds().collect();
        while !left.is_empty() {
            let Some(at) = left.iter().position(|kind| self.needs(*kind).iter().all(|need| order.contains(need)))
            else {
                return Err(left);
            };
            order.push(left.remove(at));
        }
        Ok(order)
    }
}

/// A stage's reading completed with the digests of the artifacts it is given.
pub fn with_needs(mut own: Reading, needs: &[Kind], given: &Given) -> Reading {
    for need in needs {
        if let Some(digest) = given.artifact(*need).map(Artifact::digest) {
            own.insert(need.name(), digest);
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(pairs: &[(Kind, &[Kind])]) -> Graph {
        Graph(pairs.iter().map(|(kind, needs)| (*kind, needs.to_vec())).collect())
    }

    #[test]
    fn every_stage_comes_after_all_that_it_needs() {
        let graph = graph(&[
            (Kind::Bundle, &[]),
            (Kind::NodeImage, &[Kind::Bundle]),
            (Kind::Network, &[]),
            (Kind::Nodes, &[Kind::Network, Kind::NodeImage]),
        ]);

        let order = graph.order().expect("no circle");

        assert_eq!(order, [Kind::Bundle, Kind::NodeImage, Kind::Network, Kind::Nodes]);
    }

    #[test]
    fn stages_that_need_each_other_are_named() {
        let graph = graph(&[(Kind::Nodes, &[Kind::Access]), (Kind::Access, &[Kind::Nodes])]);

        assert_eq!(graph.order(), Err(vec![Kind::Nodes, Kind::Access]));
    }
}
