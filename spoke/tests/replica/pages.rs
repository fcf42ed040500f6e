//! Pages of what is shown: how much is read for them, and where they end.

use super::*;
use semantics::ids::Digest;
use spoke::replica::Item;
use spoke::replica::pages::{Bounds, Part, ROWS_AT_ONCE};

/// Records that are confirmed, of which the one with this number is not what came: whoever reads it is told.
async fn confirmed(count: usize, damaged: usize) -> (Arc<TestStore>, Replica) {
    let mut hub = Hub::default();
    let (store, replica) = fresh().await;
    for n in 0..count {
        replica.put(key("note", &name(n)), object(json!({"n": n})), NOW).await.unwrap();
    }
    sync(&replica, &mut hub).await;
    if damaged < count {
        assert!(store.damage(&key("note", &name(damaged)), |row| row.digest = Digest::default()).await);
    }
    (store, replica)
}

fn name(n: usize) -> String {
    format!("n{n:04}")
}

fn names(part: &Part<Item>) -> Vec<&str> {
    part.items.iter().map(|item| item.record.key.id.as_str()).collect()
}

fn notes() -> Range {
    Range { kind: Some(key("note", "a").kind), ..Range::default() }
}

fn rows(rows: usize) -> Bounds {
    Bounds { rows, bytes: usize::MAX }
}

#[tokio::test]
async fn a_page_reads_no_more_rows_than_it_was_asked_for() {
    let count = ROWS_AT_ONCE + 10;
    for most in [1, 7, ROWS_AT_ONCE] {
        let (_, replica) = confirmed(count, most).await;
        let page = replica.records_part(&notes(), None, rows(most)).await.unwrap();
        assert_eq!((page.items.len(), page.is_last), (most, false));
        let further = replica.records_part(&notes(), None, rows(most + 1)).await;
        assert_eq!(reason(further), Reason::StoreCorrupt, "the next row was read");
    }
    // Where the bytes end the page, one reading is all there is beyond it.
    let (_, replica) = confirmed(count, ROWS_AT_ONCE).await;
    let page = replica.records_part(&notes(), None, Bounds { rows: 1_000, bytes: 20 }).await.unwrap();
    assert!(!page.is_last && page.items.len() < 5, "{}", page.items.len());
}

#[tokio::test]
async fn pages_that_end_by_bytes_go_on_where_they_ended() {
    let (_, replica) = confirmed(40, usize::MAX).await;
    for n in 0..40 {
        replica.put(key("note", &format!("own{n:04}")), object(json!({"n": n})), NOW).await.unwrap();
    }
    let expected: Vec<String> = (0..40).map(name).chain((0..40).map(|n| format!("own{n:04}"))).collect();
    for bounds in [Bounds { rows: 1_000, bytes: 1 }, Bounds { rows: 1_000, bytes: 30 }, rows(7), rows(80)] {
        let (mut range, mut found, mut queued) = (notes(), Vec::new(), Vec::new());
        loop {
            let page = replica.records_part(&range, None, bounds).await.unwrap();
            found.extend(names(&page).into_iter().map(str::to_owned));
            assert!(page.is_last || !page.items.is_empty());
            range.after = page.items.last().map(|item| item.record.key.clone());
            if page.is_last || found.len() > expected.len() {
                break;
            }
        }
        assert_eq!(found, expected, "{bounds:?}");
        let mut after = None;
        loop {
            let page = replica.outbox_part(after, bounds).await.unwrap();
            after = page.items.last().map(|entry| entry.order);
            queued.extend(page.items.into_iter().map(|entry| entry.mutation.key.id.to_string()));
            if page.is_last || after.is_none() {
                break;
            }
        }
        assert_eq!(queued, expected[40..], "{bounds:?}");
    }
}

#[tokio::test]
async fn what_is_hidden_makes_no_page_end_early() {
    let (_, replica) = confirmed(150, usize::MAX).await;
    for n in 1..149 {
        replica.delete(key("note", &name(n)), NOW).await.unwrap();
    }
    let page = replica.records_part(&notes(), None, rows(2)).await.unwrap();
    assert_eq!(names(&page), [name(0), name(149)]);
    let equals = json!(149);
    let page = replica.records_part(&notes(), Some(("n", &equals)), rows(1)).await.unwrap();
    assert_eq!(names(&page), [name(149)]);
    let page = replica.records_part(&notes(), None, rows(3)).await.unwrap();
    assert_eq!((names(&page), page.is_last), (vec!["n0000", "n0149"], true));
}
