//! One value of each sort, with every part present.

use std::collections::{BTreeMap, BTreeSet};

use semantics::clock::{HybridTime, Stamp};
use semantics::cursor::{Change, Cursor, Cut, Departure, Next, Page};
use semantics::envelope::{Base, Content, FieldStamp, GroupPlace, Mutation, Op, Placement, Record};
use semantics::ids::*;
use semantics::outcome::{DotOutcome, Outcome, Transient};
use semantics::reason::{Reason, Refusal};
use semantics::recovery::{Recovery, Remnant, RemnantPage};
use semantics::session::*;
use semantics::version::Version;
use semantics::view::{Selector, View};

pub(crate) fn writer() -> Writer {
    Writer { node: NodeId([7; 16]), epoch: 3 }
}

pub(crate) fn dot(n: u64) -> Dot {
    Dot { writer: writer(), n }
}

pub(crate) fn stamp(n: u64) -> Stamp {
    Stamp { time: HybridTime { ms: 1_700_000_000_000 + n, counter: 2 }, dot: dot(n) }
}

pub(crate) fn key() -> Key {
    Key { kind: Kind::new("entity").unwrap(), id: RecordId::new("Ω/1\u{0}").unwrap() }
}

pub(crate) fn placement() -> Placement {
    Placement { domain: Domain::new("kitchen").unwrap(), subject: Some(Subject::new("alice").unwrap()) }
}

pub(crate) fn put() -> Mutation {
    Mutation {
        id: MutationId([1; 16]),
        dot: dot(9),
        group: Some(GroupPlace { id: GroupId([2; 16]), index: 1, size: 2 }),
        key: key(),
        op: Op::Put { body: br#"{"a":1}"#.to_vec().into() },
        placement: Some(placement()),
        incarnation: Incarnation(4),
        base: Base { version: Version::of(dot(8)), revision: Revision(77), own: Some(dot(8)) },
        time: HybridTime { ms: 1_700_000_000_123, counter: 5 },
        written_ms: 1_699_999_999_999,
        author: NodeId([7; 16]),
        key_id: 6,
        salt: Salt([3; 16]),
        signature: Some(vec![9; 64]),
    }
}

pub(crate) fn patch() -> Mutation {
    let op = Op::Patch { set: br#"{"b":2}"#.to_vec().into(), remove: vec!["a".to_owned(), "c".to_owned()] };
    Mutation { op, group: None, placement: None, signature: None, ..put() }
}

/// Everything that may be left out is left out.
pub(crate) fn delete() -> Mutation {
    let (base, incarnation) = (Base::default(), Incarnation::ZERO);
    Mutation { op: Op::Delete, base, incarnation, written_ms: 0, key_id: 0, ..patch() }
}

pub(crate) fn record() -> Record {
    let field = |n, removed| FieldStamp { stamp: stamp(n), removed };
    Record {
        key: key(),
        placement: placement(),
        placement_stamp: stamp(1),
        facet: Some(Facet::new("soup").unwrap()),
        incarnation: Incarnation(1),
        version: Version::of(dot(9)),
        stamp: stamp(9),
        author: NodeId([7; 16]),
        key_id: 0,
        salt: Salt([4; 16]),
        content: Content::Live(b"{}".to_vec().into()),
        fields: BTreeMap::from([("a".to_owned(), field(8, true)), ("b".to_owned(), field(9, false))]),
        inputs: BTreeMap::from([(stamp(8), Salt([5; 16])), (stamp(9), Salt([6; 16]))]),
    }
}

pub(crate) fn tombstone() -> Record {
    let (fields, inputs) = (BTreeMap::new(), BTreeMap::new());
    Record { content: Content::Deleted, facet: None, fields, inputs, ..record() }
}

pub(crate) fn cursor() -> Cursor {
    Cursor {
        log_id: LogId([8; 16]),
        commit: CommitNumber(40),
        revision: Revision(90),
        chain: Digest([9; 32]),
        view_revision: Revision(3),
    }
}

pub(crate) fn view() -> View {
    let domain = Domain::default_domain();
    let all = Selector { domain: domain.clone(), kind: None, facet: None };
    let kind = Some(Kind::new("entity").unwrap());
    let one = Selector { domain, kind, facet: Some(Facet::new("soup").unwrap()) };
    View { cells: BTreeSet::from([all, one]) }
}

pub(crate) fn cut() -> Cut {
    Cut { cursor: cursor(), view: Some(view()), digest: Some(Digest([1; 32])) }
}

pub(crate) fn page() -> Page {
    Page {
        changes: vec![
            Change { revision: Revision(89), record: record() },
            Change { revision: Revision(90), record: tombstone() },
        ],
        departures: vec![Departure { revision: Revision(88), key: key() }],
        next: Next::Cut(cut()),
    }
}

pub(crate) fn open_page() -> Page {
    Page { changes: Vec::new(), departures: Vec::new(), next: Next::Resume(vec![1, 2, 3]) }
}

pub(crate) fn refusal() -> Refusal {
    Refusal::new(Reason::SchemaViolation, "/servings is not a number")
}

pub(crate) fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Applied { revision: Revision(88) },
        Outcome::Merged { revision: Revision(89) },
        Outcome::Conflicted { revision: Revision(90) },
        Outcome::Rejected(refusal()),
        Outcome::Withdrawn,
    ]
}

pub(crate) fn dot_outcome() -> DotOutcome {
    let outcome = Outcome::Rejected(refusal());
    DotOutcome { dot: dot(9), mutation: MutationId([1; 16]), digest: Digest([2; 32]), outcome }
}

pub(crate) fn hello() -> Hello {
    let last_digest = Some(Digest([2; 32]));
    Hello {
        protocol: PROTOCOL_VERSION,
        stream: Some(StreamState { epoch: 3, last_n: 9, last_digest, answered_n: 7 }),
        cursor: Some(cursor()),
        resume: Some(vec![1, 2, 3]),
        credit_bytes: 1_000_000,
        about: About::default(),
        lineage: Vec::new(),
    }
}

/// One that tells which logs its log went on from.
pub(crate) fn returning_hello() -> Hello {
    let before = |n: u8| Recovery {
        predecessor: LogId([n; 16]),
        commit: CommitNumber(n.into()),
        revision: Revision(n.into()),
    };
    Hello { lineage: vec![before(9), before(4)], ..hello() }
}

/// One that tells who says it.
pub(crate) fn named_hello() -> Hello {
    Hello {
        about: About { software: Some("spoke 0.1.0".to_owned()), time_ms: Some(1_700_000_000_123) },
        ..hello()
    }
}

/// An empty replica's.
pub(crate) fn first_hello() -> Hello {
    Hello { stream: None, cursor: None, resume: None, ..hello() }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        protocol: PROTOCOL_VERSION,
        log_id: LogId([8; 16]),
        writer: writer(),
        last_n: 9,
        hub_time_ms: 1_700_000_000_000,
        limits: Limits {
            body_bytes_max: 1,
            message_bytes_max: 2,
            push_bytes_max: 3,
            unanswered_max: 4,
            group_mutations_max: 5,
            group_bytes_max: 6,
            clock_ahead_ms_max: 7,
        },
        backup_watermark: Some(Revision(80)),
        recovery: None,
        origin: None,
    }
}

/// Of a log that went on from a backup.
pub(crate) fn restored_welcome() -> Welcome {
    Welcome { origin: recovering_welcome().recovery, ..welcome() }
}

/// To a spoke of the log before.
pub(crate) fn recovering_welcome() -> Welcome {
    let recovery = Recovery { predecessor: LogId([7; 16]), commit: CommitNumber(30), revision: Revision(78) };
    Welcome { recovery: Some(recovery), ..welcome() }
}

pub(crate) fn remnants() -> RemnantPage {
    let remnant = |deleted: bool| Remnant {
        key: record().key,
        revision: Revision(79),
        digest: Digest([9; 32]),
        deleted,
        version: record().version,
    };
    let remnants = vec![remnant(false), remnant(true)];
    RemnantPage { predecessor: LogId([7; 16]), page: 3, remnants, is_last: true }
}

pub(crate) fn push() -> Push {
    let withdraw = PushItem::Withdraw { n: 11, mutation: MutationId([1; 16]), digest: Digest([2; 32]) };
    let mutations = [put(), patch(), delete()].map(|mutation| PushItem::Mutation(Box::new(mutation)));
    Push { writer: writer(), confirmed_n: 8, items: mutations.into_iter().chain([withdraw]).collect() }
}

pub(crate) fn results() -> Results {
    let outcomes = outcomes().into_iter().map(Some).chain([None]).zip(5..);
    let waits = Transient {
        n: 11,
        reason: Reason::QuotaExceeded,
        detail: "for a minute".to_owned(),
        retry_after_ms: 60_000,
    };
    Results {
        writer: writer(),
        outcomes: outcomes.map(|(outcome, n)| DotResult { n, outcome }).collect(),
        waits: Some(waits),
    }
}

pub(crate) fn reconcile() -> Reconcile {
    Reconcile { cursor: Some(cursor()), after: CommitNumber(12), left: None }
}

pub(crate) fn adopting() -> Reconcile {
    Reconcile {
        cursor: None,
        after: CommitNumber(12),
        left: Some(Left { log_id: cursor().log_id, epoch: None }),
    }
}

pub(crate) fn leaving_an_epoch() -> Reconcile {
    Reconcile { left: Some(Left { log_id: cursor().log_id, epoch: Some(3) }), ..adopting() }
}

pub(crate) fn reconciliation() -> Reconciliation {
    Reconciliation { outcomes: vec![dot_outcome()], next: Some(CommitNumber(20)), epoch: None, told_to: None }
}

pub(crate) fn last_reconciliation() -> Reconciliation {
    Reconciliation { outcomes: Vec::new(), next: None, epoch: Some(4), told_to: None }
}

pub(crate) fn client_messages() -> Vec<(&'static str, ClientMessage)> {
    vec![
        ("hello", ClientMessage::Hello(hello())),
        ("hello_first", ClientMessage::Hello(first_hello())),
        ("push", ClientMessage::Push(push())),
        ("credit", ClientMessage::Credit { bytes: 65_536 }),
        ("ack", ClientMessage::Ack { cursor: cursor(), answered_n: None, summed: None }),
        ("ack_answered", ClientMessage::Ack { cursor: cursor(), answered_n: Some(7), summed: None }),
        ("hello_named", ClientMessage::Hello(named_hello())),
        ("hello_returning", ClientMessage::Hello(returning_hello())),
        ("ping", ClientMessage::Ping { nonce: 5, time_ms: None }),
        ("ping_timed", ClientMessage::Ping { nonce: 5, time_ms: Some(1_700_000_000_123) }),
        ("remnants", ClientMessage::Remnants(remnants())),
    ]
}

pub(crate) fn server_messages() -> Vec<(&'static str, ServerMessage)> {
    vec![
        ("welcome", ServerMessage::Welcome(welcome())),
        ("results", ServerMessage::Results(results())),
        ("changes", ServerMessage::Changes(page())),
        ("changes_open", ServerMessage::Changes(open_page())),
        ("pong", ServerMessage::Pong { nonce: 5, hub_time_ms: 1_700_000_000_000, backup_watermark: None }),
        (
            "pong_backed_up",
            ServerMessage::Pong {
                nonce: 5,
                hub_time_ms: 1_700_000_000_000,
                backup_watermark: Some(Revision(80)),
            },
        ),
        ("welcome_recovering", ServerMessage::Welcome(recovering_welcome())),
        ("welcome_restored", ServerMessage::Welcome(restored_welcome())),
        ("remnants_taken", ServerMessage::RemnantsTaken { page: 3 }),
        ("goodbye", ServerMessage::Goodbye(refusal())),
    ]
}
