use semantics::ids::{Digest, Domain, LogId};
use semantics::view::Selector;

use super::rows::PART_BYTES;
use super::*;

fn head(commit: u64) -> Head {
    Head { commit: CommitNumber(commit), chain: Digest([7; 32]), ..Head::empty(LogId([1; 16])) }
}

fn batch(commit: u64) -> Batch {
    Batch::new(Before::of(&head(commit - 1)), head(commit), Vec::new())
}

fn view(n: usize) -> Arc<View> {
    let domain = Domain::new(format!("d{n}")).unwrap();
    Arc::new(View { cells: [Selector { domain, kind: None, facet: None }].into() })
}

fn held(feed: &Feed) -> usize {
    feed.parts_bytes.load(Ordering::Relaxed)
}

#[test]
fn a_batch_is_put_together_once_for_equal_views() {
    let feed = Feed::default();
    feed.push(batch(1));
    let Live::Batch(batch) = feed.after(CommitNumber(0), None) else { panic!("it is there") };
    let part = feed.part(&batch, &mut view(1));
    assert!(Arc::ptr_eq(&part, &feed.part(&batch, &mut view(1))));
    assert!(!Arc::ptr_eq(&part, &feed.part(&batch, &mut view(2))));
}

#[test]
fn equal_views_become_one() {
    let feed = Feed::default();
    feed.push(batch(1));
    let Live::Batch(batch) = feed.after(CommitNumber(0), None) else { panic!("it is there") };
    let [mut one, mut two, mut other] = [view(1), view(1), view(2)];
    for view in [&mut one, &mut two, &mut other] {
        let _made = feed.part(&batch, view);
    }
    assert!(Arc::ptr_eq(&one, &two) && other == view(2));
}

#[test]
fn many_views_take_no_more_than_their_bound() {
    let feed = Feed::default();
    let views = RING_PARTS_BYTES_MAX / PART_BYTES / 32 + 1;
    for commit in 1..=64 {
        feed.push(batch(commit));
        let Live::Batch(batch) = feed.after(CommitNumber(commit - 1), None) else { panic!("it is there") };
        let mut parts = batch.rows.parts();
        for n in 0..views {
            parts.of_views.push((view(n), Since::Before, Arc::default()));
        }
        parts.bytes += views * PART_BYTES;
        feed.parts_bytes.fetch_add(views * PART_BYTES, Ordering::Relaxed);
        drop(parts);
        let _made = feed.part(&batch, &mut view(0));
        assert!(held(&feed) <= RING_PARTS_BYTES_MAX, "{} after {commit} commits", held(&feed));
    }
    assert!(held(&feed) > RING_PARTS_BYTES_MAX / 4, "the newest stay put together");
}

#[test]
fn what_leaves_the_ring_takes_its_parts_with_it() {
    let feed = Feed::default();
    feed.push(batch(1));
    if let Live::Batch(batch) = feed.after(CommitNumber(0), None) {
        let _made = feed.part(&batch, &mut view(1));
    }
    assert_eq!(held(&feed), PART_BYTES);
    // A gap starts the ring anew.
    feed.push(batch(9));
    assert_eq!(held(&feed), 0);
}
