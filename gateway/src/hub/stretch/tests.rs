use semantics::ids::{CommitNumber, Digest, LogId};

use super::*;

fn head(commit: u64) -> Head {
    let revision = Revision(commit);
    Head { commit: CommitNumber(commit), revision, chain: Digest([7; 32]), ..Head::empty(LogId([1; 16])) }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn need(now: u64) -> Need {
    Need { floor: None, is_plain: true, known: Revision(0), head: head(now), bytes_max: 100, now_ms: 1_000 }
}

/// A page without rows, read at a commit.
fn page(commit: u64, reaches_head: bool) -> ShownPage {
    ShownPage {
        head: head(commit),
        rows: Vec::new(),
        last: Revision(3),
        reaches_head,
        current: BTreeMap::new(),
        cells: Vec::new(),
        has_cells: false,
    }
}

fn read(read_ms: u64) -> Taken {
    Taken { bytes_max: 100, read_ms, is_without_history: false }
}

fn stretch(commit: u64, reaches_head: bool) -> Arc<Stretch> {
    Stretches::default().take((tenant("acme"), Revision(3)), page(commit, reaches_head), read(1_000), false)
}

#[test]
fn a_stretch_serves_who_could_have_read_it_in_that_moment() {
    let need = |floor: u64, now: u64| Need { floor: Some(Revision(floor)), ..need(now) };
    assert!(stretch(10, false).serves(&need(10, 20)), "what came since follows");
    assert!(!stretch(10, false).serves(&need(11, 20)), "its reader may hold what is younger");
    assert!(!stretch(10, false).serves(&need(5, 9)), "a log that was put back does not hold it");
    assert!(!stretch(10, false).serves(&Need { bytes_max: 99, ..need(5, 20) }), "pages are smaller by now");
    assert!(!stretch(10, false).serves(&Need { known: Revision(11), ..need(5, 20) }), "a younger view");
    let (last, late, back) = (1_000 + STRETCH_MS_MAX, 1_001 + STRETCH_MS_MAX, 999);
    assert!(stretch(10, false).serves(&Need { now_ms: last, ..need(5, 20) }));
    assert!(!stretch(10, false).serves(&Need { now_ms: late, ..need(5, 20) }), "too long ago");
    assert!(!stretch(10, false).serves(&Need { now_ms: back, ..need(5, 20) }), "nobody knows how long ago");
    let other = Head { log_id: LogId([2; 16]), ..head(20) };
    assert!(!stretch(10, false).serves(&Need { head: other, ..need(5, 20) }), "another log");
    assert!(stretch(10, true).serves(&need(5, 10)), "the head has not moved: a cut");
    assert!(!stretch(10, true).serves(&need(5, 11)), "it would bring nobody on");
    let forked = Head { chain: Digest([8; 32]), ..head(10) };
    assert!(!stretch(10, true).serves(&Need { head: forked, ..need(5, 10) }), "a head of another chain");
}

#[test]
fn a_stretch_without_history_serves_who_began_with_nothing_after_it() {
    let read = Taken { is_without_history: true, ..read(1_000) };
    let stretch = Stretches::default().take((tenant("acme"), Revision(3)), page(10, false), read, false);
    assert_eq!(stretch.rows.last(), Revision(3));
    let need = |floor: Option<u64>| Need { floor: floor.map(Revision), ..need(20) };
    assert!(stretch.serves(&need(None)) && stretch.serves(&need(Some(3))));
    assert!(!stretch.serves(&need(Some(2))), "it may hold what left with a row that is not there");
    assert!(!stretch.serves(&Need { is_plain: false, ..need(Some(3)) }), "it was shown some of it before");
}

#[test]
fn a_stretch_is_kept_as_long_as_it_may_serve() {
    let stretches = Stretches::default();
    for (after, read_ms) in [(3, 1_000), (5, 2_000)] {
        let place = (tenant("acme"), Revision(after));
        drop(stretches.take(place, page(10, false), read(read_ms), true));
    }
    let is_kept = |after| {
        stretches.find(&tenant("acme"), Revision(after)).is_some_and(|s| s.rows.after() == Revision(after))
    };
    for (now_ms, first, second) in [
        (1_000 + STRETCH_MS_MAX, true, true),
        (1_001 + STRETCH_MS_MAX, false, true),
        (2_001 + STRETCH_MS_MAX, false, false),
    ] {
        stretches.forget_old(now_ms);
        assert_eq!((is_kept(3), is_kept(5)), (first, second), "at {now_ms}");
    }
    assert_eq!(stretches.lock().bytes, 0);
}

#[test]
fn who_holds_nothing_is_served_what_was_read_above_the_horizon() {
    let need = |horizon| Need { head: Head { horizon: Revision(horizon), ..head(20) }, ..need(20) };
    assert!(stretch(10, false).serves(&need(10)) && !stretch(10, false).serves(&need(11)));
}

#[test]
fn a_stretch_is_found_by_its_own_tenant_and_kept_only_where_several_read() {
    let stretches = Stretches::default();
    let place = |name| (tenant(name), Revision(3));
    let _lone = stretches.take(place("acme"), page(10, false), read(1_000), false);
    assert!(stretches.find(&tenant("acme"), Revision(3)).is_none());
    let kept = stretches.take(place("acme"), page(10, false), read(1_000), true);
    assert!(stretches.find(&tenant("acme"), Revision(3)).is_some_and(|found| Arc::ptr_eq(&found, &kept)));
    for (name, after) in [("acme", 2), ("acme", 4), ("other", 3), ("zoo", 3)] {
        assert!(stretches.find(&tenant(name), Revision(after)).is_none(), "{name} {after}");
    }
    let anew = stretches.take(place("acme"), page(11, false), read(1_000), true);
    assert!(stretches.find(&tenant("acme"), Revision(3)).is_some_and(|found| Arc::ptr_eq(&found, &anew)));
}

#[test]
fn many_stretches_take_no_more_than_their_bound() {
    let stretches = Stretches::default();
    let places = u64::try_from(2 * STRETCHES_BYTES_MAX / STRETCH_BYTES).unwrap();
    for after in 0..places {
        let _kept = stretches.take((tenant("acme"), Revision(after)), page(places, false), read(1_000), true);
    }
    let kept = stretches.lock();
    assert!(kept.bytes <= STRETCHES_BYTES_MAX && kept.at.len() == kept.order.len());
    assert!(kept.bytes > STRETCHES_BYTES_MAX / 2, "the newest stay");
    assert!(!kept.at.contains_key(&(tenant("acme"), Revision(0))), "the oldest went");
}
