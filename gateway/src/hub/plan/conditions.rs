//! What a change is refused for, or waits on, beside where its record stands.

use std::collections::BTreeSet;

use semantics::conflict::Conflict;
use semantics::ids::{Kind, RecordId, Revision};
use semantics::kind::{self, PolicySet};
use semantics::reason::{Reason, Refusal};

use super::Draft;
use crate::hub::known::{control_body, control_key};
use crate::hub::work::NoneOpened;
use crate::store::LogRow;

/// Most revisions between the look for open conflicts and the commit that depends on it.
const SINCE_REVISIONS_MAX: u64 = 1_024;

impl Draft<'_> {
    /// Looks through what was written since somebody has looked for open conflicts of a kind: the append that finds the
    /// head unmoved proves that there is no more.
    ///
    /// CONFLICTS_OPEN where one was opened; OVERLOADED where more was written than is looked through here.
    pub(super) fn check_none_opened(&mut self, only_if: &NoneOpened) -> Result<(), Refusal> {
        let (since, head) = (only_if.since.0, self.known.head.revision.0);
        if head.saturating_sub(since) > SINCE_REVISIONS_MAX {
            let detail = "too much was written since open conflicts were looked for";
            return Err(Refusal::new(Reason::Overloaded, detail));
        }
        let mut open = BTreeSet::new();
        for revision in (since..head).map(|before| Revision(before).next()) {
            match self.known.state(revision) {
                None => drop(self.unread.insert(revision)),
                Some(Some((key, _))) if key.kind.as_str() == kind::CONFLICT => match self.known.row(revision)
                {
                    None => drop(self.bodies_unread.insert(revision)),
                    Some(Some(row)) => see(&mut open, row, &only_if.kind),
                    // What took its place comes later.
                    Some(None) => {}
                },
                Some(_) => {}
            }
        }
        match open.first() {
            None => Ok(()),
            Some(id) => {
                let detail = format!("conflict {id} of {} was opened meanwhile", only_if.kind);
                Err(Refusal::new(Reason::ConflictsOpen, detail))
            }
        }
    }

    /// Refuses what would have to be decided by a policy that a newer gateway has set and this one does not read: the
    /// declared one is not what applies.
    pub(super) fn check_policy_is_read(&self, kind: &Kind) -> Result<(), Refusal> {
        let Some(key) = control_key(kind::POLICY, kind.as_str()) else { return Ok(()) };
        match self.current(&key).filter(|set| !set.pointer.deleted) {
            Some(set) if control_body::<PolicySet>(Some(set)).is_none() => Err(policy_of_newer(kind)),
            Some(_) | None => Ok(()),
        }
    }
}

/// The policy set for a kind does not read here.
pub(in crate::hub) fn policy_of_newer(kind: &Kind) -> Refusal {
    let detail = format!("the policy set for {kind} is of a newer version than this gateway");
    Refusal::new(Reason::ProtocolVersion, detail)
}

/// A conflict that does not read may be open.
fn see(open: &mut BTreeSet<RecordId>, row: &LogRow, kind: &Kind) {
    let record = &row.record;
    let conflict = record.body().map(serde_json::from_slice::<Conflict>);
    let is_open = match conflict {
        Some(Ok(conflict)) => conflict.subject.kind == *kind && conflict.open,
        Some(Err(_)) => true,
        None => false,
    };
    if is_open {
        open.insert(record.key.id.clone());
    } else {
        open.remove(&record.key.id);
    }
}
