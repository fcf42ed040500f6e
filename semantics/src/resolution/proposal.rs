//! What a program of the user's is asked about a conflict, and what it may answer.
//!
//! - `a_question_tells_every_side_and_what_stands`: who says what, how and when, oldest first; what cannot be read is
//!   said to be so.
//! - `an_answer_has_a_name_and_bounds`: a name of 1 to [`NAME_BYTES_MAX`] bytes without control characters, and a reason
//!   of at most [`REASON_BYTES_MAX`].
//! - The answer is a [`Choice`] like a person's, so it comes to the same: see [`super::wanted`].

use crate::conflict::{Conflict, ConflictType, Side};
use crate::ids::{Key, NodeId, RecordId, Revision, TenantId};
use crate::kind::{Policy, Rule};
use crate::precedent::Deed;
use crate::reason::{Reason, Refusal};

use super::{Choice, REASON_BYTES_MAX, Row, Wanted, wanted};

/// Longest name of who answers, bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// What one side says.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The side.
    pub side: Side,
    /// Who wrote it; absent when its row is not kept.
    pub author: Option<NodeId>,
    /// What people call who wrote it; empty where that is not known.
    pub name: String,
    /// How it says it.
    pub deed: Deed,
    /// What it says, or why that cannot be told.
    pub says: Result<Wanted, Refusal>,
}

/// A conflict as it is put to a program, with everything that it may judge by.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Whose conflict it is.
    pub tenant: TenantId,
    /// Its id.
    pub conflict: RecordId,
    /// The revision at which the conflict stands: an answer is good for this one alone.
    pub revision: Revision,
    /// The record it is about.
    pub subject: Key,
    /// Where in the record; empty for the whole of it.
    pub path: String,
    /// What sort of disagreement.
    pub conflict_type: ConflictType,
    /// The policy of the kind.
    pub policy: Policy,
    /// The revision of the kind's rule.
    pub rule_version: Revision,
    /// Every side that is kept, the earliest stamp first.
    pub sides: Vec<Said>,
    /// Losing sides that were counted only.
    pub dropped: u64,
    /// What the sides were made on; absent when they have no ancestor that is known.
    pub ancestor: Option<Result<Wanted, Refusal>>,
    /// What stands; absent when the record is gone.
    pub standing: Option<Result<Wanted, Refusal>>,
}

impl Question {
    /// The question about a conflict that stands at `at`. `row` gives rows of the log by revision. Nobody is called by
    /// name yet, and what stands is not said.
    #[must_use]
    pub fn of<'a>(
        tenant: &TenantId,
        (id, at): (&RecordId, Revision),
        conflict: &Conflict,
        rule: &Rule,
        row: impl Fn(Revision) -> Option<Row<'a>> + Copy,
    ) -> Self {
        let asked = |choice: Choice| wanted(conflict, &choice, rule, row);
        let mut sides: Vec<Said> = conflict
            .sides()
            .map(|side| Said {
                side: side.clone(),
                author: row(side.revision).map(|row| match row.mutation {
                    Some(mutation) => mutation.author,
                    None => row.record.author,
                }),
                name: String::new(),
                deed: Deed::of(side, row(side.revision)),
                says: asked(Choice::Side(side.stamp.dot)),
            })
            .collect();
        sides.sort_by_key(|said| said.side.stamp);
        let has_ancestor = conflict.ancestor != Revision::ZERO;
        Self {
            tenant: tenant.clone(),
            conflict: id.clone(),
            revision: at,
            subject: conflict.subject.clone(),
            path: conflict.path.clone(),
            conflict_type: conflict.conflict_type,
            policy: rule.policy,
            rule_version: rule.version,
            sides,
            dropped: conflict.dropped,
            ancestor: has_ancestor.then(|| asked(Choice::Ancestor)),
            standing: None,
        }
    }
}

/// What a program answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// What is to stand; absent = it leaves the conflict to a person.
    pub choice: Option<Choice>,
    /// Of the program or model, as histories name it.
    pub name: String,
    /// In words; may be empty.
    pub reason: String,
}

impl Proposal {
    /// Whether it may be kept.
    ///
    /// # Errors
    /// `MALFORMED` for a name that is empty or has control characters; `TOO_LARGE` for a long name or reason.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.name.is_empty() || self.name.contains(char::is_control) {
            let detail = "name: it is empty, or has control characters";
            return Err(Refusal::new(Reason::Malformed, detail));
        }
        let texts = [("name", &self.name, NAME_BYTES_MAX), ("reason", &self.reason, REASON_BYTES_MAX)];
        for (field, text, bytes_max) in texts {
            if text.len() > bytes_max {
                let detail = format!("{field}: {} bytes, at most {bytes_max} are allowed", text.len());
                return Err(Refusal::new(Reason::TooLarge, detail));
            }
        }
        Ok(())
    }

    /// Who settles by it, as the account of the settlement names it.
    #[must_use]
    pub fn settler(&self) -> String {
        format!("resolver/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::clock::{HybridTime, Stamp};
    use crate::envelope::{Base, Content, KEY_ID_CLEAR, Mutation, Op, Placement, Record};
    use crate::ids::{Domain, Dot, Incarnation, Kind, MutationId, Salt, Writer};
    use crate::version::Version;

    fn stamp(node: u8, ms: u64) -> Stamp {
        let writer = Writer { node: NodeId([node; 16]), epoch: 1 };
        Stamp { time: HybridTime { ms, counter: 0 }, dot: Dot { writer, n: ms } }
    }

    fn row(key: &Key, stamp: Stamp, op: Op) -> (Mutation, Record) {
        let placement = Placement { domain: Domain::default_domain(), subject: None };
        let content = match &op {
            Op::Put { body } => Content::Live(body.clone()),
            Op::Patch { .. } | Op::Delete => Content::Deleted,
        };
        let record = Record {
            key: key.clone(),
            placement: placement.clone(),
            placement_stamp: stamp,
            facet: None,
            incarnation: Incarnation::ZERO,
            version: Version::of(stamp.dot),
            stamp,
            author: stamp.dot.writer.node,
            key_id: KEY_ID_CLEAR,
            salt: Salt::default(),
            content,
            fields: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        let mutation = Mutation {
            id: MutationId([3; 16]),
            dot: stamp.dot,
            group: None,
            key: key.clone(),
            op,
            placement: None,
            incarnation: Incarnation::ZERO,
            base: Base::default(),
            time: stamp.time,
            written_ms: stamp.time.ms,
            author: stamp.dot.writer.node,
            key_id: KEY_ID_CLEAR,
            salt: Salt::default(),
            signature: None,
        };
        (mutation, record)
    }

    #[test]
    fn a_question_tells_every_side_and_what_stands() {
        let key = Key { kind: Kind::new("note").unwrap(), id: RecordId::new("a").unwrap() };
        let put = |text: &str| Op::Put { body: json!({ "t": text }).to_string().into_bytes().into() };
        let rows: BTreeMap<u64, (Mutation, Record)> = [
            (1, row(&key, stamp(1, 10), put("0"))),
            (2, row(&key, stamp(2, 30), put("late"))),
            (3, row(&key, stamp(3, 20), Op::Delete)),
        ]
        .into();
        let side = |at: u64, node: u8, ms: u64| Side { stamp: stamp(node, ms), revision: Revision(at) };
        let conflict = Conflict {
            subject: key,
            path: String::new(),
            conflict_type: ConflictType::Deletion,
            cause: None,
            collapsed: None,
            primary: side(2, 2, 30),
            losers: vec![side(3, 3, 20), side(9, 4, 25)],
            dropped: 1,
            ancestor: Revision(1),
            open: true,
            resolution: None,
        };
        let at = |revision: Revision| {
            let (mutation, record) = rows.get(&revision.0)?;
            Some(Row { mutation: Some(mutation), record })
        };
        let rule = Rule { policy: Policy::Resolver, facet_field: None, version: Revision(7) };
        let (tenant, id) = (TenantId::new("acme").unwrap(), RecordId::new("c").unwrap());
        let question = Question::of(&tenant, (&id, Revision(8)), &conflict, &rule, at);
        assert_eq!((question.revision, question.rule_version), (Revision(8), Revision(7)));
        let said: Vec<_> = question.sides.iter().map(|said| (said.deed, said.author)).collect();
        let by = |node: u8| Some(NodeId([node; 16]));
        assert_eq!(said, [(Deed::Delete, by(3)), (Deed::Made, None), (Deed::Put, by(2))]);
        assert_eq!(question.sides[0].says, Ok(Wanted::Nothing));
        assert_eq!(question.sides[1].says.as_ref().unwrap_err().reason, Reason::RecordGone);
        assert_eq!(question.sides[2].says, Ok(Wanted::Value(json!({"t": "late"}))));
        assert_eq!(question.ancestor, Some(Ok(Wanted::Value(json!({"t": "0"})))));
        assert_eq!(question.dropped, 1);
        let orphan = Conflict { ancestor: Revision::ZERO, ..conflict };
        assert_eq!(Question::of(&tenant, (&id, Revision(8)), &orphan, &rule, at).ancestor, None);
    }

    #[test]
    fn an_answer_has_a_name_and_bounds() {
        let refused = |name: &str, reason: &str| {
            let (name, reason) = (name.to_owned(), reason.to_owned());
            Proposal { choice: None, name, reason }.check().err().map(|refusal| refusal.reason)
        };
        assert_eq!(refused("model-3", ""), None);
        assert_eq!(refused(&"n".repeat(NAME_BYTES_MAX), &"r".repeat(REASON_BYTES_MAX)), None);
        assert_eq!(refused("", "why"), Some(Reason::Malformed));
        assert_eq!(refused("two\nlines", "why"), Some(Reason::Malformed));
        assert_eq!(refused(&"n".repeat(NAME_BYTES_MAX + 1), ""), Some(Reason::TooLarge));
        assert_eq!(refused("model", &"r".repeat(REASON_BYTES_MAX + 1)), Some(Reason::TooLarge));
        let model = Proposal { choice: None, name: "model".to_owned(), reason: String::new() };
        assert_eq!(model.settler(), "resolver/model");
    }
}
