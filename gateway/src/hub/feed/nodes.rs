//! Which nodes' registrations and views change: few commits change any, and no session is woken for the others.
//!
//! - `a_node_is_told_of_what_changes_it_alone`.
//! - `what_was_not_seen_may_have_changed_everybody`: the ring began anew, or more changed than is remembered.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use semantics::ids::RecordId;
use tokio::sync::watch;

/// Changes that are remembered, at most.
const CHANGES_MAX: usize = 256;

/// What changed: these nodes, or perhaps all.
type Changed = Option<BTreeSet<RecordId>>;

/// The last changes; each has a number, one greater than that before it.
#[derive(Debug)]
pub(super) struct Nodes {
    last: Mutex<VecDeque<Changed>>,
    count: watch::Sender<u64>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { last: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Changed>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These have changed.
    pub(super) fn note(&self, nodes: &BTreeSet<RecordId>) {
        self.put(Some(nodes.clone()));
    }

    /// It is not known which have.
    pub(super) fn note_all(&self) {
        self.put(None);
    }

    fn put(&self, changed: Changed) {
        let mut last = self.lock();
        if last.len() == CHANGES_MAX {
            last.pop_front();
        }
        last.push_back(changed);
        self.count.send_modify(|count| *count += 1);
    }

    /// Whether a node may have changed with those after that number; and the number of the last one.
    fn since(&self, seen: u64, node: Option<&RecordId>) -> (bool, u64) {
        let last = self.lock();
        let count = *self.count.borrow();
        let news = usize::try_from(count.saturating_sub(seen)).unwrap_or(usize::MAX);
        let is_it = |changed: &Changed| match (changed, node) {
            (Some(nodes), Some(node)) => nodes.contains(node),
            (None, _) | (_, None) => true,
        };
        (news > last.len() || last.iter().rev().take(news).any(is_it), count)
    }
}

/// Tells one node of its changes.
#[derive(Debug)]
pub struct NodeChanges {
    node: Option<RecordId>,
    nodes: Arc<Nodes>,
    count: watch::Receiver<u64>,
    seen: u64,
}

impl NodeChanges {
    pub(super) fn new(nodes: &Arc<Nodes>, node: Option<RecordId>) -> Self {
        let count = nodes.count.subscribe();
        let seen = *count.borrow();
        Self { node, nodes: Arc::clone(nodes), count, seen }
    }

    /// Comes back when the node's registration or view may have changed since it was last told, or since this was made.
    pub async fn come(&mut self) {
        loop {
            // It cannot be closed: its sender is held here.
            if self.count.changed().await.is_err() {
                return std::future::pending().await;
            }
            let (is_it, count) = self.nodes.since(self.seen, self.node.as_ref());
            self.seen = count;
            if is_it {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn id(name: &str) -> RecordId {
        RecordId::new(name).unwrap()
    }

    fn came(changes: &mut NodeChanges) -> bool {
        changes.come().now_or_never().is_some()
    }

    #[test]
    fn a_node_is_told_of_what_changes_it_alone() {
        let nodes = Arc::new(Nodes::default());
        nodes.note(&[id("a")].into());
        let mut a = NodeChanges::new(&nodes, Some(id("a")));
        assert!(!came(&mut a), "that was before");
        nodes.note(&[id("b")].into());
        assert!(!came(&mut a));
        nodes.note(&[id("a"), id("b")].into());
        nodes.note(&[id("b")].into());
        assert!(came(&mut a), "though another change came after it");
        assert!(!came(&mut a), "it is told once");
        let mut unnamed = NodeChanges::new(&nodes, None);
        nodes.note(&[id("b")].into());
        assert!(came(&mut unnamed));
    }

    #[test]
    fn what_was_not_seen_may_have_changed_everybody() {
        let nodes = Arc::new(Nodes::default());
        let mut a = NodeChanges::new(&nodes, Some(id("a")));
        nodes.note_all();
        assert!(came(&mut a));
        for _ in 0..CHANGES_MAX {
            nodes.note(&[id("b")].into());
        }
        assert!(!came(&mut a), "all of them are remembered");
        for _ in 0..=CHANGES_MAX {
            nodes.note(&[id("b")].into());
        }
        assert!(came(&mut a));
    }
}
