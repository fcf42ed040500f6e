//! Work that takes long and waits for nothing: it must not hold up the thread on which other tenants are served.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use semantics::ids::Key;
use semantics::kind::Declaration;
use semantics::reason::Refusal;
use semantics::resolution::Wanted;
use semantics::schema::{self, CompiledSchema};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::known::Known;
use super::work::{Act, Item, Work};

/// Past so many looks of schemas at values a commit is planned beside the threads that serve: about a millisecond.
const LOOKS_BESIDE: u64 = 64 * 1024;
/// What taking a mutation into a commit costs beside its schema, in looks.
const LOOKS_PER_MUTATION: u64 = 256;

/// Does it, in the same place of the order. What is heavy runs while another thread takes over what this one served. A
/// runtime of one thread has no other, and whoever replays its order (the simulator) must not get one: there it is done
/// as it comes.
pub(super) fn run<T>(is_heavy: bool, work: impl FnOnce() -> T) -> T {
    let has_threads =
        || Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_heavy && has_threads() { tokio::task::block_in_place(work) } else { work() }
}

/// Compiles the schema of a declaration. Patterns make that dear.
pub(super) fn compile(declaration: &Declaration) -> Result<CompiledSchema, Refusal> {
    run(schema::patterns(&declaration.schema) > 0, || CompiledSchema::compile(&declaration.schema))
}

/// Checks a declaration, which compiles its schema.
pub(super) fn check(declaration: &Declaration) -> Result<(), Refusal> {
    run(schema::patterns(&declaration.schema) > 0, || declaration.check())
}

/// Whether planning these works, and checking what they make by the schemas of their kinds, may take long. What is not read yet counts for
/// nothing: the plan ends there and is made again when it is.
pub(super) fn is_heavy<W: Borrow<Work>>(known: &Known, works: &[W]) -> bool {
    looks(known, works) > LOOKS_BESIDE
}

fn looks<W: Borrow<Work>>(known: &Known, works: &[W]) -> u64 {
    let mut records = Records { known, bytes: BTreeMap::new(), looks: 0 };
    for work in works {
        match work.borrow() {
            Work::Push(push) => {
                let mutations = push.items.iter().filter_map(|item| match item {
                    Item::Mutation { parsed, .. } => Some(&parsed.mutation),
                    Item::Refused { .. } | Item::Withdraw { .. } => None,
                });
                mutations.for_each(|mutation| records.change(&mutation.key, mutation.op.bytes()));
            }
            Work::Settle(settle) => records.change(&settle.subject, bytes_of(&settle.act)),
            Work::Control(_)
            | Work::OpenEpoch(_)
            | Work::ReopenEpoch { .. }
            | Work::CloseEpochs(_)
            | Work::Confirm(_)
            | Work::MoveHorizon(_) => {}
        }
    }
    records.looks
}

fn bytes_of(act: &Act) -> usize {
    let (Act::Resolve { wanted, .. } | Act::Undo { wanted }) = act;
    match wanted {
        Wanted::Standing | Wanted::Nothing => 0,
        Wanted::Value(value) => value.to_string().len(),
        Wanted::Sealed { body, .. } => body.len(),
    }
}

/// The records that a commit changes, as large as they may become in it.
struct Records<'a> {
    known: &'a Known,
    bytes: BTreeMap<&'a Key, usize>,
    looks: u64,
}

impl<'a> Records<'a> {
    /// What is checked is the whole record, of which a change may be a small part: as it stands, with what the changes
    /// before this one in the same commit brought.
    fn change(&mut self, key: &'a Key, brings: usize) {
        self.looks = self.looks.saturating_add(LOOKS_PER_MUTATION);
        let Some(kind) = self.known.kind(&key.kind).filter(|kind| kind.looks(1) > 0) else { return };
        let standing =
            || self.known.current(key).and_then(|current| current.record.body()).map_or(0, <[u8]>::len);
        let bytes = self.bytes.entry(key).or_insert_with(standing);
        *bytes = bytes.saturating_add(brings);
        let looks = kind.looks(u64::try_from(*bytes).unwrap_or(u64::MAX));
        self.looks = self.looks.saturating_add(looks);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use semantics::clock::HybridTime;
    use semantics::commit::Head;
    use semantics::decide;
    use semantics::envelope::{Base, KEY_ID_CLEAR, Mutation, Op};
    use semantics::ids::{
        Digest, Dot, Incarnation, Kind, LogId, MutationId, NodeId, RecordId, Revision, Salt, Writer,
    };
    use serde_json::{Value, json};

    use super::super::work::{PushWork, SettleWork, Settler};
    use super::*;

    /// Longest wait for a task that has nothing in its way.
    const WITHIN: Duration = Duration::from_secs(20);

    /// Whether another task of a runtime with one worker gets on while the work is done.
    fn others_get_on(is_heavy: bool) -> bool {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (told, heard) = mpsc::sync_channel(1);
        let (begun, begins) = mpsc::sync_channel(1);
        let long = runtime.spawn(async move {
            run(is_heavy, || {
                begun.send(()).unwrap();
                heard.recv_timeout(if is_heavy { WITHIN } else { Duration::from_millis(100) }).is_ok()
            })
        });
        begins.recv_timeout(WITHIN).unwrap();
        runtime.spawn(async move {
            let _ = told.send(());
        });
        runtime.block_on(long).unwrap()
    }

    #[test]
    fn heavy_work_does_not_hold_up_the_other_tasks_of_its_thread() {
        assert!(others_get_on(true));
        assert!(!others_get_on(false), "what is light is done on the spot");
    }

    #[test]
    fn on_a_runtime_of_one_thread_it_is_done_as_it_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(async { run(true, || 7) }), 7);
        assert_eq!(run(true, || 7), 7, "and outside of any");
    }

    /// How many threads a runtime with one worker has needed for this.
    fn threads(work: impl FnOnce() + Send + 'static) -> usize {
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let on_start = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let runtime = runtime.worker_threads(1).on_thread_start(on_start).build().unwrap();
        runtime.block_on(runtime.spawn(async { work() })).unwrap();
        // Waits for all of them.
        drop(runtime);
        started.load(Ordering::SeqCst)
    }

    fn declared(schema: Value) -> Declaration {
        serde_json::from_value(json!({"name": "recipe", "policy": "fields", "schema": schema})).unwrap()
    }

    #[test]
    fn patterns_are_compiled_while_another_thread_serves() {
        let dear = declared(json!({"properties": {"a": {"pattern": "^x*$"}}}));
        let (compiled, checked) = (dear.clone(), dear);
        assert_eq!(threads(move || assert!(compile(&compiled).is_ok())), 2);
        assert_eq!(threads(move || assert!(check(&checked).is_ok())), 2);
        let cheap = declared(json!({"type": "object"}));
        assert_eq!(threads(move || assert!(compile(&cheap).is_ok())), 1, "what is cheap stays where it is");
    }

    /// Of a kind whose schema looks once at each value.
    fn moment(id: &str) -> Key {
        Key { kind: Kind::new("moment").unwrap(), id: RecordId::new(id).unwrap() }
    }

    fn item(key: Key, op: Op) -> Item {
        let node = NodeId([1; 16]);
        let mutation = Mutation {
            id: MutationId([1; 16]),
            dot: Dot { writer: Writer { node, epoch: 1 }, n: 1 },
            group: None,
            key,
            op,
            placement: None,
            incarnation: Incarnation::ZERO,
            base: Base::default(),
            time: HybridTime::default(),
            written_ms: 0,
            author: node,
            key_id: KEY_ID_CLEAR,
            salt: Salt([0; 16]),
            signature: None,
        };
        Item::Mutation { parsed: Box::new(decide::parse(mutation).unwrap()), digest: Digest([0; 32]) }
    }

    fn push(items: Vec<Item>) -> Work {
        Work::Push(PushWork {
            writer: Writer { node: NodeId([1; 16]), epoch: 1 },
            confirmed_n: 0,
            away: None,
            items,
        })
    }

    fn put(key: Key) -> Item {
        let body = serde_json::to_vec(&json!({"text": "x".repeat(2_000)})).unwrap();
        item(key, Op::Put { body: body.into() })
    }

    fn patch(key: Key) -> Item {
        item(key, Op::Patch { set: br#"{"a":1}"#.to_vec().into(), remove: Vec::new() })
    }

    fn settle(subject: Key, text: &str) -> Work {
        Work::Settle(Box::new(SettleWork {
            conflict: RecordId::new("c").unwrap(),
            subject,
            expected: Revision(1),
            over: None,
            act: Act::Undo { wanted: Wanted::Value(json!(text)) },
            by: Settler {
                author: NodeId([1; 16]),
                name: String::new(),
                is_node: false,
                reason: String::new(),
                binds: false,
            },
            precedent: None,
            mutation: MutationId([2; 16]),
            salt: Salt([0; 16]),
        }))
    }

    #[test]
    fn what_a_record_gains_within_a_commit_counts_for_each_later_change_of_it() {
        let known = Known::at(Head::empty(LogId([0; 16])));
        let patches = |key: &str| (0..40).map(|_| patch(moment(key))).collect::<Vec<Item>>();
        let of = |first: &str, then: &str| push([vec![put(moment(first))], patches(then)].concat());
        assert!(!is_heavy(&known, &[of("a", "b")]), "small changes of another record");
        assert!(is_heavy(&known, &[of("a", "a")]), "each checks the whole record");
        let apart = [push(vec![put(moment("a"))]), push(patches("a"))];
        assert!(is_heavy(&known, &apart), "also in different pushes");
    }

    #[test]
    fn settling_a_conflict_counts_what_is_to_stand() {
        let known = Known::at(Head::empty(LogId([0; 16])));
        assert!(is_heavy(&known, &[settle(moment("a"), &"x".repeat(70_000))]));
        assert!(!is_heavy(&known, &[settle(moment("a"), "x")]));
        let settles = (0..40).map(|_| settle(moment("a"), "x"));
        let after = [push(vec![put(moment("a"))])].into_iter().chain(settles).collect::<Vec<Work>>();
        assert!(is_heavy(&known, &after), "and the record it stands in");
    }
}
