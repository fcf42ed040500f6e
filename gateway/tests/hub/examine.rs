//! The hub as it lies there.

use std::collections::BTreeMap;

use gateway::hub::Retention;
use semantics::envelope::Cell;
use semantics::ids::{CommitNumber, Digest, Key};
use semantics::lthash::LtHash;

use crate::support::engine::Engine;
use crate::support::reader::Reader;
use crate::support::rows::note;
use crate::support::world::{Settings, World};

const SMALL: usize = 3;

pub async fn a_chain_is_checked_page_by_page_to_its_head(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("a", "default").await;
    for n in 0..10 {
        author.put(&note(&format!("n{n}")), "{}").await;
    }
    let head = world.store.head(&world.tenant).await.unwrap();
    let (mut after, mut pages, mut checked) = (CommitNumber::ZERO, 0, Vec::new());
    loop {
        let chain = world.hub.examine_chain(&world.tenant, after, SMALL).await.unwrap();
        assert!(chain.faults.is_empty(), "{chain:?}");
        let (first, last) = chain.checked.unwrap();
        checked.extend(first.0..=last.0);
        pages += 1;
        let Some(next) = chain.next else { break };
        after = next;
    }
    assert_eq!(checked, (1..=head.commit.0).collect::<Vec<u64>>(), "each link once");
    assert!(pages > 2);
    let tail = CommitNumber(head.commit.0 - 2);
    let chain = world.hub.examine_chain(&world.tenant, tail, 1_000).await.unwrap();
    assert_eq!((chain.checked, chain.next), (Some((CommitNumber(tail.0 + 1), head.commit)), None));
}

async fn sums(world: &World) -> BTreeMap<Cell, Digest> {
    let mut cells: BTreeMap<Cell, LtHash> = BTreeMap::new();
    let mut after: Option<Key> = None;
    loop {
        let page = world.hub.examine_records(&world.tenant, after, SMALL).await.unwrap();
        assert_eq!((page.revision, &page.damaged), (world.revision().await, &Vec::new()));
        for (cell, summed) in page.cells {
            cells.entry(cell).or_default().combine(&summed.sum);
        }
        after = page.next;
        if after.is_none() {
            cells.retain(|_, sum| !sum.is_empty());
            return cells.into_iter().map(|(cell, sum)| (cell, sum.finish())).collect();
        }
    }
}

pub async fn sums_made_anew_are_those_that_are_kept(engine: &Engine) {
    let world = World::new(engine).await;
    let mut author = world.author("a", "default").await;
    world.show(&author, &["default", "other"]).await;
    for n in 0..8 {
        author.put(&note(&format!("n{n}")), "{}").await;
        author.put_in("other", &note(&format!("o{n}")), "{}").await;
    }
    author.delete(&note("n1")).await;
    let (revision, kept) = world.hub.kept_sums(&world.tenant).await.unwrap().unwrap();
    assert_eq!(revision, world.revision().await);
    let kept: BTreeMap<Cell, Digest> = kept.into_iter().map(|scope| (scope.cell, scope.digest)).collect();
    assert_eq!(sums(&world).await, kept);
    let page = world.hub.examine_records(&world.tenant, None, 1_000).await.unwrap();
    let notes: Vec<(u64, u64)> = page
        .cells
        .iter()
        .filter(|(cell, _)| cell.kind.as_str() == "note")
        .map(|(_, summed)| (summed.live, summed.tombstones))
        .collect();
    assert_eq!(notes, [(7, 1), (8, 0)]);
}

pub async fn what_is_pruned_is_no_gap(engine: &Engine) {
    let retention = Retention { revisions_min: 1, ..Retention::default() };
    let world = World::with(engine, Settings { retention, ..Settings::default() }).await;
    let mut author = world.author("a", "default").await;
    for n in 0..6 {
        author.put(&note("same"), &format!("{{\"n\":{n}}}")).await;
    }
    world.maintain().await;
    let oldest = world.store.commits_after(&world.tenant, CommitNumber::ZERO, 1).await.unwrap();
    assert!(oldest[0].number > CommitNumber(1), "commits were pruned");
    let chain = world.hub.examine_chain(&world.tenant, CommitNumber::ZERO, 1_000).await.unwrap();
    assert!(chain.faults.is_empty(), "{chain:?}");
    assert_eq!(
        chain.checked.unwrap().0,
        CommitNumber(oldest[0].number.0 + 1),
        "the oldest is taken as it is"
    );
}

pub async fn a_log_tells_what_holds_it(engine: &Engine) {
    let world = World::with(engine, Settings::paged(SMALL)).await;
    let mut author = world.author("a", "default").await;
    let state = world.hub.examine_log(&world.tenant).await.unwrap();
    assert_eq!((state.leases, state.lowest_lease, state.backed_up, state.recovering), (0, None, None, false));
    for n in 0..10 {
        author.put(&note(&format!("n{n}")), "{}").await;
    }
    Reader::of(&author).page(&world.hub).await.unwrap();
    author.put(&note("after"), "{}").await;
    let state = world.hub.examine_log(&world.tenant).await.unwrap();
    assert_eq!(state.leases, 1);
    let head = world.revision().await;
    assert!(state.lowest_lease.is_some_and(|floor| floor < head));
    assert_eq!(state.head, world.store.head(&world.tenant).await.unwrap());
}
