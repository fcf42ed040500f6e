//! Precedents inside a commit: the one that a decision sets, and the one that settles a conflict, which counts it.

use semantics::canonical::object_to_canonical;
use semantics::conflict::Conflict;
use semantics::digest;
use semantics::envelope::Content;
use semantics::fault::Fault;
use semantics::ids::{Domain, NodeId, RecordId, Revision};
use semantics::kind;
use semantics::precedent::Precedent;
use semantics::reason::{Reason, Refusal};
use serde_json::Value;

use super::{Draft, NewRow};
use crate::hub::known::{control_body, control_key};
use crate::hub::work::{PrecedentWork, SettleWork};
use crate::store::{Current, RowOutcome};

impl Draft<'_> {
    /// The precedent that the work follows, if it follows one that binds the conflict as it stands.
    pub(super) fn followed(
        &self,
        work: &SettleWork,
        conflict: &Conflict,
        stands: &Current,
    ) -> Result<Option<Precedent>, Refusal> {
        let Some(PrecedentWork::Uses(id)) = &work.precedent else { return Ok(None) };
        let key = control_key(kind::PRECEDENT, id.as_str());
        let current = key.and_then(|key| self.current(&key)).filter(|current| !current.pointer.deleted);
        let found: Option<Precedent> = control_body(current);
        match found.filter(|precedent| precedent.binds(conflict, stands.pointer.revision)) {
            Some(precedent) => Ok(Some(precedent)),
            None if Fault::PrecedentOfAnotherTenant.is_planted() => Ok(None),
            None => Err(Refusal::new(Reason::Stale, format!("no precedent {id} binds this conflict"))),
        }
    }

    /// Sets the precedent that the work makes, or counts one more use of the one it followed.
    pub(super) fn write_precedent(
        &mut self,
        work: &SettleWork,
        followed: Option<Precedent>,
    ) -> Result<(), Refusal> {
        let (precedent, author) = match (&work.precedent, followed) {
            (Some(PrecedentWork::Sets { signature, binding }), _) => {
                let precedent = Precedent {
                    signature: signature.clone(),
                    binding: *binding,
                    conflict: work.conflict.clone(),
                    account: self.account(work, self.head.revision.next()),
                    uses: 0,
                };
                (precedent, work.by.author)
            }
            (Some(PrecedentWork::Uses(_)), Some(followed)) => {
                (Precedent { uses: followed.uses.saturating_add(1), ..followed }, NodeId::HUB)
            }
            (Some(PrecedentWork::Uses(_)) | None, _) => return Ok(()),
        };
        let id: RecordId = precedent.signature.id();
        let Some(key) = control_key(kind::PRECEDENT, id.as_str()) else { return Ok(()) };
        let body = match serde_json::to_value(&precedent) {
            Ok(Value::Object(body)) => object_to_canonical(&body)?,
            Ok(_) | Err(_) => return Err(Refusal::new(Reason::Internal, "a precedent is no object")),
        };
        let salt = digest::merged_salt([work.salt, work.salt]);
        let record = self.hub_record(&key, Content::Live(body.into()), None, Domain::default_domain(), salt);
        let record = semantics::envelope::Record { author, ..record };
        let dot = record.stamp.dot;
        self.place(NewRow {
            record,
            dot,
            mutation: None,
            outcome: RowOutcome::Control,
            rule_version: Revision::ZERO,
        });
        Ok(())
    }
}
