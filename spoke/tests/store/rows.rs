//! Rows of each sort: put, replaced, removed, cleared.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[tokio::test]
async fn single_values_are_set_and_removed() {
    let store = TestStore::new().await;
    let mut txn = write(&store).await;
    for key in MetaKey::ALL {
        assert_eq!(txn.meta_get(*key).await.unwrap(), None);
        for value in [b"one".as_slice(), b"", b"\0two\xff"] {
            txn.meta_put(*key, Some(value)).await.unwrap();
            assert_eq!(txn.meta_get(*key).await.unwrap().as_deref(), Some(value), "{key:?}");
        }
    }
    txn.meta_put(MetaKey::Clock, None).await.unwrap();
    txn.meta_put(MetaKey::Clock, None).await.unwrap();
    assert_eq!(txn.meta_get(MetaKey::Clock).await.unwrap(), None);
    assert!(txn.meta_get(MetaKey::Cursor).await.unwrap().is_some());
}

#[tokio::test]
async fn rows_are_replaced_and_removed_and_absent_ones_are_no_error() {
    let store = TestStore::new().await;
    let (a, b, absent) = (key("note", "a"), key("note", "b"), key("note", "absent"));
    let asked = [absent.clone(), b.clone(), a.clone()];
    let mut txn = write(&store).await;
    txn.confirmed_put(&[row(a.clone(), 1, Some("1")), row(b.clone(), 2, None)]).await.unwrap();
    txn.confirmed_put(&[row(a.clone(), 3, Some("2"))]).await.unwrap();
    let found = txn.confirmed_get(&asked).await.unwrap();
    assert_eq!(
        found.into_values().collect::<Vec<_>>(),
        [row(a.clone(), 3, Some("2")), row(b.clone(), 2, None)]
    );
    txn.pending_put(&[record(a.clone(), Some("1")), record(b.clone(), Some("1"))]).await.unwrap();
    txn.pending_put(&[record(b.clone(), None)]).await.unwrap();
    let found = txn.pending_get(&asked).await.unwrap();
    assert_eq!(
        found.into_values().collect::<Vec<_>>(),
        [record(a.clone(), Some("1")), record(b.clone(), None)]
    );
    for _ in 0..2 {
        txn.confirmed_delete(&[absent.clone(), a.clone()]).await.unwrap();
        txn.pending_delete(&[b.clone(), absent.clone()]).await.unwrap();
    }
    assert_eq!(txn.confirmed_get(&asked).await.unwrap().into_keys().collect::<Vec<_>>(), [b]);
    assert_eq!(txn.pending_get(&asked).await.unwrap().into_keys().collect::<Vec<_>>(), [a]);
}

fn a_cell(facet: Option<&str>) -> Cell {
    let facet = facet.map(|facet| Facet::new(facet).unwrap());
    Cell { domain: Domain::default_domain(), kind: Kind::new("note").unwrap(), facet }
}

#[tokio::test]
async fn cells_hold_their_state_until_it_is_removed() {
    let store = TestStore::new().await;
    let (whole, part) = (a_cell(None), a_cell(Some("f")));
    let mut txn = write(&store).await;
    txn.cell_put(&whole, Some(b"1")).await.unwrap();
    txn.cell_put(&part, Some(b"2")).await.unwrap();
    txn.cell_put(&whole, Some(b"3")).await.unwrap();
    let states: Vec<Vec<u8>> = txn.cells().await.unwrap().into_values().collect();
    assert_eq!(states.into_iter().collect::<BTreeSet<_>>(), [b"2".to_vec(), b"3".to_vec()].into());
    for _ in 0..2 {
        txn.cell_put(&whole, None).await.unwrap();
    }
    assert_eq!(txn.cells().await.unwrap().into_keys().collect::<Vec<_>>(), [part]);
}

/// How many rows there are of each sort that can be cleared.
async fn counts(txn: &mut dyn ReplicaTxn) -> [usize; 3] {
    [
        txn.remnants_page(None, 10).await.unwrap().len(),
        txn.staging_page(None, 10).await.unwrap().len(),
        txn.cells().await.unwrap().len(),
    ]
}

#[tokio::test]
async fn clearing_takes_every_row_of_its_sort_and_of_no_other() {
    let store = TestStore::new().await;
    let rows = [row(key("note", "a"), 1, Some("{}")), row(key("other", "b"), 2, None)];
    let gone = |id: &str| Staged::Departure(Departure { revision: Revision(1), key: key("note", id) });
    let mut txn = write(&store).await;
    txn.confirmed_put(&rows).await.unwrap();
    txn.pending_put(&[record(key("note", "a"), None)]).await.unwrap();
    txn.outbox_put(&[entry(1, key("note", "a"), EntryState::Queued)]).await.unwrap();
    txn.remnants_put(&rows).await.unwrap();
    txn.staging_put(&[gone("a"), gone("b")]).await.unwrap();
    for facet in [None, Some("f")] {
        txn.cell_put(&a_cell(facet), Some(b"1")).await.unwrap();
    }
    let mut left = [2; 3];
    assert_eq!(counts(&mut *txn).await, left);
    for sort in 0..left.len() {
        for _ in 0..2 {
            match sort {
                0 => txn.remnants_clear().await.unwrap(),
                1 => txn.staging_clear().await.unwrap(),
                _ => txn.cells_clear().await.unwrap(),
            }
        }
        left[sort] = 0;
        assert_eq!(counts(&mut *txn).await, left, "{sort}");
    }
    assert_eq!(txn.confirmed_page(&Range::default(), 10).await.unwrap(), rows);
    assert_eq!(txn.pending_page(&Range::default(), 10).await.unwrap().len(), 1);
    assert_eq!(txn.outbox_totals().await.unwrap().entries, 1);
}

#[tokio::test]
async fn what_is_staged_takes_the_place_of_the_confirmed_rows() {
    let store = TestStore::new().await;
    let change = |id: &str, revision, body| Change {
        revision: Revision(revision),
        record: record(key("note", id), body),
    };
    let before = [row(key("note", "a"), 1, Some("1")), row(key("note", "b"), 2, Some("2"))];
    let mut txn = write(&store).await;
    txn.confirmed_put(&before).await.unwrap();
    txn.remnants_put(&before).await.unwrap();
    txn.commit().await.unwrap();
    let mut earlier = read(&store).await;
    for round in 3..6 {
        let changes = [change("a", round, Some("3")), change("c", round, None)];
        let gone = Staged::Departure(Departure { revision: Revision(round), key: key("note", "b") });
        let mut txn = write(&store).await;
        txn.staging_put(&changes.clone().map(|change| Staged::Change(Box::new(change)))).await.unwrap();
        txn.staging_put(&[gone]).await.unwrap();
        txn.staging_confirm().await.unwrap();
        let rows = changes.map(|change| ConfirmedRow::of(&change));
        assert_eq!(txn.confirmed_page(&Range::default(), 10).await.unwrap(), rows);
        assert!(txn.staging_page(None, 10).await.unwrap().is_empty());
        assert_eq!(txn.remnants_page(None, 10).await.unwrap(), before);
        txn.commit().await.unwrap();
        let mut later = read(&store).await;
        assert_eq!(later.confirmed_page(&Range::default(), 10).await.unwrap(), rows);
        assert_eq!(later.confirmed_get(&[key("note", "b")]).await.unwrap(), BTreeMap::new());
        assert_eq!(earlier.confirmed_page(&Range::default(), 10).await.unwrap(), before);
    }
    let mut txn = write(&store).await;
    txn.staging_confirm().await.unwrap();
    assert!(txn.confirmed_page(&Range::default(), 10).await.unwrap().is_empty());
    drop(txn);
    assert_eq!(read(&store).await.confirmed_page(&Range::default(), 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn of_every_confirmed_record_it_is_noted_that_it_changed() {
    let store = TestStore::new().await;
    let numbers = 0..ROWS_MAX + 5;
    let keys: Vec<Key> = numbers.map(|n| key("note", &format!("{n:05}"))).collect();
    let other = key("other", "o");
    let mut txn = write(&store).await;
    for keys in keys.chunks(ROWS_MAX) {
        let rows: Vec<ConfirmedRow> = keys.iter().map(|key| row(key.clone(), 1, None)).collect();
        txn.confirmed_put(&rows).await.unwrap();
        txn.pending_put(&[record(other.clone(), None)]).await.unwrap();
        txn.remnants_put(&[row(other.clone(), 1, None)]).await.unwrap();
    }
    txn.all_changed().await.unwrap();
    txn.all_changed().await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = read(&store).await;
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let changes = txn.changes_after(after, ROWS_MAX).await.unwrap();
        let Some(last) = changes.last() else { break };
        after = last.position;
        found.extend(changes.into_iter().map(|change| change.key));
    }
    assert_eq!(found, keys);
}

#[tokio::test]
async fn lists_of_the_longest_length_are_taken() {
    let store = TestStore::new().await;
    let numbers = 1..=u64::try_from(ROWS_MAX).unwrap();
    let keys: Vec<Key> = numbers.clone().map(|n| key("note", &format!("{n:05}"))).collect();
    let entries: Vec<Entry> =
        numbers.zip(&keys).map(|(n, key)| entry(n, key.clone(), EntryState::Queued)).collect();
    let ids: Vec<MutationId> = entries.iter().map(Entry::id).collect();
    let rows: Vec<ConfirmedRow> = keys.iter().map(|key| row(key.clone(), 1, Some("{}"))).collect();
    let records: Vec<Record> = rows.iter().map(|row| row.record.clone()).collect();
    let mut txn = write(&store).await;
    txn.outbox_put(&entries).await.unwrap();
    txn.pending_put(&records).await.unwrap();
    txn.remnants_put(&rows).await.unwrap();
    assert_eq!(txn.outbox_get(&ids).await.unwrap(), entries);
    assert_eq!(txn.outbox_has(&keys).await.unwrap().len(), ROWS_MAX);
    assert_eq!(txn.outbox_last(&keys).await.unwrap().len(), ROWS_MAX);
    assert_eq!(txn.pending_get(&keys).await.unwrap().len(), ROWS_MAX);
    assert_eq!(txn.remnants_page(None, ROWS_MAX).await.unwrap(), rows);
    txn.pending_delete(&keys).await.unwrap();
    txn.outbox_remove(&ids).await.unwrap();
    assert_eq!(txn.pending_page(&Range::default(), 1).await.unwrap(), []);
    assert_eq!(txn.outbox_totals().await.unwrap(), OutboxTotals::default());
}

#[tokio::test]
async fn a_record_may_have_more_entries_than_a_page() {
    let store = TestStore::new().await;
    let count = u64::try_from(ROWS_MAX).unwrap() + 3;
    let entries: Vec<Entry> = (1..=count).map(|n| entry(n, key("note", "a"), EntryState::Queued)).collect();
    let mut txn = write(&store).await;
    for entries in entries.chunks(ROWS_MAX) {
        txn.outbox_put(entries).await.unwrap();
    }
    assert_eq!(orders(&txn.outbox_of(&key("note", "a")).await.unwrap()), (1..=count).collect::<Vec<_>>());
    assert_eq!(txn.outbox_page(None, usize::MAX).await.unwrap().len(), ROWS_MAX);
}

#[tokio::test]
async fn a_whole_store_has_nothing_wrong_with_it() {
    let store = TestStore::new().await;
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let rows = [row(key("note", "a"), 1, Some("{}")), row(key("note", "b"), 2, None)];
    let mut txn = write(&store).await;
    txn.confirmed_put(&rows).await.unwrap();
    txn.outbox_put(&[entry(4, key("note", "a"), dotted()), entry(5, key("note", "b"), set_aside())])
        .await
        .unwrap();
    txn.commit().await.unwrap();
    for _ in 0..2 {
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    }
    let mut txn = read(&store).await;
    assert_eq!(txn.confirmed_page(&Range::default(), 10).await.unwrap(), rows);
    assert_eq!(txn.outbox_totals().await.unwrap().entries, 2);
}
