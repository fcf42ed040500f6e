//! What every replica store does, sentence by sentence of its contract.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "store/rows.rs"]
mod rows;
mod support;

use std::sync::Arc;
use std::time::Duration;

use semantics::clock::{HybridTime, Stamp};
use semantics::cursor::{Change, Departure};
use semantics::envelope::{Base, Cell, Content, GroupPlace, Mutation, Op, Placement, Record};
use semantics::ids::{
    CommitNumber, Digest, Domain, Dot, Facet, GroupId, Incarnation, Key, Kind, MutationId, Revision, Salt,
    Writer,
};
use semantics::outcome::Outcome;
use semantics::reason::{Reason, Refusal};
use semantics::version::Version;
use spoke::error::StoreError;
use spoke::replica::entry::{Entry, EntryState};
use spoke::replica::store::{
    CHANGES_KEPT, ChangesKept, ConfirmedRow, Kept, MetaKey, Mode, OutboxTotals, ROWS_MAX, Range,
    ReplicaStore, ReplicaTxn, Staged,
};
use support::{NODE, TestStore, key};

const WRITER: Writer = Writer { node: NODE, epoch: 0 };

async fn write(store: &TestStore) -> Box<dyn ReplicaTxn> {
    store.begin(Mode::Write).await.unwrap()
}

async fn read(store: &TestStore) -> Box<dyn ReplicaTxn> {
    store.begin(Mode::Read).await.unwrap()
}

fn record(key: Key, body: Option<&str>) -> Record {
    let dot = Dot { writer: WRITER, n: (1 << 62) + 1 };
    let stamp = Stamp { time: HybridTime { ms: 5, counter: 1 }, dot };
    Record {
        key,
        placement: Placement { domain: Domain::default_domain(), subject: None },
        placement_stamp: stamp,
        facet: body.map(|_| Facet::new("a\0b").unwrap()),
        incarnation: Incarnation(1),
        version: Version::of(dot),
        stamp,
        author: NODE,
        key_id: 0,
        salt: Salt([3; 16]),
        content: body.map_or(Content::Deleted, |body| Content::Live(body.as_bytes().to_vec().into())),
        fields: Default::default(),
        inputs: [(stamp, Salt([4; 16]))].into(),
    }
}

fn row(key: Key, revision: u64, body: Option<&str>) -> ConfirmedRow {
    let record = record(key, body);
    ConfirmedRow {
        revision: Revision(revision),
        digest: Digest([u8::try_from(revision).unwrap(); 32]),
        record,
    }
}

fn entry(order: u64, key: Key, state: EntryState) -> Entry {
    let mutation = Mutation {
        id: MutationId(u128::from(order).to_be_bytes()),
        dot: Dot { writer: WRITER, n: order },
        group: None,
        key,
        op: Op::Put { body: b"{}".to_vec().into() },
        placement: None,
        incarnation: Incarnation(0),
        base: Base::default(),
        time: HybridTime { ms: order, counter: 0 },
        written_ms: 7,
        author: NODE,
        key_id: 0,
        salt: Salt([1; 16]),
        signature: None,
    };
    Entry {
        order,
        mutation,
        footing: Base {
            version: Version::of(Dot { writer: WRITER, n: 1 }),
            revision: Revision(2),
            own: None,
        },
        base_time: HybridTime { ms: 1, counter: 2 },
        after: None,
        since: CommitNumber(3),
        base_body: Some(vec![0, 255]),
        state,
        refused_here: Some(Refusal::new(Reason::RecordGone, "why")),
        answered_epoch: Some(3),
    }
}

fn dotted() -> EntryState {
    EntryState::Dotted { digest: Digest([9; 32]), withdraw: false }
}

fn answered(revision: u64) -> EntryState {
    let revision = Revision(revision);
    EntryState::Answered { revision, outcome: Outcome::Merged { revision } }
}

fn set_aside() -> EntryState {
    EntryState::SetAside { refusal: Refusal::new(Reason::TooLarge, "why") }
}

fn orders(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.order).collect()
}

fn kind(name: &str) -> Option<Kind> {
    Some(Kind::new(name).unwrap())
}

#[tokio::test]
async fn kept_entries_page_and_go_by_revision() {
    let store = TestStore::new().await;
    let kept = |revision: u64| Kept {
        revision: Revision(revision),
        acknowledged_ms: 40 + revision,
        entry: entry(revision, key("note", &format!("k{revision}")), answered(revision)),
    };
    let mut txn = write(&store).await;
    txn.kept_put(&[kept(9), kept(3), kept(5)]).await.unwrap();
    txn.kept_put(&[kept(5)]).await.unwrap();
    txn.commit().await.unwrap();
    store.reopen().await;
    let mut txn = write(&store).await;
    assert_eq!(txn.kept_page(Revision::ZERO, 2).await.unwrap(), [kept(3), kept(5)]);
    assert_eq!(txn.kept_page(Revision(3), ROWS_MAX).await.unwrap(), [kept(5), kept(9)]);
    txn.kept_remove(Revision(5)).await.unwrap();
    txn.kept_remove(Revision(5)).await.unwrap();
    assert_eq!(txn.kept_page(Revision::ZERO, 10).await.unwrap(), [kept(9)]);
    assert!(read(&store).await.kept_remove(Revision(9)).await.is_err());
}

#[tokio::test]
async fn remnants_page_in_key_order_beside_the_confirmed_layer() {
    let store = TestStore::new().await;
    let (a, b) = (row(key("note", "a"), 4, Some("{}")), row(key("note", "b"), 5, None));
    let mut txn = write(&store).await;
    txn.remnants_put(&[b.clone(), row(key("note", "a"), 3, None)]).await.unwrap();
    txn.remnants_put(std::slice::from_ref(&a)).await.unwrap();
    txn.commit().await.unwrap();
    store.reopen().await;
    let mut txn = write(&store).await;
    assert_eq!(txn.remnants_page(None, 10).await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(txn.remnants_page(None, 1).await.unwrap(), std::slice::from_ref(&a));
    assert_eq!(txn.remnants_page(Some(&a.record.key), 10).await.unwrap(), [b]);
    assert_eq!(txn.confirmed_page(&Range::default(), 10).await.unwrap(), []);
    txn.remnants_clear().await.unwrap();
    assert_eq!(txn.remnants_page(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_dropped_transaction_leaves_no_trace() {
    let store = TestStore::new().await;
    let mut txn = write(&store).await;
    txn.meta_put(MetaKey::Cursor, Some(b"c")).await.unwrap();
    txn.confirmed_put(&[row(key("note", "a"), 1, Some("{}"))]).await.unwrap();
    txn.outbox_put(&[entry(1, key("note", "a"), EntryState::Queued)]).await.unwrap();
    txn.visible_changed(&[key("note", "a")]).await.unwrap();
    drop(txn);
    let mut txn = write(&store).await;
    assert_eq!(txn.meta_get(MetaKey::Cursor).await.unwrap(), None);
    assert!(txn.confirmed_page(&Range::default(), 10).await.unwrap().is_empty());
    assert_eq!(txn.outbox_totals().await.unwrap(), OutboxTotals::default());
    assert_eq!(txn.changes_kept().await.unwrap(), ChangesKept::default());
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_kill() {
    let store = TestStore::new().await;
    let rows = [row(key("note", "a"), 1, Some("{}")), row(key("note", "b"), 2, None)];
    let entries = [entry(4, key("note", "a"), answered(6)), entry(5, key("note", "a"), set_aside())];
    let cell = |facet: Option<&str>| Cell {
        domain: Domain::default_domain(),
        kind: Kind::new("note").unwrap(),
        facet: facet.map(|facet| Facet::new(facet).unwrap()),
    };
    let mut txn = write(&store).await;
    for (at, name) in (0..).zip(MetaKey::ALL) {
        txn.meta_put(*name, Some(&[at])).await.unwrap();
    }
    txn.meta_put(MetaKey::Kinds, None).await.unwrap();
    txn.confirmed_put(&rows).await.unwrap();
    txn.pending_put(&[record(key("note", "a"), Some("{\"t\":1}"))]).await.unwrap();
    txn.outbox_put(&entries).await.unwrap();
    for (cell, state) in [(cell(None), [1]), (cell(Some("f\0g")), [2])] {
        txn.cell_put(&cell, Some(&state)).await.unwrap();
    }
    txn.commit().await.unwrap();
    store.reopen().await;
    let mut txn = read(&store).await;
    assert_eq!(txn.meta_get(MetaKey::Stream).await.unwrap(), Some(vec![1]));
    assert_eq!(txn.meta_get(MetaKey::Kinds).await.unwrap(), None);
    assert_eq!(txn.confirmed_page(&Range::default(), 10).await.unwrap(), rows);
    assert_eq!(txn.pending_get(&[key("note", "a"), key("note", "b")]).await.unwrap().len(), 1);
    assert_eq!(txn.outbox_page(None, 10).await.unwrap(), entries);
    let cells: Vec<(Cell, Vec<u8>)> = txn.cells().await.unwrap().into_iter().collect();
    assert_eq!(cells, [(cell(None), vec![1]), (cell(Some("f\0g")), vec![2])]);
}

#[tokio::test]
async fn a_reader_sees_its_begin_and_does_not_wait_for_the_writer() {
    let store = TestStore::new().await;
    let mut reader = read(&store).await;
    let mut writer = write(&store).await;
    writer.confirmed_put(&[row(key("note", "a"), 1, None)]).await.unwrap();
    let mut other = read(&store).await;
    writer.commit().await.unwrap();
    for reader in [&mut reader, &mut other] {
        assert!(reader.confirmed_get(&[key("note", "a")]).await.unwrap().is_empty());
    }
    assert_eq!(read(&store).await.confirmed_get(&[key("note", "a")]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn writers_take_turns() {
    let store = Arc::new(TestStore::new().await);
    let first = write(&store).await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), store.begin(Mode::Write)).await;
    assert!(waiting.is_err());
    drop(first);
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut txn = write(&store).await;
            let held = txn.meta_get(MetaKey::Order).await.unwrap().map_or(0, |held| held[0]);
            tokio::task::yield_now().await;
            txn.meta_put(MetaKey::Order, Some(&[held + 1])).await.unwrap();
            txn.commit().await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(read(&store).await.meta_get(MetaKey::Order).await.unwrap(), Some(vec![20]));
}

#[tokio::test]
async fn a_write_in_a_read_transaction_is_refused() {
    let store = TestStore::new().await;
    let mut txn = read(&store).await;
    let refused = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Unavailable(_)));
    assert!(refused(txn.meta_put(MetaKey::Cursor, None).await));
    assert!(refused(txn.confirmed_put(&[row(key("note", "a"), 1, None)]).await));
    assert!(refused(txn.outbox_remove(&[MutationId([1; 16])]).await));
    assert!(refused(txn.staging_clear().await));
    assert!(refused(txn.staging_confirm().await));
    assert!(refused(txn.visible_changed(&[key("note", "a")]).await));
    assert!(refused(txn.all_changed().await));
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn keys_are_any_text_in_the_order_of_their_bytes() {
    let store = TestStore::new().await;
    let ids = [
        "\0",
        "\0\0",
        "a",
        "a\0",
        "a\0b",
        "aa",
        "e\u{301}",
        "z",
        "é",
        "\u{7ff}",
        "\u{fffd}",
        "😀",
        "\u{10ffff}",
    ];
    let kinds = ["a", "a b", "ab", "ä", "日本"];
    let mut keys: Vec<Key> = kinds.iter().flat_map(|kind| ids.iter().map(|id| key(kind, id))).collect();
    let mut txn = write(&store).await;
    for at in keys.iter().rev() {
        txn.confirmed_put(&[row(at.clone(), 1, Some("{}"))]).await.unwrap();
        txn.pending_put(&[record(at.clone(), Some("{}"))]).await.unwrap();
        let departure = Departure { revision: Revision(1), key: at.clone() };
        txn.staging_put(&[Staged::Departure(departure)]).await.unwrap();
    }
    keys.sort();
    let found = txn.confirmed_page(&Range::default(), 1000).await.unwrap();
    assert_eq!(found.iter().map(|row| row.record.key.clone()).collect::<Vec<_>>(), keys);
    let found = txn.pending_page(&Range::default(), 1000).await.unwrap();
    assert_eq!(found.iter().map(|record| record.key.clone()).collect::<Vec<_>>(), keys);
    let found = txn.staging_page(Some(&keys[3]), 1000).await.unwrap();
    assert_eq!(found.iter().map(|item| item.key().clone()).collect::<Vec<_>>(), keys[4..]);
    assert_eq!(txn.confirmed_get(&keys).await.unwrap().len(), keys.len());
    txn.confirmed_delete(&keys[1..]).await.unwrap();
    assert_eq!(txn.confirmed_page(&Range::default(), 1000).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_range_is_a_kind_a_prefix_and_a_start_and_no_pattern() {
    let store = TestStore::new().await;
    let ids = ["%", "%a", "_", "_a", "a%", "a_", "ab", "b", "\u{10ffff}", "\u{10ffff}x"];
    let mut txn = write(&store).await;
    for kind in ["n", "na", "m"] {
        for id in ids {
            txn.confirmed_put(&[row(key(kind, id), 1, None)]).await.unwrap();
        }
    }
    let mut found = Vec::new();
    for prefix in ["", "%", "_", "a", "a_", "\u{10ffff}", "x"] {
        for after in
            [None, Some(key("m", "x")), Some(key("n", "%")), Some(key("n", "a%")), Some(key("na", "a"))]
        {
            for kind in [None, kind("n"), kind("na")] {
                let range = Range { kind, prefix: prefix.to_owned(), after: after.clone() };
                let page = txn.confirmed_page(&range, 1000).await.unwrap();
                let all = txn.confirmed_page(&Range::default(), 1000).await.unwrap();
                let expected: Vec<_> =
                    all.into_iter().filter(|row| range.contains(&row.record.key)).collect();
                assert_eq!(page, expected, "{range:?}");
                found.push(page.len());
            }
        }
    }
    assert!(found.contains(&0) && found.contains(&30) && found.contains(&2));
}

#[tokio::test]
async fn a_page_has_no_more_rows_than_asked_for_and_never_more_than_the_bound() {
    let store = TestStore::new().await;
    let rows: Vec<_> = (0..ROWS_MAX + 5).map(|n| row(key("note", &format!("{n:05}")), 1, None)).collect();
    let mut txn = write(&store).await;
    for rows in rows.chunks(ROWS_MAX) {
        txn.confirmed_put(rows).await.unwrap();
    }
    assert_eq!(txn.confirmed_page(&Range::default(), 7).await.unwrap(), rows[..7]);
    assert_eq!(txn.confirmed_page(&Range::default(), usize::MAX).await.unwrap(), rows[..ROWS_MAX]);
    let keys: Vec<Key> = rows.iter().map(|row| row.record.key.clone()).collect();
    txn.confirmed_delete(&keys[..ROWS_MAX]).await.unwrap();
    assert_eq!(txn.confirmed_page(&Range::default(), ROWS_MAX).await.unwrap(), rows[ROWS_MAX..]);
    txn.confirmed_delete(&keys[ROWS_MAX..]).await.unwrap();
    assert!(txn.confirmed_page(&Range::default(), 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_what_is_staged_for_a_record_the_highest_rank_stays() {
    let store = TestStore::new().await;
    let change = |revision, body| {
        let record = record(key("note", "a"), Some(body));
        Staged::Change(Box::new(Change { revision: Revision(revision), record }))
    };
    let departure =
        |revision| Staged::Departure(Departure { revision: Revision(revision), key: key("note", "a") });
    let mut txn = write(&store).await;
    for (items, stays) in [
        (vec![change(5, "5")], change(5, "5")),
        (vec![change(4, "4"), departure(4)], change(5, "5")),
        (vec![departure(5)], change(5, "5")),
        (vec![departure(6), change(6, "6"), departure(6)], change(6, "6")),
        (vec![departure(8), change(7, "7")], departure(8)),
        (vec![change(8, "8")], change(8, "8")),
    ] {
        txn.staging_put(&items).await.unwrap();
        assert_eq!(txn.staging_page(None, 10).await.unwrap(), [stays]);
    }
    txn.staging_clear().await.unwrap();
    assert!(txn.staging_page(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_outbox_is_found_by_everything_it_is_asked_for() {
    let store = TestStore::new().await;
    let (a, b) = (key("note", "a"), key("note", "b"));
    let group = |mut entry: Entry, index| {
        entry.mutation.group = Some(GroupPlace { id: GroupId([6; 16]), index, size: 2 });
        entry
    };
    let mut child = entry(4, a.clone(), EntryState::Queued);
    child.after = Some(entry(3, a.clone(), dotted()).id());
    let entries = [
        entry(9, b.clone(), set_aside()),
        child.clone(),
        group(entry(8, b.clone(), EntryState::Queued), 0),
        group(entry(7, a.clone(), answered(20)), 1),
        entry(2, a.clone(), answered(10)),
        entry(3, a.clone(), dotted()),
        entry(5, a.clone(), set_aside()),
        entry(6, b.clone(), dotted()),
    ];
    let mut txn = write(&store).await;
    txn.outbox_put(&entries).await.unwrap();
    assert_eq!(orders(&txn.outbox_page(None, 10).await.unwrap()), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(orders(&txn.outbox_page(Some(6), 2).await.unwrap()), [7, 8]);
    assert_eq!(orders(&txn.outbox_queued(None, 10).await.unwrap()), [4, 8]);
    assert_eq!(orders(&txn.outbox_queued(Some(4), 10).await.unwrap()), [8]);
    assert_eq!(orders(&txn.outbox_dotted(0, 1).await.unwrap()), [3]);
    assert_eq!(orders(&txn.outbox_dotted(3, 10).await.unwrap()), [6]);
    assert_eq!(orders(&txn.outbox_answered(Revision(19), 10).await.unwrap()), [2]);
    assert_eq!(orders(&txn.outbox_answered(Revision(20), 10).await.unwrap()), [2, 7]);
    assert_eq!(orders(&txn.outbox_of(&a).await.unwrap()), [2, 3, 4, 5, 7]);
    assert_eq!(orders(&txn.outbox_group(GroupId([6; 16])).await.unwrap()), [8, 7]);
    let parents = [MutationId([7; 16]), child.after.unwrap()];
    assert_eq!(txn.outbox_after(&parents).await.unwrap(), [child.clone()]);
    assert_eq!(txn.outbox_after(&[]).await.unwrap(), []);
    assert_eq!(txn.outbox_get(&[entries[0].id(), MutationId([7; 16]), child.id()]).await.unwrap().len(), 2);
    let last = txn.outbox_last(&[a.clone(), b.clone(), key("note", "c")]).await.unwrap();
    assert_eq!(last.values().map(|entry| entry.order).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(txn.outbox_has(&[key("note", "c"), b.clone()]).await.unwrap(), [b]);
}

#[tokio::test]
async fn the_outbox_totals_follow_what_is_put_replaced_and_removed() {
    let store = TestStore::new().await;
    let a = key("note", "a");
    let bytes = entry(1, a.clone(), EntryState::Queued).bytes();
    let mut txn = write(&store).await;
    let both = [entry(1, a.clone(), EntryState::Queued), entry(2, a.clone(), dotted())];
    txn.outbox_put(&both).await.unwrap();
    txn.outbox_put(&[entry(2, a.clone(), answered(1)), entry(2, a.clone(), set_aside())]).await.unwrap();
    let expected =
        OutboxTotals { entries: 2, bytes: 2 * bytes, queued: 1, set_aside: 1, ..OutboxTotals::default() };
    assert_eq!(txn.outbox_totals().await.unwrap(), expected);
    txn.commit().await.unwrap();
    store.reopen().await;
    assert_eq!(read(&store).await.outbox_totals().await.unwrap(), expected);
    let mut moved = entry(1, a.clone(), EntryState::Queued);
    moved.order = 30;
    let mut txn = write(&store).await;
    txn.outbox_put(&[moved]).await.unwrap();
    assert_eq!(orders(&txn.outbox_page(None, 10).await.unwrap()), [2, 30]);
    assert_eq!(txn.outbox_totals().await.unwrap(), expected);
    txn.outbox_remove(&[entry(1, a.clone(), dotted()).id(), MutationId([9; 16])]).await.unwrap();
    txn.outbox_remove(&[entry(2, a, dotted()).id()]).await.unwrap();
    assert_eq!(txn.outbox_totals().await.unwrap(), OutboxTotals::default());
}

#[tokio::test]
async fn visible_changes_get_their_position_at_the_commit_once_each_in_key_order() {
    let store = TestStore::new().await;
    let (a, b) = (key("note", "a"), key("note", "b"));
    let mut txn = write(&store).await;
    txn.visible_changed(&[b.clone(), a.clone(), b.clone()]).await.unwrap();
    txn.visible_changed(std::slice::from_ref(&b)).await.unwrap();
    assert!(txn.changes_after(0, 10).await.unwrap().is_empty());
    txn.commit().await.unwrap();
    write(&store).await.commit().await.unwrap();
    store.reopen().await;
    let mut txn = write(&store).await;
    txn.visible_changed(std::slice::from_ref(&a)).await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = read(&store).await;
    let found = txn.changes_after(0, 10).await.unwrap();
    let found: Vec<(u64, Key)> = found.into_iter().map(|change| (change.position, change.key)).collect();
    assert_eq!(found, [(1, a.clone()), (2, b.clone()), (3, a)]);
    assert_eq!(txn.changes_after(1, 1).await.unwrap()[0].key, b);
    assert!(txn.changes_after(3, 10).await.unwrap().is_empty());
    assert_eq!(txn.changes_kept().await.unwrap(), ChangesKept { after: 0, last: 3 });
}

#[tokio::test]
async fn the_last_changes_are_kept_and_the_oldest_forgotten() {
    let store = TestStore::new().await;
    let keys: Vec<Key> = (0..ROWS_MAX).map(|n| key("note", &format!("{n}"))).collect();
    let commits = CHANGES_KEPT / 1000 + 3;
    for _ in 0..commits {
        let mut txn = write(&store).await;
        txn.visible_changed(&keys).await.unwrap();
        txn.commit().await.unwrap();
    }
    let mut txn = read(&store).await;
    let last = commits * 1000;
    assert_eq!(txn.changes_kept().await.unwrap(), ChangesKept { after: last - CHANGES_KEPT, last });
    let found = txn.changes_after(last - 10, 100).await.unwrap();
    assert_eq!(
        found.iter().map(|change| change.position).collect::<Vec<_>>(),
        (last - 9..=last).collect::<Vec<_>>()
    );
}
