//! Whether every participant of an identity has proven that it holds the state that stands, after a vote or anything else
//! that settled it. Reads only.
//!
//! - `participants_converge_once_each_reported_the_hubs_digest`: who has not is a straggler, by name.
//! - `a_digest_that_differs_is_told`.

use std::collections::BTreeMap;

use semantics::identity::agreement::Agreement;
use semantics::identity::reach::Reach;
use semantics::identity::summary::Summary;
use semantics::ids::{NodeId, RecordId, Revision, TenantId};
use semantics::seen::Place;

use super::Hub;
use super::error::HubError;
use super::identities::{Frame, NODES_NAMED_MAX, Paged, document};
use super::presence::Agreed;
use crate::store::Current;

/// A participant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Participant {
    /// How it stands to the state.
    pub agreement: Agreement,
    /// Its name.
    pub name: String,
    /// Its id.
    pub node: NodeId,
}

/// How far the participants of an identity have come together.
#[derive(Debug, Clone, PartialEq)]
pub struct Convergence {
    /// Which identity.
    pub id: RecordId,
    /// The revision of the state that stands.
    pub revision: Revision,
    /// What it comes to.
    pub summary: Summary,
    /// Conflicts about it that are open.
    pub open_conflicts: usize,
    /// Active nodes whose view holds it, by how they stand.
    pub counts: BTreeMap<Agreement, u64>,
    /// Those that have not proven that they hold it, the worst first, at most [`NODES_NAMED_MAX`].
    pub stragglers: Vec<Participant>,
}

impl Convergence {
    /// Whether there is nothing left to settle and every participant has proven that it holds the state.
    #[must_use]
    pub fn is_converged(&self) -> bool {
        self.open_conflicts == 0 && self.counts.keys().all(|agreement| *agreement == Agreement::Equal)
    }
}

impl Hub {
    /// How far participants have come together, a page of identities in order of their ids.
    ///
    /// # Errors
    /// TOO_LARGE past [`semantics::seen::SEEN_NODES_MAX`] nodes; store errors.
    pub async fn identity_convergence(
        &self,
        tenant: &TenantId,
        after: Option<RecordId>,
        max: usize,
    ) -> Result<Paged<Convergence>, HubError> {
        let (rows, last) = self.identities(tenant, after, max).await?;
        let frame = self.identity_frame(tenant).await?;
        Ok((rows.iter().map(|row| frame.convergence(row)).collect(), last))
    }
}

impl Frame {
    fn convergence(&self, row: &Current) -> Convergence {
        let place =
            Place { log_id: self.log_id, revision: row.pointer.revision, cell: row.pointer.cell.clone() };
        let mut counts = BTreeMap::new();
        let mut stragglers = Vec::new();
        for (node, known) in self.nodes.iter().filter(|(_, known)| known.holder.is_able(&place)) {
            let reach = Reach::of(known.holder.has(&place), known.health);
            let agreement = Agreement::of(reach, equal(&known.agreed, &place));
            *counts.entry(agreement).or_default() += 1;
            if agreement != Agreement::Equal {
                stragglers.push(Participant { agreement, name: known.name.clone(), node: *node });
            }
        }
        stragglers.sort_by(|a, b| b.agreement.cmp(&a.agreement).then_with(|| a.name.cmp(&b.name)));
        stragglers.truncate(NODES_NAMED_MAX);
        Convergence {
            id: row.pointer.key.id.clone(),
            revision: row.pointer.revision,
            summary: document(row.record.body()).as_ref().map(Summary::of).unwrap_or_default(),
            open_conflicts: row.pointer.open.len(),
            counts,
            stragglers,
        }
    }
}

/// What the replicas of a node reported at cuts that hold the state; one that is equal counts.
fn equal(agreed: &[Agreed], place: &Place) -> Option<bool> {
    let holds = |agreed: &&Agreed| agreed.log_id == place.log_id && agreed.revision >= place.revision;
    agreed.iter().filter(holds).map(|agreed| agreed.equal).max()
}
