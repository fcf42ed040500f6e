//! The mutation envelope.

use semantics::envelope::{
    BODY_BYTES_MAX, Base, FIELD_NAME_BYTES_MAX, FIELDS_MAX, GROUP_MUTATIONS_MAX, GroupPlace, Mutation, Op,
    SIGNATURE_BYTES_MAX,
};
use semantics::ids::{GroupId, Incarnation, MutationId, NodeId, Revision, Salt};

use crate::shape::{At, Problem, ShapeError, at_most, optional, present, required};
use crate::v1;

impl TryFrom<v1::Base> for Base {
    type Error = ShapeError;
    fn try_from(base: v1::Base) -> Result<Self, ShapeError> {
        Ok(Self {
            version: optional("version", base.version)?.unwrap_or_default(),
            revision: Revision(base.revision),
            own: optional("own", base.own)?,
        })
    }
}

impl From<&Base> for v1::Base {
    fn from(base: &Base) -> Self {
        Self {
            version: Some((&base.version).into()),
            revision: base.revision.0,
            own: base.own.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::GroupPlace> for GroupPlace {
    type Error = ShapeError;
    fn try_from(place: v1::GroupPlace) -> Result<Self, ShapeError> {
        let size = usize::try_from(place.size).unwrap_or(usize::MAX);
        at_most("size", size, GROUP_MUTATIONS_MAX, "mutations")?;
        if place.index >= place.size {
            let detail = format!("{} is not a place in a group of {}", place.index, place.size);
            return Err(ShapeError::invalid(detail)).at("index");
        }
        Ok(Self { id: GroupId::from_slice(&place.id).at("id")?, index: place.index, size: place.size })
    }
}

impl From<&GroupPlace> for v1::GroupPlace {
    fn from(place: &GroupPlace) -> Self {
        Self { id: place.id.as_bytes().to_vec(), index: place.index, size: place.size }
    }
}

impl TryFrom<v1::mutation::Op> for Op {
    type Error = ShapeError;
    fn try_from(op: v1::mutation::Op) -> Result<Self, ShapeError> {
        match op {
            v1::mutation::Op::Put(put) => {
                at_most("put.body", put.body.len(), BODY_BYTES_MAX, "bytes")?;
                Ok(Self::Put { body: put.body.into() })
            }
            v1::mutation::Op::Patch(patch) => patch_op(patch).at("patch"),
            v1::mutation::Op::Delete(v1::Delete {}) => Ok(Self::Delete),
        }
    }
}

fn patch_op(patch: v1::Patch) -> Result<Op, ShapeError> {
    at_most("set", patch.set.len(), BODY_BYTES_MAX, "bytes")?;
    at_most("remove", patch.remove.len(), FIELDS_MAX, "fields")?;
    for (i, name) in patch.remove.iter().enumerate() {
        field_name(name).at(&format!("remove[{i}]"))?;
    }
    if !patch.remove.is_sorted_by(|a, b| a < b) {
        return Err(ShapeError::invalid("names must ascend bytewise, each once")).at("remove");
    }
    Ok(Op::Patch { set: patch.set.into(), remove: patch.remove })
}

/// Checks the name of a top-level field.
pub(super) fn field_name(name: &str) -> Result<(), ShapeError> {
    if name.len() > FIELD_NAME_BYTES_MAX {
        let problem = Problem::TooLarge { found: name.len(), max: FIELD_NAME_BYTES_MAX, unit: "bytes" };
        return Err(ShapeError { path: String::new(), problem });
    }
    Ok(())
}

impl From<&Op> for v1::mutation::Op {
    fn from(op: &Op) -> Self {
        match op {
            Op::Put { body } => Self::Put(v1::Put { body: body.to_vec() }),
            Op::Patch { set, remove } => Self::Patch(v1::Patch { set: set.to_vec(), remove: remove.clone() }),
            Op::Delete => Self::Delete(v1::Delete {}),
        }
    }
}

impl TryFrom<v1::Mutation> for Mutation {
    type Error = ShapeError;
    fn try_from(mutation: v1::Mutation) -> Result<Self, ShapeError> {
        let signature_bytes = mutation.signature.as_ref().map_or(0, Vec::len);
        at_most("signature", signature_bytes, SIGNATURE_BYTES_MAX, "bytes")?;
        Ok(Self {
            id: MutationId::from_slice(&mutation.id).at("id")?,
            dot: required("dot", mutation.dot)?,
            group: optional("group", mutation.group)?,
            key: required("key", mutation.key)?,
            op: Op::try_from(present("op", mutation.op)?)?,
            placement: optional("placement", mutation.placement)?,
            incarnation: Incarnation(mutation.incarnation),
            base: optional("base", mutation.base)?.unwrap_or_default(),
            time: required("time", mutation.time)?,
            written_ms: mutation.written_ms,
            author: NodeId::from_slice(&mutation.author).at("author")?,
            key_id: mutation.key_id,
            salt: Salt::from_slice(&mutation.salt).at("salt")?,
            signature: mutation.signature,
        })
    }
}

impl From<&Mutation> for v1::Mutation {
    fn from(mutation: &Mutation) -> Self {
        Self {
            id: mutation.id.as_bytes().to_vec(),
            dot: Some((&mutation.dot).into()),
            group: mutation.group.as_ref().map(Into::into),
            key: Some((&mutation.key).into()),
            op: Some((&mutation.op).into()),
            placement: mutation.placement.as_ref().map(Into::into),
            incarnation: mutation.incarnation.0,
            base: Some((&mutation.base).into()),
            time: Some((&mutation.time).into()),
            written_ms: mutation.written_ms,
            author: mutation.author.as_bytes().to_vec(),
            key_id: mutation.key_id,
            salt: mutation.salt.as_bytes().to_vec(),
            signature: mutation.signature.clone(),
        }
    }
}
