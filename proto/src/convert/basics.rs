//! Keys, writers, dots, times, stamps, versions, placements.

use semantics::clock::{HybridTime, Stamp};
use semantics::envelope::Placement;
use semantics::ids::{Domain, Dot, Key, Kind, NodeId, RecordId, Subject, Writer};
use semantics::version::{VERSION_WRITERS_MAX, Version};

use crate::shape::{At, ShapeError, at_most, required};
use crate::v1;

impl TryFrom<v1::Key> for Key {
    type Error = ShapeError;
    fn try_from(key: v1::Key) -> Result<Self, ShapeError> {
        Ok(Self { kind: Kind::new(key.kind).at("kind")?, id: RecordId::new(key.id).at("id")? })
    }
}

impl From<&Key> for v1::Key {
    fn from(key: &Key) -> Self {
        Self { kind: key.kind.to_string(), id: key.id.to_string() }
    }
}

impl TryFrom<v1::Writer> for Writer {
    type Error = ShapeError;
    fn try_from(writer: v1::Writer) -> Result<Self, ShapeError> {
        Ok(Self { node: NodeId::from_slice(&writer.node).at("node")?, epoch: writer.epoch })
    }
}

impl From<&Writer> for v1::Writer {
    fn from(writer: &Writer) -> Self {
        Self { node: writer.node.as_bytes().to_vec(), epoch: writer.epoch }
    }
}

impl TryFrom<v1::Dot> for Dot {
    type Error = ShapeError;
    fn try_from(dot: v1::Dot) -> Result<Self, ShapeError> {
        let writer = required("writer", dot.writer)?;
        if dot.n == 0 {
            return Err(ShapeError::invalid("counters start at 1")).at("n");
        }
        Ok(Self { writer, n: dot.n })
    }
}

impl From<&Dot> for v1::Dot {
    fn from(dot: &Dot) -> Self {
        Self { writer: Some((&dot.writer).into()), n: dot.n }
    }
}

impl TryFrom<v1::HybridTime> for HybridTime {
    type Error = ShapeError;
    fn try_from(time: v1::HybridTime) -> Result<Self, ShapeError> {
        Ok(Self { ms: time.ms, counter: time.counter })
    }
}

impl From<&HybridTime> for v1::HybridTime {
    fn from(time: &HybridTime) -> Self {
        Self { ms: time.ms, counter: time.counter }
    }
}

impl TryFrom<v1::Stamp> for Stamp {
    type Error = ShapeError;
    fn try_from(stamp: v1::Stamp) -> Result<Self, ShapeError> {
        Ok(Self { time: required("time", stamp.time)?, dot: required("dot", stamp.dot)? })
    }
}

impl From<&Stamp> for v1::Stamp {
    fn from(stamp: &Stamp) -> Self {
        Self { time: Some((&stamp.time).into()), dot: Some((&stamp.dot).into()) }
    }
}

impl TryFrom<v1::Version> for Version {
    type Error = ShapeError;
    fn try_from(version: v1::Version) -> Result<Self, ShapeError> {
        at_most("dots", version.dots.len(), VERSION_WRITERS_MAX, "writers")?;
        let mut read = Self::empty();
        for (i, dot) in version.dots.into_iter().enumerate() {
            let path = format!("dots[{i}]");
            let dot = Dot::try_from(dot).at(&path)?;
            if read.get(&dot.writer) > 0 {
                return Err(ShapeError::invalid("its writer stands twice in the version")).at(&path);
            }
            read.add(dot);
        }
        Ok(read)
    }
}

impl From<&Version> for v1::Version {
    fn from(version: &Version) -> Self {
        Self { dots: version.dots().map(|dot| (&dot).into()).collect() }
    }
}

impl TryFrom<v1::Placement> for Placement {
    type Error = ShapeError;
    fn try_from(placement: v1::Placement) -> Result<Self, ShapeError> {
        Ok(Self {
            domain: Domain::new(placement.domain).at("domain")?,
            subject: placement.subject.map(Subject::new).transpose().at("subject")?,
        })
    }
}

impl From<&Placement> for v1::Placement {
    fn from(placement: &Placement) -> Self {
        Self {
            domain: placement.domain.to_string(),
            subject: placement.subject.as_ref().map(ToString::to_string),
        }
    }
}
