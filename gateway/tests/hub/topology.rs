//! Who writes in a tenant: primaries, replicas and sites.

use std::collections::{BTreeMap, BTreeSet};

use gateway::hub::error::HubError;
use gateway::hub::work::Settler;
use semantics::ids::{Domain, Key, Kind, NodeId, RecordId, Revision};
use semantics::outcome::Outcome;
use semantics::reason::Reason;
use semantics::resolution::Choice;
use semantics::topology::{Shape, Topology};
use serde_json::{Value, json};

use super::resolutions::{Quarrel, conflict};
use crate::support::author::{Author, group, outcomes, put, revision};
use crate::support::engine::Engine;
use crate::support::rows::key;
use crate::support::world::World;

fn of(shape: Shape, kinds: &[&str]) -> Topology {
    Topology { shape, kinds: kinds.iter().map(|kind| Kind::new(*kind).unwrap()).collect() }
}

fn primary(author: &Author) -> Shape {
    Shape::PrimaryReplica { primary: author.who.node }
}

fn sites(sites: &[(&str, &Author)]) -> Shape {
    let site = |(domain, author): &(&str, &Author)| (Domain::new(*domain).unwrap(), author.who.node);
    Shape::Federation { sites: sites.iter().map(site).collect() }
}

async fn set(world: &World, topology: &Topology) -> Result<Revision, HubError> {
    world.hub.set_topology(&world.tenant, NodeId::HUB, topology, None).await
}

fn refused(outcome: &Outcome) -> (Reason, &str) {
    match outcome {
        Outcome::Rejected(refusal) => (refusal.reason, &refusal.detail),
        other => panic!("{other:?}"),
    }
}

pub async fn a_replica_is_told_the_primary_and_its_write_has_no_effect(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut desk, mut phone) =
        (world.author("desk", "default").await, world.author("phone", "default").await);
    let (ada, note) = (key("identity", "ada"), key("note", "n"));
    desk.put(&ada, r#"{"is":1}"#).await;
    let since = set(&world, &of(primary(&desk), &["identity"])).await.unwrap();
    for body in [r#"{"is":2}"#, r#"{"is":3}"#] {
        let told = phone.put(&ada, body).await;
        let (reason, detail) = refused(&told);
        assert_eq!(reason, Reason::NotPrimary);
        assert!(detail.contains("desk") && detail.contains(&desk.who.node.to_string()), "{detail}");
        assert!(detail.contains(&format!("revision {since}")), "{detail}");
    }
    assert_eq!(refused(&phone.delete(&ada).await).0, Reason::NotPrimary);
    assert_eq!(refused(&phone.put(&key("identity", "new"), "{}").await).0, Reason::NotPrimary);
    assert_eq!(world.body(&ada).await.as_deref(), Some(r#"{"is":1}"#));
    // Other kinds are everybody's, and a group with both is refused whole.
    let mine = phone.write(&note, None, put("{}"));
    let theirs = phone.write(&key("identity", "bob"), None, put("{}"));
    let told = phone.settle(&group(vec![mine, theirs])).await;
    assert_eq!([refused(&told[0]).0, refused(&told[1]).0], [Reason::GroupRejected, Reason::NotPrimary]);
    assert!(matches!(phone.put(&note, "{}").await, Outcome::Applied { .. }));
    // What the primary writes names the topology as the rule that it was taken by.
    let taken = revision(&desk.put(&ada, r#"{"is":4}"#).await);
    assert_eq!(world.row(taken).await.unwrap().rule_version, since);
    world.check().await;
}

pub async fn a_primary_that_is_moved_writes_from_that_revision_on(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut desk, mut phone) =
        (world.author("desk", "default").await, world.author("phone", "default").await);
    let ada = key("identity", "ada");
    set(&world, &of(primary(&desk), &["identity"])).await.unwrap();
    desk.put(&ada, r#"{"is":1}"#).await;
    let late = phone.write(&ada, world.current(&ada).await.as_ref(), put(r#"{"is":2}"#));
    let told = async |phone: &Author| outcomes(&phone.push(std::slice::from_ref(&late)).await.unwrap());
    assert_eq!(refused(&told(&phone).await[0]).0, Reason::NotPrimary);
    let moved = set(&world, &of(primary(&phone), &["identity"])).await.unwrap();
    assert_eq!(world.hub.topology(&world.tenant).await.unwrap().1, moved);
    // The first answer stands for a repeat; what is written anew is taken, on another gateway too.
    assert_eq!(refused(&told(&phone).await[0]).0, Reason::NotPrimary);
    let mut elsewhere = phone.at(&world.another_hub());
    assert!(matches!(elsewhere.put(&ada, r#"{"is":3}"#).await, Outcome::Applied { .. }));
    assert_eq!(refused(&desk.put(&ada, r#"{"is":4}"#).await).0, Reason::NotPrimary);
    set(&world, &Topology::default()).await.unwrap();
    assert!(matches!(desk.put(&ada, r#"{"is":5}"#).await, Outcome::Applied { .. }));
    world.check().await;
}

pub async fn each_site_of_a_federation_has_a_primary_of_its_own(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut berlin, mut lima) =
        (world.author("berlin-1", "berlin").await, world.author("lima-1", "lima").await);
    let mut second = world.author("berlin-2", "berlin").await;
    for author in [&berlin, &lima, &second] {
        world.show(author, &["berlin", "lima", "oslo"]).await;
    }
    let topology = of(sites(&[("berlin", &berlin), ("lima", &lima)]), &["identity"]);
    set(&world, &topology).await.unwrap();
    let (ada, eva, ole) = (key("identity", "ada"), key("identity", "eva"), key("identity", "ole"));
    assert!(matches!(berlin.put(&ada, "{}").await, Outcome::Applied { .. }));
    assert!(matches!(lima.put(&eva, "{}").await, Outcome::Applied { .. }));
    assert_eq!(refused(&second.put(&ada, r#"{"is":1}"#).await).0, Reason::NotPrimary);
    assert_eq!(refused(&lima.put(&ada, r#"{"is":1}"#).await).0, Reason::NotPrimary);
    // From one site to the other takes both primaries: neither takes a record, nor gives one away.
    assert_eq!(refused(&berlin.put_in("lima", &ada, r#"{"is":2}"#).await).0, Reason::NotPrimary);
    assert_eq!(refused(&lima.put_in("lima", &ada, r#"{"is":2}"#).await).0, Reason::NotPrimary);
    // A domain that is no site is everybody's who may see it.
    assert!(matches!(second.put_in("oslo", &ole, "{}").await, Outcome::Applied { .. }));
    assert!(matches!(lima.put_in("oslo", &ole, r#"{"is":3}"#).await, Outcome::Applied { .. }));
    world.check().await;
}

pub async fn a_replica_settles_no_conflict_of_what_it_does_not_write(engine: &Engine) {
    let world = World::new(engine).await;
    let quarrel =
        Quarrel::of(&world, key("note", "a"), r#"{"t":"0"}"#, [put(r#"{"t":"1"}"#), put(r#"{"t":"2"}"#)])
            .await;
    let id = quarrel.id(&world).await;
    let (desk, phone) = (world.author("desk", "default").await, world.author("phone", "default").await);
    set(&world, &of(primary(&desk), &["note"])).await.unwrap();
    let at = conflict(&world, &id).await.0;
    let by = |author: &Author| Settler {
        author: author.who.node,
        name: "somebody".to_owned(),
        is_node: true,
        reason: String::new(),
        binds: false,
    };
    let side = Choice::Side(quarrel.early.dot);
    let told = world.hub.resolve(&world.tenant, (&id, at), &side, by(&phone)).await;
    assert_eq!(told.unwrap_err().reason(), Reason::NotPrimary);
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"2"}"#));
    world.hub.resolve(&world.tenant, (&id, at), &side, by(&desk)).await.unwrap();
    assert_eq!(world.body(&quarrel.subject).await.as_deref(), Some(r#"{"t":"1"}"#));
    world.check().await;
}

pub async fn what_a_newer_gateway_set_as_topology_decides_nothing_here(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("laptop", "default").await;
    author.put(&key("note", "before"), "{}").await;
    let topology = Key { kind: Kind::new("topology").unwrap(), id: RecordId::new("tenant").unwrap() };
    let Value::Object(newer) = json!({"shape": "ring", "kinds": ["note"]}) else { panic!() };
    world.hub.set_control(&world.tenant, NodeId::HUB, topology, Some(newer), Revision::ZERO).await.unwrap();
    assert_eq!(world.hub.topology(&world.tenant).await.unwrap_err().reason(), Reason::ProtocolVersion);
    // It is not refused for good: a gateway that reads it takes it.
    let late = author.write(&key("note", "late"), None, put("{}"));
    let told = author.push(std::slice::from_ref(&late)).await.unwrap();
    assert!(told.outcomes.is_empty());
    assert_eq!(told.waits.unwrap().reason, Reason::ProtocolVersion);
    set(&world, &Topology::default()).await.unwrap();
    assert!(matches!(author.settle(&[late]).await[0], Outcome::Applied { .. }));
    world.check().await;
}

pub async fn a_topology_is_set_for_active_nodes_and_known_kinds_and_by_compare_and_set(engine: &Engine) {
    let world = World::new(engine).await;
    let (desk, gone) = (world.author("desk", "default").await, world.author("gone", "default").await);
    world.hub.revoke_node(&world.tenant, NodeId::HUB, gone.who.node).await.unwrap();
    let reason = async |topology: Topology| set(&world, &topology).await.unwrap_err().reason();
    assert_eq!(reason(of(primary(&gone), &["identity"])).await, Reason::NotFound);
    let nobody = Shape::PrimaryReplica { primary: NodeId([7; 16]) };
    assert_eq!(reason(of(nobody, &["identity"])).await, Reason::NotFound);
    assert_eq!(reason(of(primary(&desk), &["gadget"])).await, Reason::NotFound);
    assert_eq!(reason(of(primary(&desk), &["conflict"])).await, Reason::ControlKind);
    let none = Topology { shape: primary(&desk), kinds: BTreeSet::new() };
    assert_eq!(reason(none).await, Reason::Malformed);
    assert_eq!(reason(of(Shape::Federation { sites: BTreeMap::new() }, &["note"])).await, Reason::Malformed);
    let (hub, tenant) = (&world.hub, &world.tenant);
    assert_eq!(hub.topology(tenant).await.unwrap(), (Topology::default(), Revision::ZERO));
    assert_eq!(set(&world, &Topology::default()).await.unwrap(), Revision::ZERO);
    let wanted = of(primary(&desk), &["note"]);
    let first = hub.set_topology(tenant, NodeId::HUB, &wanted, Some(Revision::ZERO)).await.unwrap();
    assert_eq!(set(&world, &wanted).await.unwrap(), first);
    let stale = hub.set_topology(tenant, NodeId::HUB, &Topology::default(), Some(Revision::ZERO)).await;
    assert_eq!(stale.unwrap_err().reason(), Reason::Stale);
    assert_eq!(hub.topology(tenant).await.unwrap(), (wanted, first));
    world.check().await;
}
