//! The rules alone, in this process and on one thread: what a mutation costs before anything is stored or sent.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey};
use semantics::canonical::{parse_object, to_canonical};
use semantics::clock::HybridTime;
use semantics::decide::{Context, Decision, Parsed, decide, parse};
use semantics::digest::{mutation_digest, record_digest};
use semantics::envelope::{Base, KEY_ID_CLEAR, Mutation, Op, Placement, Record};
use semantics::ids::{
    Domain, Dot, Incarnation, Key, Kind, MutationId, NodeId, RecordId, Revision, Salt, Writer,
};
use semantics::join::join_records;
use semantics::kind::Rule;
use semantics::lthash::LtHash;
use semantics::merge::{self, Prefer};
use semantics::version::Version;
use semantics::{builtin, kind};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::figures::Figures;
use super::ground::Settings;
use super::scenario::Scenario;
use super::stream::{BODY_BYTES, body, text};
use crate::sim::rng::Rng;

const OURS: &str = "semantics";
const NS: &str = "ns/op";
/// Between two looks at the clock.
const AT_ONCE: u32 = 64;

/// Calls it for so long, again and again.
fn looped<T>(warm_up: Duration, measure: Duration, mut op: impl FnMut() -> T) -> Figures {
    let mut of = |time: Duration| {
        let (begin, mut ops) = (Instant::now(), 0_u32);
        while begin.elapsed() < time {
            for _ in 0..AT_ONCE {
                drop(black_box(op()));
            }
            ops += AT_ONCE;
        }
        (begin.elapsed(), f64::from(ops))
    };
    of(warm_up);
    let (took, ops) = of(measure);
    Figures::default().with(NS, took.as_secs_f64() * 1e9 / ops).with("ops/s", ops / took.as_secs_f64())
}

fn writer(name: u8) -> Writer {
    Writer { node: NodeId([name; 16]), epoch: 1 }
}

/// A put of a kind on what its author saw.
fn put(kind: &str, (by, n): (u8, u64), body: Vec<u8>, seen: Option<&Record>) -> Parsed {
    let version = seen.map_or_else(Version::default, |record| record.version.clone());
    let base = Base { version, revision: Revision(u64::from(seen.is_some())), own: None };
    let mut id = [by; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    let mutation = Mutation {
        id: MutationId(id),
        dot: Dot { writer: writer(by), n },
        group: None,
        key: Key { kind: Kind::new(kind).expect("a kind"), id: RecordId::new("one").expect("an id") },
        op: Op::Put { body: body.into() },
        placement: None,
        incarnation: Incarnation::ZERO,
        base,
        time: HybridTime { ms: 1_000_000 + 10 * u64::from(by) + n, counter: 0 },
        written_ms: 1_000_000,
        author: NodeId([by; 16]),
        key_id: KEY_ID_CLEAR,
        salt: Salt(id),
        signature: None,
    };
    parse(mutation).unwrap_or_else(|e| panic!("{e}"))
}

fn rule(kind: &str) -> Rule {
    let kind = Kind::new(kind).expect("a kind");
    builtin::builtin(&kind).expect("a built-in kind").rule(Revision::ZERO)
}

fn context() -> Context {
    Context {
        revision: Some(Revision(7)),
        ..Context::new(Placement { domain: Domain::default_domain(), subject: None })
    }
}

fn decided(current: Option<&Record>, parsed: &Parsed, kind: &str) -> Record {
    match decide(current, parsed, &rule(kind), &context()) {
        Decision::Rejected(refusal) => panic!("{kind}: {refusal}"),
        taken => taken.record().cloned().expect("it took effect"),
    }
}

fn json_body(n: u64) -> Vec<u8> {
    body(n, &text(&mut Rng::new(n), BODY_BYTES))
}

fn object(n: u64) -> Map<String, Value> {
    parse_object(&json_body(n)).unwrap_or_else(|e| panic!("{e}"))
}

/// A document of some fields, of which side `of` has changed one.
fn document(of: Option<usize>) -> Map<String, Value> {
    let field = |n: usize| {
        let text = if of == Some(n) { "changed" } else { "as it was, and a few words more" };
        (format!("field-{n}"), json!({"text": text, "n": n}))
    };
    (0..12).map(field).collect()
}

/// A decision about a second write of a record: on what stands, or beside it.
fn deciding(kind: &'static str, is_beside: bool, warm_up: Duration, measure: Duration) -> Figures {
    let first = decided(None, &put(kind, (1, 1), json_body(1), None), kind);
    let second = decided(Some(&first), &put(kind, (1, 2), json_body(2), Some(&first)), kind);
    let parsed = put(kind, (2, 1), json_body(3), Some(if is_beside { &first } else { &second }));
    let (rule, mut context) = (rule(kind), context());
    if rule.policy == kind::Policy::ThreeWay {
        context.ancestor = first.body().map(<[u8]>::to_vec);
    }
    looped(warm_up, measure, || decide(Some(&second), &parsed, &rule, &context))
}

fn joining(warm_up: Duration, measure: Duration) -> Figures {
    const KIND: &str = "entity";
    let first = decided(None, &put(KIND, (1, 1), json_body(1), None), KIND);
    let [a, b] = [1, 2]
        .map(|by| decided(Some(&first), &put(KIND, (by, 2), json_body(u64::from(by)), Some(&first)), KIND));
    let rule = rule(KIND);
    looped(warm_up, measure, || join_records(&a, &b, &rule))
}

fn merging(warm_up: Duration, measure: Duration) -> Figures {
    let [base, first, second] = [None, Some(2), Some(7)].map(document);
    looped(warm_up, measure, || merge::objects(Some(&base), &first, &second, Prefer::First))
}

fn verifying(warm_up: Duration, measure: Duration) -> Figures {
    let key = SigningKey::from_bytes(&[7; 32]);
    let signature = key.sign(&[9; 32]);
    let public = key.verifying_key();
    looped(warm_up, measure, || public.verify_strict(&[9; 32], &signature).is_ok())
}

type Measured = fn(Duration, Duration) -> Figures;

/// Case, whose code, and the measurement.
const CASES: [(&str, &str, Measured); 17] = [
    ("parse 512 bytes strictly", OURS, |w, m| {
        let body = json_body(1);
        looped(w, m, || parse_object(&body))
    }),
    ("parse 512 bytes strictly", "serde_json, not strict", |w, m| {
        let body = json_body(1);
        looped(w, m, || serde_json::from_slice::<Map<String, Value>>(&body))
    }),
    ("canonical JSON of 512 bytes", OURS, |w, m| {
        let value = Value::Object(object(1));
        looped(w, m, || to_canonical(&value))
    }),
    ("canonical JSON of 512 bytes", "serde_json, as it comes", |w, m| {
        let value = Value::Object(object(1));
        looped(w, m, || serde_json::to_vec(&value))
    }),
    ("digest of a mutation", OURS, |w, m| {
        let parsed = put("note", (1, 1), json_body(1), None);
        looped(w, m, || mutation_digest(&parsed.mutation))
    }),
    ("digest of a mutation", "SHA-256 of its body", |w, m| {
        let body = json_body(1);
        looped(w, m, || Sha256::digest(&body))
    }),
    ("digest of a record", OURS, |w, m| {
        let record = decided(None, &put("note", (1, 1), json_body(1), None), "note");
        looped(w, m, || record_digest(&record))
    }),
    ("sum of a cell: one record moves", OURS, |w, m| {
        let record = decided(None, &put("note", (1, 1), json_body(1), None), "note");
        let (digest, mut sum) = (record_digest(&record), LtHash::empty());
        sum.add(&digest);
        looped(w, m, move || {
            sum.remove(&digest);
            sum.add(&digest);
        })
    }),
    ("decide: a new record", OURS, |w, m| {
        let (parsed, rule, context) = (put("note", (1, 1), json_body(1), None), rule("note"), context());
        looped(w, m, || decide(None, &parsed, &rule, &context))
    }),
    ("decide: last writer, on what stands", OURS, |w, m| deciding("note", false, w, m)),
    ("decide: last writer, a conflict", OURS, |w, m| deciding("note", true, w, m)),
    ("decide: fields, on what stands", OURS, |w, m| deciding("entity", false, w, m)),
    ("decide: fields, a conflict", OURS, |w, m| deciding("entity", true, w, m)),
    ("decide: three ways, a conflict", OURS, |w, m| deciding("knowledge", true, w, m)),
    ("join of two states by fields", OURS, joining),
    ("three-way merge of 12 fields", OURS, merging),
    ("check an Ed25519 signature", "ed25519-dalek", verifying),
];

pub(crate) fn scenario(settings: &Settings) -> Scenario {
    let mut scenario = Scenario::new(
        "rules",
        "The pure rules of the crate `semantics`, one thread, one call after the other, bodies of 512 bytes: what is done for \
         every mutation, on the hub once and on each spoke again. Beside some of them what a library does that promises \
         less. No signature of an author is checked by the hub; what one would cost stands here (one for each signed \
         batch).",
    );
    // Microseconds need no seconds.
    let times = settings.times;
    let (warm_up, measure) = (times.warm_up / 10, times.measure / 5);
    for (case, system, measured) in CASES {
        scenario.add(case, system, move |_| async move {
            tokio::task::block_in_place(|| Some(measured(warm_up, measure)))
        });
        if system != OURS && case != "check an Ed25519 signature" {
            scenario.compare(case, NS, OURS, system, None);
        }
    }
    scenario
}
