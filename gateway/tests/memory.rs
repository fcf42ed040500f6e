//! How large a hub gets while answers of every sort wait for callers who read none of them. Alone in its process: what is
//! looked at is the memory of all of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "in a test a surprise is a failure, and what was measured is said"
)]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "the modules are those of another binary, which needs more of them"
)]

#[path = "rpc/asks.rs"]
mod asks;
#[path = "rpc/by_hand.rs"]
mod by_hand;
#[path = "rpc/world.rs"]
mod world;

use futures::future::join_all;
use gateway::auth::rights::{Right, TABLE, Wait};
use gateway::rpc::turns::WAITING_OF_CALLER_MAX;
use proto::v1;
use proto::v1::operator_service_client::OperatorServiceClient;
use tokio::sync::Barrier;

use self::asks::{About, ask};
use self::by_hand::{END_STREAM, STREAM, Slow};
use self::world::{Node, World};

/// Those who ask.
const CALLERS: usize = 7;
/// Calls of each: more than may wait for a turn.
const CALLS: u32 = 60;
/// What a record weighs, bytes.
const NOTE_BYTES: usize = 200 * 1024;
/// Revisions of one record, and records beside it: more than a page of either holds.
const NOTES: u64 = 20;
/// Most resident memory that all this may cost, bytes: answers that wait on one port, those that are put together, and
/// what the allocator keeps of those before.
const COSTS_MAX: usize = 192 * 1024 * 1024;

/// A line of this process's status, in bytes.
fn status(line: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = text.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    found.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Has the peak of resident memory begin anew; how much is resident now.
fn forget_peak() -> usize {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS")
}

/// Writes the record of this kind and id, as if nobody had written it before.
async fn write(node: &Node, n: u64, (kind, id): (&str, &str), letter: &str) {
    let body = format!(r#"{{"text":"{}"}}"#, letter.repeat(NOTE_BYTES)).into_bytes();
    let note = node.note(n, id);
    let time = note.time.map(|time| v1::HybridTime { counter: u32::try_from(n).unwrap(), ..time });
    let key = Some(v1::Key { kind: kind.to_owned(), id: id.to_owned() });
    let op = Some(v1::mutation::Op::Put(v1::Put { body }));
    let push = node.push(vec![v1::Mutation { op, time, key, ..note }]);
    let answer = node.sync().push(node.by(push)).await.unwrap().into_inner();
    assert_eq!(answer.outcomes.len(), 1, "{:?}", answer.waits);
}

/// Many revisions of a note and of an identity; many notes that two nodes wrote, and their conflicts.
async fn fill(a: &Node, b: &Node) {
    a.talk().await;
    b.talk().await;
    for n in 1..=NOTES {
        write(a, 3 * n - 2, ("note", "big"), "a").await;
        write(a, 3 * n - 1, ("identity", "big"), "a").await;
        write(a, 3 * n, ("note", &format!("n{n}")), "a").await;
        write(b, n, ("note", &format!("n{n}")), "b").await;
    }
}

/// The id of one of the conflicts.
async fn conflict(world: &World) -> String {
    let request = v1::ListConflictsRequest { tenant: "acme".to_owned(), ..Default::default() };
    let found =
        world.admin().list_conflicts(world.by_operator(request)).await.unwrap().into_inner().conflicts;
    assert!(found.len() >= usize::try_from(NOTES).unwrap(), "{} conflicts", found.len());
    found[0].id.clone()
}

/// The credential of an admin of the tenant.
async fn admin(world: &World, n: usize) -> String {
    let (tenant, role) = ("acme".to_owned(), "admin".to_owned());
    let request = v1::CreateOperatorRequest { tenant, name: format!("ann{n}"), role, ttl_s: None };
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    operators.create_operator(world.by_operator(request)).await.unwrap().into_inner().token
}

/// Waits until every call of everybody is answered. Who has all answers goes on giving signs of life: the hub closes a
/// connection that gives none, and its answers would wait no longer.
async fn answers(slow: &mut Slow, all: &Barrier) {
    while slow.answered.len() < usize::try_from(CALLS).unwrap() {
        slow.hear().await;
    }
    let living = async {
        loop {
            slow.hear().await;
        }
    };
    tokio::select! {
        _ = all.wait() => {}
        _ = living => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_every_sort_that_nobody_reads_leave_the_hub_small() {
    assert!(usize::try_from(CALLS).unwrap() > WAITING_OF_CALLER_MAX);
    let world = World::new().await;
    let (mut nodes, mut admins) = (Vec::new(), Vec::new());
    for n in 0..CALLERS {
        nodes.push(world.node(&format!("node{n}")).await);
        admins.push(admin(&world, n).await);
    }
    fill(&nodes[0], &nodes[1]).await;
    let conflict = conflict(&world).await;
    let before = forget_peak();
    for (path, right, _) in TABLE.iter().filter(|(.., wait)| *wait != Wait::Never) {
        forget_peak();
        let mut connections = Vec::new();
        for (node, admin) in nodes.iter().zip(&admins) {
            let thing = if path.ends_with("Conflict") { &conflict } else { "big" };
            let message = ask(path, About { tenant: "acme", thing, node: &node.id });
            let (token, at) = match right {
                Right::Node => (&node.token, world.running.at.listen),
                _ => (admin, world.running.at.operator_listen),
            };
            let mut slow = Slow::connect(at, 0).await;
            for n in 0..CALLS {
                slow.call_with(STREAM + 2 * n, path, token, &message, END_STREAM).await;
            }
            connections.push(slow);
        }
        let all = Barrier::new(CALLERS);
        join_all(connections.iter_mut().map(|slow| answers(slow, &all))).await;
        let costs = status("VmHWM").saturating_sub(before);
        println!("{path}: {} MiB", costs >> 20);
        assert!(costs <= COSTS_MAX, "{path}: {costs} bytes");
    }
}
