//! How identities stand, and who has them.

use gateway::hub::identities::Reader as Shown;
use gateway::hub::session::Session;
use semantics::health::SUSPECT_MS;
use semantics::identity::agreement::Agreement;
use semantics::identity::divergence::Level;
use semantics::identity::reach::Reach;
use semantics::identity::score::Status;
use semantics::identity::trend::Trend;
use semantics::ids::{Digest, Revision};
use semantics::session::{ClientMessage, Summed};
use serde_json::json;

use crate::support::author::{Author, put};
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::key;
use crate::support::world::World;

fn state(depth: u8, markers: &[&str]) -> String {
    let metrics = json!({"parameter_values": {"C": 0.9, "D": depth, "R": 1}});
    let behaviour = json!({"consistency_markers": markers});
    json!({"identity_snapshot": {"behavioral_state": behaviour, "stability_metrics": metrics}}).to_string()
}

/// A session in which everything came and was acknowledged.
async fn caught_up(world: &World, author: &Author) -> Session {
    let opened = Session::open(&world.hub, author.who.clone(), &author.hello(None)).await;
    let (mut live, _) = opened.unwrap();
    let mut reader = Reader::of(author);
    reader.listen(&mut live).await.unwrap();
    let cursor = reader.cursor.unwrap();
    live.on(ClientMessage::Ack { cursor, answered_n: None, summed: None }).await.unwrap();
    live
}

async fn shown(world: &World, name: &str) -> Shown {
    let (found, last) = world.hub.identity_health(&world.tenant, None, 10).await.unwrap();
    assert_eq!((found.len(), last), (1, None));
    found[0].nodes.iter().find(|node| node.name == name).unwrap().clone()
}

pub async fn a_node_that_misses_an_acknowledgement_is_shown_and_clears_itself(engine: &Engine) {
    let world = World::new(engine).await;
    let mut agent = world.author("agent", "default").await;
    let phone = world.author("phone", "default").await;
    let me = key("identity", "me");
    agent.put(&me, &state(5, &[])).await;
    let live = caught_up(&world, &phone).await;
    let at_first = shown(&world, "phone").await;
    assert_eq!((at_first.reach, at_first.lag_commits), (Reach::InSync, Some(0)));
    // It stays so however long nothing changes.
    live.flush_seen().await.unwrap();
    drop(live);
    world.clock.advance(2 * SUSPECT_MS);
    assert_eq!(shown(&world, "phone").await.reach, Reach::InSync);

    drop(caught_up(&world, &phone).await);
    let live = caught_up(&world, &phone).await;
    live.flush_seen().await.unwrap();
    drop(live);
    for depth in [4, 3] {
        agent.put(&me, &state(depth, &[])).await;
    }
    assert_eq!(shown(&world, "phone").await.reach, Reach::Behind);
    world.clock.advance(SUSPECT_MS);
    let silent = shown(&world, "phone").await;
    assert_eq!((silent.reach, silent.lag_commits), (Reach::PossiblyDesynchronised, Some(2)));
    let measured = world.hub.measure_identities(&world.tenant).await.unwrap();
    assert!(measured.desynchronised >= 1);
    assert_eq!(measured.statuses.get(&Status::Stable), Some(&1));

    let _live = caught_up(&world, &phone).await;
    assert_eq!(shown(&world, "phone").await.reach, Reach::InSync);
    let (found, _) = world.hub.identity_health(&world.tenant, None, 10).await.unwrap();
    let summary = &found[0].summary;
    assert_eq!((summary.score, summary.trend), (Some(2.7), Some(Trend::Declining)));
}

/// What a node stands for among the participants; none = it is no straggler.
async fn straggler(world: &World, name: &str) -> Option<Agreement> {
    let (found, last) = world.hub.identity_convergence(&world.tenant, None, 10).await.unwrap();
    assert_eq!((found.len(), last), (1, None));
    assert_eq!(found[0].is_converged(), found[0].stragglers.is_empty() && found[0].open_conflicts == 0);
    found[0].stragglers.iter().find(|node| node.name == name).map(|node| node.agreement)
}

/// What a replica says of itself at the hub's head.
async fn report(world: &World, live: &mut Session, digest: Option<Digest>) {
    let node = live.who().node;
    let (head, ours) = world.hub.digest(&world.tenant, node).await.unwrap();
    let revision = head.revision;
    let cursor = live.last_cut().unwrap();
    assert_eq!(cursor.revision, revision);
    let summed = Some(Summed { revision, digest: digest.unwrap_or(ours) });
    live.on(ClientMessage::Ack { cursor, answered_n: None, summed }).await.unwrap();
}

pub async fn participants_converge_once_each_reported_the_hubs_digest(engine: &Engine) {
    let world = World::new(engine).await;
    let mut agent = world.author("agent", "default").await;
    let phone = world.author("phone", "default").await;
    let _elsewhere = world.author("elsewhere", "hidden").await;
    let me = key("identity", "me");
    agent.put(&me, &state(5, &[])).await;
    assert_eq!(straggler(&world, "phone").await, Some(Agreement::Behind));
    let mut phones = caught_up(&world, &phone).await;
    assert_eq!(straggler(&world, "phone").await, Some(Agreement::Unproven));
    report(&world, &mut phones, None).await;
    assert_eq!(straggler(&world, "phone").await, None);
    assert_eq!(straggler(&world, "agent").await, Some(Agreement::Behind));
    let mut agents = caught_up(&world, &agent).await;
    report(&world, &mut agents, None).await;
    let (found, _) = world.hub.identity_convergence(&world.tenant, None, 10).await.unwrap();
    assert!(found[0].is_converged(), "{found:?}");
    assert_eq!(found[0].counts.values().sum::<u64>(), 2, "who cannot see it takes no part");
    // It was noted, and other gateways know it too.
    phones.flush_seen().await.unwrap();
    agents.flush_seen().await.unwrap();
    let other = world.another_hub();
    let (found, _) = other.identity_convergence(&world.tenant, None, 10).await.unwrap();
    assert!(found[0].is_converged(), "{found:?}");
    // The next state has to be proven anew.
    agent.put(&me, &state(6, &[])).await;
    assert_eq!(straggler(&world, "phone").await, Some(Agreement::Behind));
}

pub async fn a_digest_that_differs_is_told(engine: &Engine) {
    let world = World::new(engine).await;
    let mut agent = world.author("agent", "default").await;
    let phone = world.author("phone", "default").await;
    agent.put(&key("identity", "me"), &state(5, &[])).await;
    let mut phones = caught_up(&world, &phone).await;
    report(&world, &mut phones, Some(Digest([7; 32]))).await;
    assert_eq!(straggler(&world, "phone").await, Some(Agreement::Differs));
    // A sum of a cut that brought none says nothing.
    let cursor = phones.last_cut().unwrap();
    let summed = Some(Summed { revision: Revision(cursor.revision.0 - 1), digest: Digest([9; 32]) });
    phones.on(ClientMessage::Ack { cursor, answered_n: None, summed }).await.unwrap();
    report(&world, &mut phones, None).await;
    assert_eq!(straggler(&world, "phone").await, None);
}

pub async fn systems_that_write_one_identity_are_compared_pair_by_pair(engine: &Engine) {
    let world = World::new(engine).await;
    let (me, other) = (key("identity", "me"), key("identity", "other"));
    let mut phone = world.author("phone", "default").await;
    let mut desktop = world.author("desktop", "default").await;
    phone.put(&me, &state(5, &["tone", "pace"])).await;
    phone.put(&other, &state(5, &[])).await;
    assert_eq!(world.hub.identity_divergence(&world.tenant, None, 10).await.unwrap().0, []);
    desktop.put(&me, &state(5, &["tone", "pace", "wit"])).await;
    let (pairs, last) = world.hub.identity_divergence(&world.tenant, None, 10).await.unwrap();
    assert_eq!((pairs.len(), last), (1, None));
    let mut systems = pairs[0].systems.clone();
    systems.sort();
    assert_eq!(systems, ["desktop", "phone"]);
    assert_eq!((pairs[0].divergence.to_string().as_str(), pairs[0].level), ("0.333333333", Level::Diverging));
    // Their scores are within a tenth of each other, and nothing else is said that could differ.
    assert_eq!(pairs[0].problems, []);
    // What lost counts as well: it is what that system is.
    desktop.put(&me, &state(1, &["tone"])).await;
    let (pairs, _) = world.hub.identity_divergence(&world.tenant, None, 10).await.unwrap();
    assert_eq!((pairs[0].divergence.to_string().as_str(), pairs[0].level), ("4.1", Level::Alert));
    let problems: Vec<_> = pairs[0].problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(problems, ["/identity_snapshot/stability_metrics/current_is_score"]);
    // A page at a time.
    let (_, last) = world.hub.identity_divergence(&world.tenant, None, 1).await.unwrap();
    assert_eq!(last.as_ref(), Some(&me.id));
    let (pairs, last) = world.hub.identity_divergence(&world.tenant, last, 1).await.unwrap();
    assert_eq!((pairs, last), (Vec::new(), None));
}

pub async fn a_collapse_that_was_kept_out_is_told_until_its_author_is_healthy_again(engine: &Engine) {
    let world = World::new(engine).await;
    let mut agent = world.author("agent", "default").await;
    let me = key("identity", "me");
    agent.put(&me, &state(5, &[])).await;
    let kept_out = async || {
        let (found, _) = world.hub.identity_health(&world.tenant, None, 10).await.unwrap();
        assert_eq!(found[0].summary.status, Some(Status::Stable));
        let measured = world.hub.measure_identities(&world.tenant).await.unwrap();
        assert_eq!(measured.kept_out, u64::from(found[0].kept_out.is_some()));
        found[0].kept_out.as_ref().map(|kept_out| (kept_out.name.clone(), kept_out.revision))
    };
    assert_eq!(kept_out().await, None);
    world.clock.advance(10);
    let seen = world.current(&me).await;
    let write = agent.write(&me, seen.as_ref(), put(&state(1, &[])));
    let taken = agent.settle(std::slice::from_ref(&write)).await;
    let revision = taken[0].revision().unwrap();
    assert_eq!(kept_out().await, Some(("agent".to_owned(), revision)));
    // That the hub settles the conflict for the healthy state makes the agent no healthier.
    assert_eq!(world.hub.arbitrate().await.unwrap(), 1);
    assert_eq!(kept_out().await, Some(("agent".to_owned(), revision)));
    world.clock.advance(10);
    agent.put(&me, &state(4, &[])).await;
    assert_eq!(kept_out().await, None);
    world.check().await;
}
