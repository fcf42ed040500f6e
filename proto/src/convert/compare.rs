//! Scopes and ranges that are compared.

use semantics::compare::{Named, RANGE_RECORDS_MAX, RangeAsk, RangeSum, SCOPES_MAX, Scope, Scopes};
use semantics::envelope::Cell;
use semantics::ids::{Digest, Domain, Facet, Kind, Revision};

use super::cursor::RESUME_BYTES_MAX;
use crate::shape::{At, ShapeError, at_most, list, optional, required};
use crate::v1;

impl TryFrom<v1::Scope> for Cell {
    type Error = ShapeError;
    fn try_from(scope: v1::Scope) -> Result<Self, ShapeError> {
        Ok(Self {
            domain: Domain::new(scope.domain).at("domain")?,
            kind: Kind::new(scope.kind).at("kind")?,
            facet: scope.facet.map(Facet::new).transpose().at("facet")?,
        })
    }
}

impl From<&Cell> for v1::Scope {
    fn from(cell: &Cell) -> Self {
        let facet = cell.facet.as_ref().map(ToString::to_string);
        Self { domain: cell.domain.to_string(), kind: cell.kind.to_string(), facet }
    }
}

impl TryFrom<v1::ScopeDigest> for Scope {
    type Error = ShapeError;
    fn try_from(scope: v1::ScopeDigest) -> Result<Self, ShapeError> {
        let digest = Digest::from_slice(&scope.digest).at("digest")?;
        Ok(Self { cell: required("scope", scope.scope)?, digest })
    }
}

impl From<&Scope> for v1::ScopeDigest {
    fn from(scope: &Scope) -> Self {
        Self { scope: Some((&scope.cell).into()), digest: scope.digest.as_bytes().to_vec() }
    }
}

impl TryFrom<v1::CompareScopesResponse> for Scopes {
    type Error = ShapeError;
    fn try_from(answer: v1::CompareScopesResponse) -> Result<Self, ShapeError> {
        Ok(Self { revision: Revision(answer.revision), scopes: list("scopes", answer.scopes, SCOPES_MAX)? })
    }
}

impl From<&Scopes> for v1::CompareScopesResponse {
    fn from(scopes: &Scopes) -> Self {
        Self { revision: scopes.revision.0, scopes: scopes.scopes.iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::CompareRangeRequest> for RangeAsk {
    type Error = ShapeError;
    fn try_from(ask: v1::CompareRangeRequest) -> Result<Self, ShapeError> {
        at_most("from", ask.from.len(), RESUME_BYTES_MAX, "bytes")?;
        Ok(Self { from: ask.from, cell: optional("scope", ask.scope)?, with_records: ask.with_records })
    }
}

impl From<&RangeAsk> for v1::CompareRangeRequest {
    fn from(ask: &RangeAsk) -> Self {
        let scope = ask.cell.as_ref().map(Into::into);
        Self { from: ask.from.clone(), scope, with_records: ask.with_records }
    }
}

impl TryFrom<v1::CompareRangeResponse> for RangeSum {
    type Error = ShapeError;
    fn try_from(sum: v1::CompareRangeResponse) -> Result<Self, ShapeError> {
        at_most("next", sum.next.as_ref().map_or(0, Vec::len), RESUME_BYTES_MAX, "bytes")?;
        Ok(Self {
            revision: Revision(sum.revision),
            last: optional("last", sum.last)?,
            next: sum.next,
            records: sum.records,
            digest: Digest::from_slice(&sum.digest).at("digest")?,
            named: list("named", sum.named, RANGE_RECORDS_MAX)?,
        })
    }
}

impl From<&RangeSum> for v1::CompareRangeResponse {
    fn from(sum: &RangeSum) -> Self {
        Self {
            revision: sum.revision.0,
            last: sum.last.as_ref().map(Into::into),
            next: sum.next.clone(),
            records: sum.records,
            digest: sum.digest.as_bytes().to_vec(),
            named: sum.named.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::NamedRecord> for Named {
    type Error = ShapeError;
    fn try_from(named: v1::NamedRecord) -> Result<Self, ShapeError> {
        Ok(Self {
            key: required("key", named.key)?,
            revision: Revision(named.revision),
            digest: Digest::from_slice(&named.digest).at("digest")?,
        })
    }
}

impl From<&Named> for v1::NamedRecord {
    fn from(named: &Named) -> Self {
        let digest = named.digest.as_bytes().to_vec();
        Self { key: Some((&named.key).into()), revision: named.revision.0, digest }
    }
}
