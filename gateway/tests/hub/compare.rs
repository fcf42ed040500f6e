//! What a replica compares itself with.

use std::collections::BTreeSet;

use semantics::compare::{Named, RangeAsk, Scope, scopes_that_differ, sum};
use semantics::ids::{Digest, Key};
use semantics::reason::Reason;

use crate::support::author::Author;
use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::note;
use crate::support::world::{Settings, World};

const ROWS: usize = 10;

/// All ranges, and whether each sum is that of the records it names.
async fn ranges(world: &World, author: &Author) -> Vec<Named> {
    let (mut all, mut from) = (Vec::new(), Vec::new());
    loop {
        let ask = RangeAsk { from, cell: None, with_records: true };
        let range = world.hub.compare_range(&author.who, &ask).await.unwrap();
        let digests: Vec<Digest> = range.named.iter().map(|named| named.digest).collect();
        assert_eq!(range.records, u64::try_from(digests.len()).unwrap());
        assert_eq!(range.digest, sum(&digests));
        assert_eq!(range.last.as_ref(), range.named.last().map(|named| &named.key));
        let bare = RangeAsk { with_records: false, ..ask };
        let bare = world.hub.compare_range(&author.who, &bare).await.unwrap();
        assert!(bare.named.is_empty() && bare.digest == range.digest);
        all.extend(range.named);
        let Some(next) = range.next else { return all };
        from = next;
    }
}

fn notes(named: &[Named]) -> Vec<Key> {
    named.iter().map(|named| named.key.clone()).filter(|key| key.kind.as_str() == "note").collect()
}

pub async fn ranges_name_the_live_records_of_a_view_in_key_order_and_no_others(engine: &Engine) {
    let world = World::with(engine, Settings::paged(ROWS)).await;
    let mut mover = world.author("mover", "a").await;
    world.show(&mover, &["a", "b"]).await;
    for n in 0..35 {
        let domain = if n % 2 == 0 { "a" } else { "b" };
        mover.put_in(domain, &note(&format!("{n:02}")), "{}").await;
    }
    mover.delete(&note("04")).await;
    let author = world.author("reader", "a").await;
    let expected: Vec<Key> =
        (0..35).filter(|n| n % 2 == 0 && *n != 4).map(|n| note(&format!("{n:02}"))).collect();
    assert_eq!(notes(&ranges(&world, &author).await), expected);
    assert_eq!(notes(&ranges(&world, &mover).await).len(), 34);

    let scopes = world.hub.compare_scopes(&author.who).await.unwrap();
    let domains: BTreeSet<&str> = scopes.scopes.iter().map(|scope| scope.cell.domain.as_str()).collect();
    assert!(domains.contains("a") && !domains.contains("b"), "{domains:?}");
    let of_notes = |scope: &&Scope| scope.cell.kind.as_str() == "note";
    let cell = scopes.scopes.iter().find(of_notes).unwrap().cell.clone();
    let ask = RangeAsk { from: Vec::new(), cell: Some(cell), with_records: true };
    let first = world.hub.compare_range(&author.who, &ask).await.unwrap();
    assert!(first.named.iter().all(|named| named.key.kind.as_str() == "note") && first.next.is_some());
}

pub async fn scopes_differ_after_a_write_and_not_without_one(engine: &Engine) {
    let world = World::with(engine, Settings::paged(ROWS)).await;
    let mut author = world.author("author", "a").await;
    author.put_in("a", &note("one"), "{}").await;
    let before = world.hub.compare_scopes(&author.who).await.unwrap();
    let again = world.hub.compare_scopes(&author.who).await.unwrap();
    assert_eq!(before, again);
    author.put_in("a", &note("two"), "{}").await;
    let after = world.hub.compare_scopes(&author.who).await.unwrap();
    let differ = scopes_that_differ(&before.scopes, &after.scopes);
    assert_eq!(differ.iter().map(|cell| cell.kind.as_str()).collect::<Vec<_>>(), ["note"]);
    assert!(after.revision > before.revision);
    let mut reader = Reader::of(&author);
    reader.catch_up(&world.hub).await.unwrap();
    assert_eq!(reader.cursor.unwrap().revision, after.revision);
}

pub async fn a_range_begins_only_where_its_node_was_told(engine: &Engine) {
    let world = World::with(engine, Settings::paged(ROWS)).await;
    let mut author = world.author("author", "a").await;
    let other = world.author("other", "a").await;
    for n in 0..15 {
        author.put_in("a", &note(&format!("{n:02}")), "{}").await;
    }
    let ask = |from: &[u8]| RangeAsk { from: from.to_vec(), cell: None, with_records: false };
    let next = world.hub.compare_range(&author.who, &ask(&[])).await.unwrap().next.unwrap();
    assert!(world.hub.compare_range(&author.who, &ask(&next)).await.is_ok());
    let mut bent = next.clone();
    *bent.last_mut().unwrap() ^= 1;
    for (who, from) in [(&other.who, &next), (&author.who, &bent), (&author.who, &vec![7; 3])] {
        let refused = world.hub.compare_range(who, &ask(from)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::BadToken);
    }
    world.hub.revoke_node(&world.tenant, semantics::ids::NodeId::HUB, other.who.node).await.unwrap();
    let refused = world.hub.compare_scopes(&other.who).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NodeRevoked);
}
