//! What travels while a log that went on from a backup takes back what it lost.

use semantics::ids::Dot;
use semantics::ids::{CommitNumber, Digest, LogId, Revision};
use semantics::recovery::{
    REMNANT_DOTS_MAX, REMNANT_PAGES_MAX, REMNANTS_PER_PAGE_MAX, Recovery, Remnant, RemnantPage,
};

use crate::shape::{At, ShapeError, list, required};
use crate::v1;

impl TryFrom<v1::Recovery> for Recovery {
    type Error = ShapeError;
    fn try_from(recovery: v1::Recovery) -> Result<Self, ShapeError> {
        Ok(Self {
            predecessor: LogId::from_slice(&recovery.predecessor).at("predecessor")?,
            commit: CommitNumber(recovery.commit),
            revision: Revision(recovery.revision),
        })
    }
}

impl From<&Recovery> for v1::Recovery {
    fn from(recovery: &Recovery) -> Self {
        Self {
            predecessor: recovery.predecessor.as_bytes().to_vec(),
            commit: recovery.commit.0,
            revision: recovery.revision.0,
        }
    }
}

impl TryFrom<v1::Remnant> for Remnant {
    type Error = ShapeError;
    fn try_from(remnant: v1::Remnant) -> Result<Self, ShapeError> {
        let dots: Vec<Dot> = list("version", remnant.version, REMNANT_DOTS_MAX)?;
        Ok(Self {
            key: required("key", remnant.key)?,
            revision: Revision(remnant.revision),
            digest: Digest::from_slice(&remnant.digest).at("digest")?,
            deleted: remnant.deleted,
            version: dots.into(),
        })
    }
}

impl From<&Remnant> for v1::Remnant {
    fn from(remnant: &Remnant) -> Self {
        Self {
            key: Some((&remnant.key).into()),
            revision: remnant.revision.0,
            digest: remnant.digest.as_bytes().to_vec(),
            deleted: remnant.deleted,
            version: remnant.version.dots().map(|dot| (&dot).into()).collect(),
        }
    }
}

impl TryFrom<v1::Remnants> for RemnantPage {
    type Error = ShapeError;
    fn try_from(page: v1::Remnants) -> Result<Self, ShapeError> {
        if page.page >= REMNANT_PAGES_MAX {
            return Err(ShapeError::invalid("too many parts")).at("page");
        }
        Ok(Self {
            predecessor: LogId::from_slice(&page.predecessor).at("predecessor")?,
            page: page.page,
            remnants: list("remnants", page.remnants, REMNANTS_PER_PAGE_MAX)?,
            is_last: page.is_last,
        })
    }
}

impl From<&RemnantPage> for v1::Remnants {
    fn from(page: &RemnantPage) -> Self {
        Self {
            predecessor: page.predecessor.as_bytes().to_vec(),
            page: page.page,
            remnants: page.remnants.iter().map(Into::into).collect(),
            is_last: page.is_last,
        }
    }
}
