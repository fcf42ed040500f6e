//! Who holds a change.

use gateway::hub::error::HubError;
use semantics::ids::{NodeId, Revision};
use semantics::reason::Reason;
use semantics::seen::{SEEN_REVISIONS_MAX, Seen};

use crate::support::author::{Author, revision};
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::note;
use crate::support::world::World;

/// Reads to a cut, and says that it is durable.
async fn acknowledge(world: &World, author: &Author, reader: &mut Reader) {
    reader.catch_up(&world.hub).await.unwrap();
    world.hub.note_seen(&author.who, author.writer, reader.cursor.as_ref()).await.unwrap();
}

async fn count(world: &World, author: &Author, revision: Revision) -> (u32, u32) {
    let counts = world.hub.count_seen(&author.who, &[revision]).await.unwrap();
    assert_eq!(counts, [Seen { revision, seen: counts[0].seen, able: counts[0].able }]);
    (counts[0].seen, counts[0].able)
}

fn reason<T: std::fmt::Debug>(answer: Result<T, HubError>) -> Reason {
    answer.unwrap_err().reason()
}

pub async fn a_change_is_seen_by_those_who_acknowledged_a_cut_at_or_past_it(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("a", "default").await;
    let (near, far) = (world.author("b", "default").await, world.author("c", "default").await);
    let (mut near_reader, mut far_reader) = (Reader::of(&near), Reader::of(&far));
    acknowledge(&world, &near, &mut near_reader).await;
    let first = revision(&author.put(&note("x"), "{}").await);
    assert_eq!(
        count(&world, &author, first).await,
        (0, 2),
        "its writer is not counted, and b stands before it"
    );
    acknowledge(&world, &near, &mut near_reader).await;
    assert_eq!(count(&world, &author, first).await, (1, 2));
    acknowledge(&world, &far, &mut far_reader).await;
    assert_eq!(count(&world, &author, first).await, (2, 2));
    let second = revision(&author.put(&note("y"), "{}").await);
    let both = world.hub.count_seen(&author.who, &[second, first]).await.unwrap();
    assert_eq!(both.iter().map(|count| count.seen).collect::<Vec<u32>>(), [0, 2], "in the order asked for");
}

pub async fn who_cannot_see_it_or_was_revoked_is_not_counted(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("a", "default").await;
    let (elsewhere, revoked) = (world.author("b", "other").await, world.author("c", "default").await);
    let change = revision(&author.put(&note("x"), "{}").await);
    acknowledge(&world, &elsewhere, &mut Reader::of(&elsewhere)).await;
    acknowledge(&world, &revoked, &mut Reader::of(&revoked)).await;
    assert_eq!(count(&world, &author, change).await, (1, 1), "b is past it and does not see it");
    world.hub.revoke_node(&world.tenant, NodeId::HUB, revoked.who.node).await.unwrap();
    assert_eq!(count(&world, &author, change).await, (0, 0), "c had acknowledged it");
}

pub async fn a_view_that_grew_counts_from_its_own_cut_on(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("a", "default").await;
    let other = world.author("b", "other").await;
    let mut reader = Reader::of(&other);
    let change = revision(&author.put(&note("x"), "{}").await);
    acknowledge(&world, &other, &mut reader).await;
    world.show(&other, &["other", "default"]).await;
    assert_eq!(count(&world, &author, change).await, (0, 1), "past the change, but not yet backfilled");
    acknowledge(&world, &other, &mut reader).await;
    assert!(reader.holds(&note("x")));
    assert_eq!(count(&world, &author, change).await, (1, 1));
}

pub async fn a_node_learns_of_its_own_changes_alone(engine: &Engine) {
    let world = World::new(engine).await;
    let (mut author, other) = (world.author("a", "default").await, world.author("b", "default").await);
    let change = revision(&author.put(&note("x"), "{}").await);
    let ask = |who: &Author, revisions: Vec<Revision>| {
        let (hub, who) = (world.hub.clone(), who.who.clone());
        async move { hub.count_seen(&who, &revisions).await }
    };
    assert_eq!(reason(ask(&other, vec![change]).await), Reason::NotFound);
    assert_eq!(reason(ask(&author, vec![Revision::ZERO]).await), Reason::NotFound);
    assert_eq!(reason(ask(&author, vec![Revision(change.0 + 1)]).await), Reason::NotFound);
    assert_eq!(reason(ask(&author, vec![Revision(1)]).await), Reason::NotFound, "a control record");
    assert_eq!(reason(ask(&author, vec![change; SEEN_REVISIONS_MAX + 1]).await), Reason::TooLarge);
    assert_eq!(ask(&author, vec![change; SEEN_REVISIONS_MAX]).await.unwrap().len(), SEEN_REVISIONS_MAX);
    world.hub.revoke_node(&world.tenant, NodeId::HUB, author.who.node).await.unwrap();
    assert_eq!(reason(ask(&author, vec![change]).await), Reason::NodeRevoked);
}
