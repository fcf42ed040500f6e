//! Mutations that name, promise or claim what they may not. What is rejected is answered for good.

use proto::v1;
use proto::v1::mutation::Op;
use semantics::reason::Reason::{
    BadSignature, ClockAhead, ControlKind, GroupRejected, KindUndeclared, Malformed, NodeForked, NotInView,
    NotPrimary, PatchUnsupported, PermissionDenied, RecordAbsent, RecordGone, StampBeforeBase, TooLarge,
};

use super::node::hello;
use super::table::{Heard, Row, answered, attack};
use super::world::World;

const MALFORMED: Heard = Heard::Refused(Malformed);
const TOO_LARGE: Heard = Heard::Refused(TooLarge);

pub fn rows() -> Vec<Row> {
    [names(), kinds(), bases(), groups(), copies()].into_iter().flatten().collect()
}

/// What a note of mallory's hears, but for one change.
async fn bent(world: &World, change: impl FnOnce(&mut v1::Mutation)) -> Heard {
    let mut note = world.mallory.note("m");
    change(&mut note);
    world.mallory.tries(note).await
}

fn key(kind: &str, id: &str) -> Option<v1::Key> {
    Some(v1::Key { kind: kind.to_owned(), id: id.to_owned() })
}

fn names() -> Vec<Row> {
    vec![
        attack!("an id of 257 bytes", Node, TOO_LARGE, |world| {
            bent(world, |m| m.key = key("note", &"x".repeat(257))).await
        }),
        attack!("an empty id", Node, MALFORMED, |world| bent(world, |m| m.key = key("note", "")).await),
        attack!("a kind of 65 bytes", Node, TOO_LARGE, |world| {
            bent(world, |m| m.key = key(&"k".repeat(65), "m")).await
        }),
        attack!("a kind with a line end", Node, MALFORMED, |world| {
            bent(world, |m| m.key = key("no\nte", "m")).await
        }),
        attack!("a salt of 3 bytes", Node, MALFORMED, |world| bent(world, |m| m.salt.truncate(3)).await),
        attack!("a version of 4 097 writers", Node, TOO_LARGE, |world| {
            let dot = |epoch| v1::Dot { writer: Some(v1::Writer { node: vec![1; 16], epoch }), n: 1 };
            let dots = (1..=4_097).map(dot).collect();
            bent(world, |m| m.base.as_mut().unwrap().version = Some(v1::Version { dots })).await
        }),
        attack!("a signature of 9 KiB", Node, TOO_LARGE, |world| {
            bent(world, |m| m.signature = Some(vec![0; 9 * 1024])).await
        }),
    ]
}

fn kinds() -> Vec<Row> {
    let rejected = Heard::Rejected;
    vec![
        attack!("a kind that is not declared", Node, rejected(KindUndeclared), |world| {
            bent(world, |m| m.key = key("gadget", "m")).await
        }),
        attack!("a control kind pushed", Node, rejected(ControlKind), |world| {
            bent(world, |m| m.key = key("kind", "note")).await
        }),
        attack!("a node's own registration pushed", Node, rejected(ControlKind), |world| {
            let id = hex::encode(&world.mallory.id);
            bent(world, |m| m.key = key("node", &id)).await
        }),
        attack!("a conflict pushed", Node, rejected(ControlKind), |world| {
            bent(world, |m| m.key = key("conflict", "m")).await
        }),
        attack!("a mutation in another author's name", Node, rejected(PermissionDenied), |world| {
            let honest = world.honest.id.clone();
            bent(world, |m| m.author = honest).await
        }),
        attack!("a record outside of the node's view", Node, rejected(NotInView), |world| {
            world.narrow.tries(world.narrow.note("m")).await
        }),
        attack!("a record moved outside of the node's view", Node, rejected(NotInView), |world| {
            let placement = v1::Placement { domain: "hidden".to_owned(), subject: None };
            bent(world, |m| m.placement = Some(placement)).await
        }),
        attack!(
            "a write by a replica of what another node alone writes",
            Node,
            rejected(NotPrimary),
            |world| { world.mallory.tries(world.mallory.put("ledger", "m", b"{}")).await }
        ),
        attack!("a topology pushed", Node, rejected(ControlKind), |world| {
            bent(world, |m| m.key = key("topology", "tenant")).await
        }),
        attack!("a patch of a kind that is whole", Node, rejected(PatchUnsupported), |world| {
            let patch = v1::Patch { set: br#"{"text":"x"}"#.to_vec(), remove: Vec::new() };
            let mut note = world.mallory.put("letter", "m", b"{}");
            note.op = Some(Op::Patch(patch));
            world.mallory.tries(note).await
        }),
        attack!("a kind that must be signed, without a signature", Node, rejected(BadSignature), |world| {
            world.mallory.tries(world.mallory.put("sealed-letter", "m", b"{}")).await
        }),
    ]
}

fn bases() -> Vec<Row> {
    vec![
        attack!("a clock that is two minutes ahead", Node, Heard::Waits(ClockAhead), |world| {
            bent(world, |m| m.time.as_mut().unwrap().ms += 120_000).await
        }),
        attack!("a clock at the end of time", Node, Heard::Waits(ClockAhead), |world| {
            bent(world, |m| m.time.as_mut().unwrap().ms = u64::MAX).await
        }),
        attack!("a stamp that is before its base's", Node, Heard::Rejected(StampBeforeBase), |world| {
            let dot = v1::Dot { writer: Some(world.honest.writer()), n: 1 };
            bent(world, |m| {
                m.key = key("note", "x");
                m.time.as_mut().unwrap().ms = 1;
                m.base.as_mut().unwrap().version = Some(v1::Version { dots: vec![dot] });
            })
            .await
        }),
        attack!("a base on a record that is not there", Node, Heard::Rejected(RecordGone), |world| {
            let dot = v1::Dot { writer: Some(world.honest.writer()), n: 1 };
            bent(world, |m| {
                m.key = key("note", "never-written");
                m.base.as_mut().unwrap().version = Some(v1::Version { dots: vec![dot] });
            })
            .await
        }),
        attack!("a base that holds the mutation itself", Node, Heard::Rejected(Malformed), |world| {
            bent(world, |m| {
                let own = m.dot.clone().unwrap();
                m.base.as_mut().unwrap().version = Some(v1::Version { dots: vec![own] });
            })
            .await
        }),
        attack!("a deletion of what is not there", Node, Heard::Rejected(RecordAbsent), |world| {
            bent(world, |m| {
                m.key = key("note", "never-written");
                m.op = Some(Op::Delete(v1::Delete {}));
            })
            .await
        }),
    ]
}

fn place(index: u32, size: u32) -> Option<v1::GroupPlace> {
    Some(v1::GroupPlace { id: vec![9; 16], index, size })
}

fn groups() -> Vec<Row> {
    vec![
        attack!("a group of 65", Node, TOO_LARGE, |world| bent(world, |m| m.group = place(0, 65)).await),
        attack!("the third place in a group of two", Node, MALFORMED, |world| {
            bent(world, |m| m.group = place(2, 2)).await
        }),
        attack!("half a group", Node, Heard::Rejected(GroupRejected), |world| bent(world, |m| m.group =
            place(0, 2))
        .await),
        attack!("a group of more than 1 MiB", Node, Heard::Rejected(TooLarge), |world| {
            let mut notes = world.mallory.notes(5);
            for (index, note) in (0..).zip(&mut notes) {
                let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(240 * 1024));
                note.op = Some(Op::Put(v1::Put { body: body.into_bytes() }));
                note.group = place(index, 5);
            }
            answered(world.mallory.send(world.mallory.push(notes)).await)
        }),
        attack!("a good mutation in a group with a bad one", Node, Heard::Rejected(GroupRejected), |world| {
            let mut notes = world.mallory.notes(2);
            notes[0].group = place(0, 2);
            notes[1].group = place(1, 2);
            notes[1].key = key("gadget", "m");
            answered(world.mallory.send(world.mallory.push(notes)).await)
        }),
    ]
}

fn copies() -> Vec<Row> {
    vec![
        attack!("a dot with other content than before", Node, Heard::Refused(NodeForked), |world| {
            let mut other = world.honest.note("x");
            other.dot.as_mut().unwrap().n = 1;
            answered(world.honest.push_one(other).await)
        }),
        attack!("an epoch that was never opened", Node, Heard::Refused(NodeForked), |world| {
            let mut push = world.mallory.push(vec![world.mallory.note("m")]);
            push.writer.as_mut().unwrap().epoch = 7;
            for item in &mut push.items {
                let Some(v1::push_item::Item::Mutation(m)) = &mut item.item else { continue };
                m.dot = Some(v1::Dot { writer: push.writer.clone(), n: 1 });
            }
            answered(world.mallory.send(push).await)
        }),
        attack!("a hello of an epoch that was never opened", Node, Heard::Refused(NodeForked), |world| {
            let stream = v1::StreamState { epoch: 7, last_n: 0, last_digest: None, answered_n: 0 };
            world.talker.hello(v1::Hello { stream: Some(stream), ..hello() }).await
        }),
    ]
}
