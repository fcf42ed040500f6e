//! Readers who take one byte at a time, or nothing.

use std::time::Duration;

use gateway::rpc::outflow::{ANSWER_BYTES_MIN, Outflow, UNTAKEN_OF_KNOWN_MAX, UNTAKEN_OF_UNKNOWN_MAX};
use gateway::rpc::queue::QUEUE_MESSAGES_MAX;
use prost::Message;
use proto::v1;
use proto::v1::operator_service_client::OperatorServiceClient;
use proto::v1::session_response::Message as Heard;
use semantics::reason::Reason;
use semantics::session::{MESSAGE_BYTES_MAX, PAGE_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::audit::access;
use super::by_hand::{END_STREAM, RST_STREAM, STREAM, Slow, WINDOW_UPDATE};
use super::layers::get;
use super::world::{Node, SOON, World, with_token};

/// Pages that wait to be read: more than the hub may hold for one reader.
const PAGES: usize = 12;
/// Notes in one push; their bodies are about half a page.
const NOTES: usize = 2;

async fn fill(node: &Node) {
    node.talk().await;
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(250 * 1024));
    for page in 0..2 * PAGES {
        let note = |n: usize| {
            let n = page * NOTES + n;
            let put = v1::Put { body: body.clone().into_bytes() };
            let op = Some(v1::mutation::Op::Put(put));
            v1::Mutation { op, ..node.note(u64::try_from(n).unwrap() + 1, &format!("n{n}")) }
        };
        let push = node.push((0..NOTES).map(note).collect());
        let answer = node.sync().push(node.by(push)).await.unwrap().into_inner();
        assert_eq!(answer.outcomes.len(), NOTES, "{:?}", answer.waits);
    }
}

#[tokio::test]
async fn a_client_that_reads_a_byte_at_a_time_holds_a_bounded_queue_and_is_cut() {
    let world = World::cutting_unread_after(1_000).await;
    let (writer, reader) = (world.node("writer").await, world.node("reader").await);
    fill(&writer).await;
    let mut slow = Slow::open(&world, &reader).await;
    slow.hear_to(1).await;
    // By steps: nobody takes a page a byte at a time before the session is over.
    let mut steps = 1;
    while steps < PAGE_BYTES_MAX / 4 && !is_cut(&world).await {
        steps += 1;
        slow.grant(1).await;
        slow.hear_to(steps).await;
    }
    assert_eq!(slow.data.len(), steps, "no byte came that was not asked for");
    let cut = access(&world, "acme", "session_cut").await;
    assert_eq!(cut.len(), 1, "after {steps} bytes it still stands");
    let details: serde_json::Value = serde_json::from_slice(&cut[0].details).unwrap();
    assert_eq!(details["reason"], "DEADLINE_EXCEEDED");
    // Whatever was kept for it comes now, and why the rest does not.
    slow.grant(1 << 30).await;
    slow.hear_to(usize::MAX).await;
    let messages = slow.messages();
    assert!(matches!(messages[0].1, Heard::Welcome(_)));
    let Heard::Goodbye(told) = &messages[messages.len() - 1].1 else { panic!("no goodbye") };
    let told = u16::try_from(told.refusal.as_ref().unwrap().reason).unwrap();
    assert_eq!(Reason::from_number(told), Some(Reason::DeadlineExceeded));
    let pages = &messages[1..messages.len() - 1];
    assert!(
        pages.iter().all(|(bytes, page)| *bytes <= MESSAGE_BYTES_MAX && matches!(page, Heard::Changes(_)))
    );
    // Those that wait, the one that is being written, and the one whose last byte was taken.
    let held = QUEUE_MESSAGES_MAX + 2;
    assert!((1..=held).contains(&pages.len()), "{} pages were kept of {PAGES}", pages.len());
}

/// Whether the hub has ended the slow session.
async fn is_cut(world: &World) -> bool {
    !access(world, "acme", "session_cut").await.is_empty()
}

/// Calls for a page each, more than one caller's share holds.
const CALLS: u32 = 20;

fn listing() -> v1::ListHubRecordsRequest {
    v1::ListHubRecordsRequest { tenant: "acme".to_owned(), page_size: 1_000, ..Default::default() }
}

/// The credential of a viewer.
pub async fn viewer(world: &World) -> String {
    let (tenant, role) = ("acme".to_owned(), "viewer".to_owned());
    let request = v1::CreateOperatorRequest { tenant, name: "ann".to_owned(), role, ttl_s: None };
    let mut operators = OperatorServiceClient::new(world.operators.clone());
    operators.create_operator(world.by_operator(request)).await.unwrap().into_inner().token
}

/// Asks for so many pages and takes of each answer no more than the window.
async fn unread(world: &World, token: &str, window: u32, calls: u32) -> Slow {
    let mut slow = Slow::connect(world.running.at.operator_listen, window).await;
    for n in 0..calls {
        let path = "/hubward.v1.AdminService/ListHubRecords";
        slow.call(STREAM + 2 * n, path, token, &listing(), END_STREAM).await;
    }
    while slow.answered.len() < usize::try_from(calls).unwrap() {
        slow.hear().await;
    }
    slow
}

async fn until_nothing_waits(untaken: &Outflow) {
    let waiting = async {
        while untaken.bytes() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("it is not given back");
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_and_taking_or_dropping_them_gives_the_room_back() {
    let world = World::new().await;
    fill(&world.node("writer").await).await;
    let (token, untaken) = (viewer(&world).await, &world.running.untaken[1]);
    let ask = || async { world.admin().list_hub_records(with_token(listing(), &token)).await };
    let page = ask().await.unwrap().into_inner().encoded_len();
    until_nothing_waits(untaken).await;
    // Nothing, then what the transport already counts as begun.
    for (window, is_dropped) in [(0, false), (1, true)] {
        let mut slow = unread(&world, &token, window, CALLS).await;
        let held = untaken.bytes();
        assert!(held <= UNTAKEN_OF_KNOWN_MAX && held + 2 * page > UNTAKEN_OF_KNOWN_MAX, "{held} bytes wait");
        let refused = ask().await.unwrap_err();
        assert!(proto::reason::retry_after_ms(&refused).is_some());
        assert_eq!(proto::reason::refusal_of(&refused).reason, Reason::Overloaded);
        world.admin().list_hub_records(world.by_operator(listing())).await.expect("others are served");
        if is_dropped {
            drop(slow);
        } else {
            slow.say(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await;
            for n in 0..CALLS / 2 {
                slow.say(WINDOW_UPDATE, 0, STREAM + 2 * n, &(1_u32 << 30).to_be_bytes()).await;
                slow.say(RST_STREAM, 0, STREAM + 2 * (CALLS / 2 + n), &8_u32.to_be_bytes()).await;
            }
            while untaken.bytes() > 0 {
                slow.hear().await;
            }
        }
        until_nothing_waits(untaken).await;
        ask().await.expect("there is room again");
        until_nothing_waits(untaken).await;
    }
    assert_eq!(world.running.untaken[0].bytes(), 0);
}

#[tokio::test]
async fn a_connection_on_which_an_answer_is_not_read_ends_and_nobody_elses() {
    let world = World::cutting_unread_after(1_000).await;
    fill(&world.node("writer").await).await;
    let token = viewer(&world).await;
    let mut slow = unread(&world, &token, 0, 1).await;
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(SOON, slow.tcp.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "it is left open");
    until_nothing_waits(&world.running.untaken[1]).await;
    let counted = || world.running.gate.metrics.text();
    assert!(counted().contains("hubward_connections_closed_total{name=\"unread\"} 1"), "{}", counted());
    // The same operator, on a connection that reads.
    world.admin().list_hub_records(with_token(listing(), &token)).await.expect("others are served");
    assert!(counted().contains("hubward_connections_closed_total{name=\"unread\"} 1"), "{}", counted());
}

/// Probes that ask on one connection.
const PROBES: u32 = 200;

#[tokio::test]
async fn probes_that_nobody_reads_are_bounded_and_get_their_room_back() {
    let world = World::new().await;
    let untaken = &world.running.untaken[1];
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut slow = Slow::connect(world.running.at.operator_listen, 0).await;
        for n in 0..PROBES {
            slow.get(STREAM + 2 * n, "/livez").await;
        }
        while slow.answered.len() < usize::try_from(PROBES).unwrap() {
            slow.hear().await;
        }
        connections.push(slow);
    }
    let held = untaken.bytes();
    assert!(
        held <= UNTAKEN_OF_UNKNOWN_MAX && held + ANSWER_BYTES_MIN > UNTAKEN_OF_UNKNOWN_MAX,
        "{held} bytes wait"
    );
    for path in ["/livez", "/metrics"] {
        let refused = get(&world, path).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{path}: {refused}");
    }
    world.admin().list_hub_records(world.by_operator(listing())).await.expect("operators are served");
    drop(connections);
    until_nothing_waits(untaken).await;
    let served = get(&world, "/livez").await;
    assert!(served.starts_with("HTTP/1.1 200") && served.contains("content-length: 3"), "{served}");
    until_nothing_waits(untaken).await;
}

/// More than the buffers of the system hold for one connection, both ways, bytes.
const PIPELINED_BYTES_MAX: usize = 64 * 1024 * 1024;

#[tokio::test]
async fn who_reads_no_answer_in_http_1_is_not_read_from_either() {
    let world = World::new().await;
    // Without and with a body, which the hub could read to its end although nobody takes the answer.
    for request in [
        "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let mut connections = Vec::new();
        for _ in 0..2 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4_096).unwrap();
            let mut tcp = socket.connect(world.running.at.operator_listen).await.unwrap();
            let (asked, mut said) = (request.repeat(1_000).into_bytes(), 0);
            let stands = Duration::from_millis(250);
            while let Ok(sent) = tokio::time::timeout(stands, tcp.write(&asked[said % asked.len()..])).await {
                // It may be hung up on as well.
                let Ok(sent) = sent else { break };
                said += sent;
                assert!(said < PIPELINED_BYTES_MAX, "it is read from for ever: {request:?}");
            }
            connections.push(tcp);
        }
        let held = world.running.untaken[1].bytes();
        assert!(held <= UNTAKEN_OF_UNKNOWN_MAX, "{held} bytes wait");
        assert!(get(&world, "/livez").await.starts_with("HTTP/1.1 200"));
    }
}
