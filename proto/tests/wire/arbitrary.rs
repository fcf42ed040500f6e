//! Arbitrary values of the right shape.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use semantics::clock::{HybridTime, Stamp};
use semantics::cursor::{Change, Cursor, Cut, Departure, Next, Page};
use semantics::envelope::{Base, Content, FieldStamp, GroupPlace, Mutation, Op, Placement, Record};
use semantics::ids::*;
use semantics::outcome::Outcome;
use semantics::reason::{Reason, Refusal};
use semantics::session::{Push, PushItem};
use semantics::version::Version;
use semantics::view::{Selector, View};

pub(crate) fn text() -> impl Strategy<Value = String> {
    "\\PC{1,20}".prop_filter("fits a name", |text| (1..=64).contains(&text.len()))
}

pub(crate) fn key() -> impl Strategy<Value = Key> {
    (text(), text()).prop_map(|(kind, id)| Key { kind: kind.parse().unwrap(), id: id.parse().unwrap() })
}

fn domain() -> impl Strategy<Value = Domain> {
    "[a-z0-9_.-]{1,64}".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn dot() -> impl Strategy<Value = Dot> {
    (any::<[u8; 16]>(), any::<u32>(), 1..=u64::MAX)
        .prop_map(|(node, epoch, n)| Dot { writer: Writer { node: NodeId(node), epoch }, n })
}

fn time() -> impl Strategy<Value = HybridTime> {
    (any::<u64>(), any::<u32>()).prop_map(|(ms, counter)| HybridTime { ms, counter })
}

pub(crate) fn stamp() -> impl Strategy<Value = Stamp> {
    (time(), dot()).prop_map(|(time, dot)| Stamp { time, dot })
}

pub(crate) fn version() -> impl Strategy<Value = Version> {
    vec(dot(), 0..5).prop_map(Version::from)
}

fn placement() -> impl Strategy<Value = Placement> {
    (domain(), option::of(text())).prop_map(|(domain, subject)| Placement {
        domain,
        subject: subject.map(|text| text.parse().unwrap()),
    })
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || vec(any::<u8>(), 0..100);
    prop_oneof![
        bytes().prop_map(|body| Op::Put { body: body.into() }),
        (bytes(), btree_set(text(), 0..4))
            .prop_map(|(set, remove)| Op::Patch { set: set.into(), remove: remove.into_iter().collect() }),
        Just(Op::Delete),
    ]
}

fn group() -> impl Strategy<Value = GroupPlace> {
    (any::<[u8; 16]>(), 1..=64_u32, any::<prop::sample::Index>()).prop_map(|(id, size, at)| GroupPlace {
        id: GroupId(id),
        index: u32::try_from(at.index(64)).unwrap() % size,
        size,
    })
}

fn base() -> impl Strategy<Value = Base> {
    (version(), any::<u64>(), option::of(dot())).prop_map(|(version, revision, own)| Base {
        version,
        revision: Revision(revision),
        own,
    })
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    let names = (any::<[u8; 16]>(), dot(), option::of(group()), key());
    let what = (op(), option::of(placement()), any::<u64>(), base(), time());
    let rest = (
        any::<u64>(),
        any::<[u8; 16]>(),
        any::<u64>(),
        any::<[u8; 16]>(),
        option::of(vec(any::<u8>(), 0..70)),
    );
    (names, what, rest).prop_map(|(names, what, rest)| Mutation {
        id: MutationId(names.0),
        dot: names.1,
        group: names.2,
        key: names.3,
        op: what.0,
        placement: what.1,
        incarnation: Incarnation(what.2),
        base: what.3,
        time: what.4,
        written_ms: rest.0,
        author: NodeId(rest.1),
        key_id: rest.2,
        salt: Salt(rest.3),
        signature: rest.4,
    })
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let field = (stamp(), any::<bool>()).prop_map(|(stamp, removed)| FieldStamp { stamp, removed });
    let names = (key(), placement(), stamp(), option::of(text()), any::<u64>());
    let state = (version(), stamp(), any::<[u8; 16]>(), any::<u64>(), any::<[u8; 16]>());
    let content = option::of(vec(any::<u8>(), 0..100));
    let merge = (btree_map(text(), field, 0..4), btree_map(stamp(), any::<[u8; 16]>().prop_map(Salt), 0..4));
    (names, state, content, merge).prop_map(|(names, state, content, (fields, inputs))| Record {
        key: names.0,
        placement: names.1,
        placement_stamp: names.2,
        facet: names.3.map(|text| text.parse().unwrap()),
        incarnation: Incarnation(names.4),
        version: state.0,
        stamp: state.1,
        author: NodeId(state.2),
        key_id: state.3,
        salt: Salt(state.4),
        content: content.map_or(Content::Deleted, |body| Content::Live(body.into())),
        fields,
        inputs,
    })
}

pub(crate) fn cursor() -> impl Strategy<Value = Cursor> {
    (any::<[u8; 16]>(), any::<[u64; 3]>(), any::<[u8; 32]>()).prop_map(|(log_id, numbers, chain)| Cursor {
        log_id: LogId(log_id),
        commit: CommitNumber(numbers[0]),
        revision: Revision(numbers[1]),
        chain: Digest(chain),
        view_revision: Revision(numbers[2]),
    })
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    let selector = (domain(), option::of(text()), option::of(text())).prop_map(|(domain, kind, facet)| {
        let (kind, facet) = (kind.map(|text| text.parse().unwrap()), facet.map(|text| text.parse().unwrap()));
        Selector { domain, kind, facet }
    });
    btree_set(selector, 0..5).prop_map(|cells| View { cells })
}

pub(crate) fn page() -> impl Strategy<Value = Page> {
    let cut = (cursor(), option::of(view()), option::of(any::<[u8; 32]>()))
        .prop_map(|(cursor, view, digest)| Next::Cut(Cut { cursor, view, digest: digest.map(Digest) }));
    let next = prop_oneof![cut, vec(any::<u8>(), 0..100).prop_map(Next::Resume)];
    let change = (any::<u64>(), record())
        .prop_map(|(revision, record)| Change { revision: Revision(revision), record });
    let departure =
        (any::<u64>(), key()).prop_map(|(revision, key)| Departure { revision: Revision(revision), key });
    (vec(change, 0..4), vec(departure, 0..4), next).prop_map(|(changes, departures, next)| Page {
        changes,
        departures,
        next,
    })
}

pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    let revision = || (1..=u64::MAX).prop_map(Revision);
    prop_oneof![
        revision().prop_map(|revision| Outcome::Applied { revision }),
        revision().prop_map(|revision| Outcome::Merged { revision }),
        revision().prop_map(|revision| Outcome::Conflicted { revision }),
        (prop::sample::select(Reason::ALL), "\\PC{0,600}")
            .prop_map(|(reason, detail)| Outcome::Rejected(Refusal::new(reason, detail))),
        Just(Outcome::Withdrawn),
    ]
}

pub(crate) fn push() -> impl Strategy<Value = Push> {
    let withdraw = (1..=u64::MAX, any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(n, mutation, digest)| {
        PushItem::Withdraw { n, mutation: MutationId(mutation), digest: Digest(digest) }
    });
    let item = prop_oneof![3 => mutation().prop_map(|mutation| PushItem::Mutation(Box::new(mutation))), 1 => withdraw];
    (dot(), any::<u64>(), vec(item, 0..5)).prop_map(|(dot, confirmed_n, items)| Push {
        writer: dot.writer,
        confirmed_n,
        items,
    })
}
