//! Who is there, how they are, and what they can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway::ambient::Clock as _;
use gateway::hub::control::plain_node;
use gateway::hub::known::NodeBody;
use gateway::hub::registry::TypeSet;
use gateway::hub::session::Session;
use gateway::hub::{Hub, Retention};
use gateway::store::Space;
use semantics::health::{HEARTBEAT_MS, Health, OFFLINE_MS, SEEN_WRITE_MS, SUSPECT_MS};
use semantics::ids::{Domain, Key, Kind, NodeId, RecordId, Revision};
use semantics::kind;
use semantics::node::NodeType;
use semantics::reason::Reason;
use semantics::session::{About, ClientMessage, Hello, PROTOCOL_VERSION};
use semantics::view::View;

use crate::support::author::Author;
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::note;
use crate::support::world::{Settings, World};

fn about(world: &World, ahead_ms: u64) -> About {
    About { software: Some("spoke 9".to_owned()), time_ms: Some(world.clock.now_ms() + ahead_ms) }
}

async fn session(world: &World, hub: &Arc<Hub>, author: &Author) -> Session {
    let hello = Hello { about: about(world, 70), ..author.hello(None) };
    Session::open(hub, author.who.clone(), &hello).await.unwrap().0
}

async fn ping(world: &World, session: &mut Session, ahead_ms: u64) {
    let time_ms = Some(world.clock.now_ms() + ahead_ms);
    session.on(ClientMessage::Ping { nonce: 1, time_ms }).await.unwrap().unwrap();
}

/// How often what is known of a writer was written down.
async fn writes(world: &World, author: &Author) -> u64 {
    let key = [author.who.node.as_bytes(), author.writer.epoch.to_be_bytes().as_slice()].concat();
    world.store.plain_get(&world.tenant, Space::Ack, &key).await.unwrap().unwrap().version
}

pub async fn signs_of_life_are_told_at_once_and_written_down_rarely(engine: &Engine) {
    let world = World::new(engine).await;
    let author = world.author("a", "default").await;
    let mut live = session(&world, &world.hub, &author).await;
    let (before, rounds) = (writes(&world, &author).await, 20);
    for _ in 0..rounds {
        world.clock.advance(HEARTBEAT_MS);
        ping(&world, &mut live, 0).await;
        let now_ms = world.clock.now_ms();
        let (seen, is_here) = world.hub.heard(&author.who, author.writer).await.unwrap();
        assert_eq!((seen.unwrap().seen_ms, is_here), (now_ms, true));
        let stored = world.hub.seen(&author.who, author.writer).await.unwrap().unwrap();
        assert!(now_ms - stored.seen_ms <= SEEN_WRITE_MS, "another gateway would know that much");
    }
    let written = writes(&world, &author).await - before;
    assert!((1..=rounds * HEARTBEAT_MS / SEEN_WRITE_MS).contains(&written), "{written}");
    // What was heard since the last write is written when the session ends.
    world.clock.advance(HEARTBEAT_MS / 3);
    ping(&world, &mut live, 0).await;
    live.flush_seen().await.unwrap();
    drop(live);
    let (seen, is_here) = world.another_hub().heard(&author.who, author.writer).await.unwrap();
    assert_eq!((seen.unwrap().seen_ms, is_here), (world.clock.now_ms(), false));
}

pub async fn what_a_spoke_tells_of_itself_is_known_on_every_gateway(engine: &Engine) {
    let world = World::new(engine).await;
    let hub = world.hub_named("west");
    let mut author = world.author("a", "default").await;
    let mut live = session(&world, &hub, &author).await;
    let told = |seen: Option<gateway::hub::presence::Seen>| seen.unwrap().told;
    let first = told(world.hub.seen(&author.who, author.writer).await.unwrap());
    assert_eq!((first.software.as_deref(), first.gateway.as_deref()), (Some("spoke 9"), Some("west")));
    assert_eq!((first.protocol, first.clock_offset_ms), (Some(PROTOCOL_VERSION), Some(70)));
    ping(&world, &mut live, 2_000).await;
    let (here, _) = hub.heard(&author.who, author.writer).await.unwrap();
    assert_eq!(told(here).clock_offset_ms, Some(2_000));
    // An acknowledgement is told at once too, and never goes back.
    author.put(&note("x"), "{}").await;
    let mut reader = Reader::of(&author);
    reader.listen(&mut live).await.unwrap();
    let cursor = reader.cursor.unwrap();
    live.on(ClientMessage::Ack { cursor, answered_n: None, summed: None }).await.unwrap();
    let (here, _) = hub.heard(&author.who, author.writer).await.unwrap();
    assert_eq!(here.unwrap().cursor, Some(cursor));
    live.flush_seen().await.unwrap();
    world.hub.note_seen(&author.who, author.writer, None).await.unwrap();
    let stored = world.hub.seen(&author.who, author.writer).await.unwrap().unwrap();
    assert_eq!((stored.cursor, stored.told.clock_offset_ms), (Some(cursor), Some(2_000)));
}

pub async fn a_session_that_only_pings_keeps_its_epoch(engine: &Engine) {
    let retention = Retention { expiry_ms: 4 * HEARTBEAT_MS, ..Retention::default() };
    let world = World::with(engine, Settings { retention, ..Settings::default() }).await;
    let (alive, silent) = (world.author("a", "default").await, world.author("b", "default").await);
    let mut live = session(&world, &world.hub, &alive).await;
    for _ in 0..10 {
        world.clock.advance(HEARTBEAT_MS);
        ping(&world, &mut live, 0).await;
    }
    world.hub.maintain(&world.tenant).await.unwrap();
    let closed = |author: &Author| {
        let (store, who) = (Arc::clone(&world.store), author.who.clone());
        async move { store.writers(&who.tenant, Some(who.node), None, 10).await.unwrap()[0].closed }
    };
    assert!(!closed(&alive).await, "it was heard all the time");
    assert!(closed(&silent).await);
}

pub async fn a_heartbeat_outside_of_a_session_is_written_down_rarely(engine: &Engine) {
    let world = World::new(engine).await;
    let author = world.author("a", "default").await;
    let before = writes(&world, &author).await;
    for _ in 0..100 {
        world.clock.advance(SEEN_WRITE_MS / 100);
        world.hub.note_beat(&author.who, author.writer, &about(&world, 0)).await.unwrap();
    }
    assert_eq!(writes(&world, &author).await - before, 1);
    // A clock that was set back does not silence it.
    world.clock.set(world.clock.now_ms() - 3_600_000);
    world.hub.note_beat(&author.who, author.writer, &about(&world, 0)).await.unwrap();
    assert_eq!(writes(&world, &author).await - before, 2);
}

pub async fn active_nodes_are_counted_by_health(engine: &Engine) {
    let world = World::new(engine).await;
    let author = world.author("a", "default").await;
    world.register("never-heard", "default").await;
    let gone = world.author("revoked", "default").await;
    world.hub.revoke_node(&world.tenant, NodeId::HUB, gone.who.node).await.unwrap();
    let counts = |healthy, suspect, offline| {
        BTreeMap::from([(Health::Healthy, healthy), (Health::Suspect, suspect), (Health::Offline, offline)])
    };
    let now = || async { world.hub.nodes_by_health(&world.tenant).await.unwrap() };
    assert_eq!(now().await, counts(1, 0, 1));
    world.clock.advance(SUSPECT_MS);
    assert_eq!(now().await, counts(0, 1, 1));
    world.clock.advance(OFFLINE_MS - SUSPECT_MS);
    assert_eq!(now().await, counts(0, 0, 2));
    let live = session(&world, &world.hub, &author).await;
    assert_eq!(now().await, counts(1, 0, 1));
    drop(live);
}

pub async fn what_an_admin_sets_goes_before_what_a_node_declared(engine: &Engine) {
    let world = World::new(engine).await;
    let (hub, tenant) = (&world.hub, &world.tenant);
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<String>>();
    let silent = NodeBody { node_type: "mobile".to_owned(), ..plain_node("a", Domain::default_domain()) };
    let declares = NodeBody { name: "b".to_owned(), capabilities: set(&["camera"]), ..silent.clone() };
    let (a, b) = (
        hub.register_node(tenant, &silent).await.unwrap(),
        hub.register_node(tenant, &declares).await.unwrap(),
    );
    let can = |node: NodeId| async move {
        let page = hub.records(tenant, crate::support::rows::all_records()).await.unwrap();
        let row = page
            .rows
            .into_iter()
            .find(|row| {
                row.pointer.key.id.as_str() == node.to_string() && row.pointer.key.kind.as_str() == "node"
            })
            .unwrap();
        let body: NodeBody = serde_json::from_slice(row.record.body().unwrap()).unwrap();
        hub.node_types(tenant).await.unwrap().capabilities(&body)
    };
    assert_eq!((can(a).await, can(b).await), (NodeType::Mobile.defaults(), set(&["camera"])));
    let small = TypeSet { capabilities: Some(set(&["small"])), kinds: None };
    for _ in 0..2 {
        hub.set_node_type(tenant, NodeId::HUB, NodeType::Mobile, small.clone()).await.unwrap();
        assert_eq!((can(a).await, can(b).await), (set(&["small"]), set(&["camera"])));
        hub.set_node_type(tenant, NodeId::HUB, NodeType::Mobile, TypeSet::default()).await.unwrap();
        assert_eq!(can(a).await, NodeType::Mobile.defaults());
    }
    hub.set_capabilities(tenant, NodeId::HUB, b, Some(set(&[]))).await.unwrap();
    assert_eq!(can(b).await, set(&[]));
    // Joining again with the same facts is the same join, and takes nothing back.
    assert_eq!(hub.register_node(tenant, &declares).await.unwrap(), b);
    assert_eq!(can(b).await, set(&[]));
    hub.set_capabilities(tenant, NodeId::HUB, b, None).await.unwrap();
    assert_eq!(can(b).await, set(&["camera"]));
    world.check().await;
}

pub async fn a_node_first_sees_the_kinds_of_its_type(engine: &Engine) {
    let world = World::new(engine).await;
    let (hub, tenant) = (&world.hub, &world.tenant);
    let kinds =
        |names: &[&str]| names.iter().map(|name| Kind::new(*name).unwrap()).collect::<BTreeSet<Kind>>();
    let mobile = |name: &str| NodeBody {
        node_type: "mobile".to_owned(),
        ..plain_node(name, Domain::default_domain())
    };
    let view = |node: NodeId| async move {
        let key = Key { kind: Kind::new(kind::VIEW).unwrap(), id: RecordId::new(node.to_string()).unwrap() };
        let found = hub.control(tenant, &key).await.unwrap().unwrap();
        serde_json::from_slice::<View>(found.record.body().unwrap()).unwrap()
    };
    let before = hub.register_node(tenant, &mobile("before")).await.unwrap();
    let set = TypeSet { capabilities: None, kinds: Some(kinds(&["entity", "edge"])) };
    hub.set_node_type(tenant, NodeId::HUB, NodeType::Mobile, set).await.unwrap();
    let after = hub.register_node(tenant, &mobile("after")).await.unwrap();
    let domain = Domain::default_domain();
    let named = kinds(&["edge", "entity"]);
    assert_eq!(view(after).await, View::of_kinds(&domain, Some(&named)));
    assert_eq!(view(before).await, View::of_domain(domain.clone()), "who has joined keeps its view");
    // Another type is as it was, and so are the capabilities.
    let desktop = plain_node("desktop", domain.clone());
    let desktop = hub.register_node(tenant, &desktop).await.unwrap();
    assert_eq!(view(desktop).await, View::of_domain(domain.clone()));
    let types = hub.node_types(tenant).await.unwrap();
    assert_eq!(types.of(NodeType::Mobile), (NodeType::Mobile.defaults(), true));
    // Joining again is the same join.
    hub.set_node_type(tenant, NodeId::HUB, NodeType::Mobile, TypeSet::default()).await.unwrap();
    assert_eq!(hub.register_node(tenant, &mobile("after")).await.unwrap(), after);
    assert_eq!(view(after).await, View::of_kinds(&domain, Some(&named)));
}

pub async fn what_a_newer_gateway_set_for_a_type_allows_nothing_here(engine: &Engine) {
    let world = World::new(engine).await;
    let (hub, tenant) = (&world.hub, &world.tenant);
    let mobile = |name: &str| NodeBody {
        node_type: "mobile".to_owned(),
        ..plain_node(name, Domain::default_domain())
    };
    let before = mobile("before");
    hub.register_node(tenant, &before).await.unwrap();
    let key = Key { kind: Kind::new(kind::NODE_TYPE).unwrap(), id: RecordId::new("mobile").unwrap() };
    let serde_json::Value::Object(newer) = serde_json::json!({"kinds": ["note"], "hours": "9-17"}) else {
        panic!()
    };
    hub.set_control(tenant, NodeId::HUB, key.clone(), Some(newer), Revision::ZERO).await.unwrap();
    let refused = hub.register_node(tenant, &mobile("after")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ProtocolVersion);
    let types = hub.node_types(tenant).await.unwrap();
    assert_eq!(
        (types.of(NodeType::Mobile), types.capabilities(&before)),
        ((BTreeSet::new(), true), BTreeSet::new())
    );
    assert_eq!(types.of(NodeType::Desktop), (NodeType::Desktop.defaults(), false), "others are as they were");
    hub.register_node(tenant, &plain_node("desktop", Domain::default_domain())).await.unwrap();
    // A gateway that reads it lets the node in that was refused here.
    hub.set_node_type(tenant, NodeId::HUB, NodeType::Mobile, TypeSet::default()).await.unwrap();
    hub.register_node(tenant, &mobile("after")).await.unwrap();
}
