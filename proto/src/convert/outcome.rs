//! Outcomes and refusals.

use semantics::ids::{Digest, MutationId, Revision};
use semantics::outcome::{DotOutcome, Outcome, Transient};
use semantics::reason::{DETAIL_BYTES_MAX, Reason, Refusal};
use semantics::session::DotResult;

use crate::shape::{At, ShapeError, at_most, optional, present, required};
use crate::v1;

impl TryFrom<v1::Refusal> for Refusal {
    type Error = ShapeError;
    fn try_from(refusal: v1::Refusal) -> Result<Self, ShapeError> {
        at_most("detail", refusal.detail.len(), DETAIL_BYTES_MAX, "bytes")?;
        let number = u16::try_from(refusal.reason).ok();
        let reason = number.and_then(Reason::from_number);
        let unknown = || ShapeError::invalid(format!("{} is no reason known here", refusal.reason));
        Ok(Self { reason: reason.ok_or_else(unknown).at("reason")?, detail: refusal.detail })
    }
}

impl From<&Refusal> for v1::Refusal {
    fn from(refusal: &Refusal) -> Self {
        Self { reason: i32::from(refusal.reason.number()), detail: refusal.detail.clone() }
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = ShapeError;
    fn try_from(outcome: v1::Outcome) -> Result<Self, ShapeError> {
        use v1::outcome::Type;
        let revision = || match outcome.revision {
            0 => Err(ShapeError::invalid("revisions start at 1")).at("revision"),
            revision => Ok(Revision(revision)),
        };
        match Type::try_from(outcome.r#type).unwrap_or(Type::Unspecified) {
            Type::Applied => Ok(Self::Applied { revision: revision()? }),
            Type::Merged => Ok(Self::Merged { revision: revision()? }),
            Type::Conflicted => Ok(Self::Conflicted { revision: revision()? }),
            Type::Rejected => Ok(Self::Rejected(required("refusal", outcome.refusal)?)),
            Type::Withdrawn => Ok(Self::Withdrawn),
            Type::Unspecified => {
                Err(ShapeError::invalid(format!("{} is no type known here", outcome.r#type))).at("type")
            }
        }
    }
}

impl From<&Outcome> for v1::Outcome {
    fn from(outcome: &Outcome) -> Self {
        use v1::outcome::Type;
        let (kind, refusal) = match outcome {
            Outcome::Applied { .. } => (Type::Applied, None),
            Outcome::Merged { .. } => (Type::Merged, None),
            Outcome::Conflicted { .. } => (Type::Conflicted, None),
            Outcome::Rejected(refusal) => (Type::Rejected, Some(refusal.into())),
            Outcome::Withdrawn => (Type::Withdrawn, None),
        };
        Self { r#type: kind.into(), revision: outcome.revision().unwrap_or_default().0, refusal }
    }
}

impl TryFrom<v1::DotOutcome> for DotOutcome {
    type Error = ShapeError;
    fn try_from(outcome: v1::DotOutcome) -> Result<Self, ShapeError> {
        Ok(Self {
            dot: required("dot", outcome.dot)?,
            mutation: MutationId::from_slice(&outcome.mutation).at("mutation")?,
            digest: Digest::from_slice(&outcome.digest).at("digest")?,
            outcome: required("outcome", outcome.outcome)?,
        })
    }
}

impl From<&DotOutcome> for v1::DotOutcome {
    fn from(outcome: &DotOutcome) -> Self {
        Self {
            dot: Some((&outcome.dot).into()),
            mutation: outcome.mutation.as_bytes().to_vec(),
            digest: outcome.digest.as_bytes().to_vec(),
            outcome: Some((&outcome.outcome).into()),
        }
    }
}

impl TryFrom<v1::DotResult> for DotResult {
    type Error = ShapeError;
    fn try_from(result: v1::DotResult) -> Result<Self, ShapeError> {
        Ok(Self { n: result.n, outcome: optional("outcome", result.outcome)? })
    }
}

impl From<&DotResult> for v1::DotResult {
    fn from(result: &DotResult) -> Self {
        Self { n: result.n, outcome: result.outcome.as_ref().map(Into::into) }
    }
}

impl TryFrom<v1::Waits> for Transient {
    type Error = ShapeError;
    fn try_from(waits: v1::Waits) -> Result<Self, ShapeError> {
        let refusal: Refusal = present("refusal", waits.refusal).and_then(|r| r.try_into().at("refusal"))?;
        Ok(Self {
            n: waits.n,
            reason: refusal.reason,
            detail: refusal.detail,
            retry_after_ms: waits.retry_after_ms,
        })
    }
}

impl From<&Transient> for v1::Waits {
    fn from(transient: &Transient) -> Self {
        let refusal = Refusal::new(transient.reason, transient.detail.clone());
        Self { n: transient.n, refusal: Some((&refusal).into()), retry_after_ms: transient.retry_after_ms }
    }
}
