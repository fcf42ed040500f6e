use super::*;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn id(n: usize) -> RecordId {
    RecordId::new(n.to_string()).unwrap()
}

fn asks(tenants: &[&str], conflicts: usize, per_minute: u32) -> Asks {
    let asks = Asks::new(per_minute);
    for name in tenants {
        (0..conflicts).for_each(|n| asks.add(&tenant(name), &id(n), Revision(1)));
    }
    asks
}

fn case(asks: &Asks, now_ms: u64) -> Case {
    match asks.turn(now_ms) {
        Turn::Ask(case) => case,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_conflict_waits_once_and_tenants_take_turns() {
    let asks = asks(&["a", "b"], 2, 100);
    asks.add(&tenant("a"), &id(0), Revision(2));
    let mut said = Vec::new();
    let mut open: Vec<Case> = Vec::new();
    loop {
        match asks.turn(0) {
            Turn::Ask(case) => open.push(case),
            Turn::Idle if open.is_empty() => break,
            Turn::Idle => {
                assert_eq!(
                    open.iter().map(|case| &case.tenant).collect::<Vec<_>>(),
                    [&tenant("a"), &tenant("b")]
                );
                for case in open.drain(..) {
                    asks.done(&case, Done::Over, 0);
                    said.push(case.id);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(said, [id(0), id(0), id(1), id(1)]);
}

#[test]
fn no_more_is_asked_at_once_than_the_bound_says() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let asks = asks(&names, 1, 100);
    let open: Vec<Case> = (0..AT_ONCE_MAX).map(|_| case(&asks, 0)).collect();
    assert_eq!(asks.turn(0), Turn::Idle);
    asks.done(&open[1], Done::Over, 0);
    assert_eq!(case(&asks, 0).tenant, tenant("e"));
    assert_eq!(asks.turn(0), Turn::Idle);
}

#[test]
fn no_more_is_asked_in_any_minute_than_the_budget_says() {
    let asks = asks(&["a"], 5, 2);
    for now_ms in [1_000, 2_000] {
        let case = case(&asks, now_ms);
        asks.done(&case, Done::Over, now_ms);
    }
    assert_eq!(asks.turn(3_000), Turn::Wait(58_000));
    assert_eq!(asks.turn(4_000), Turn::Wait(57_000));
    assert_eq!((asks.take_over_budget(), asks.take_over_budget()), (3, 0), "each is counted once");
    let next = case(&asks, 61_000);
    asks.done(&next, Done::Over, 61_000);
    assert_eq!(asks.turn(61_000), Turn::Wait(1_000));
}

#[test]
fn what_failed_comes_again_ever_later_and_not_for_ever() {
    let asks = asks(&["a"], 1, 100);
    let (mut now_ms, mut pauses) = (0, Vec::new());
    loop {
        let next = case(&asks, now_ms);
        if asks.done(&next, Done::Again, now_ms) {
            break;
        }
        match asks.turn(now_ms) {
            Turn::Wait(pause) => pauses.push(pause),
            other => panic!("{other:?}"),
        }
        now_ms += pauses.last().unwrap();
    }
    assert_eq!(pauses.len() + 1, usize::try_from(TRIES_MAX).unwrap());
    assert_eq!((pauses[0], pauses[1], pauses[14]), (PAUSE_MS, 2 * PAUSE_MS, PAUSE_MS_MAX));
    assert!(pauses.is_sorted());
    asks.add(&tenant("a"), &id(0), Revision(9));
    assert_eq!(asks.turn(now_ms), Turn::Idle, "it is left to a person, whatever becomes of it");
}

#[test]
fn what_was_answered_for_good_comes_again_only_when_it_has_moved() {
    let asks = asks(&["a"], 1, 100);
    asks.done(&case(&asks, 0), Done::Left(Revision(1)), 0);
    asks.add(&tenant("a"), &id(0), Revision(1));
    assert_eq!(asks.turn(0), Turn::Idle);
    asks.add(&tenant("a"), &id(0), Revision(2));
    let again = case(&asks, 0);
    // It moves once more while it is asked about.
    asks.add(&tenant("a"), &id(0), Revision(3));
    assert_eq!(asks.turn(0), Turn::Idle, "one at a time");
    asks.done(&again, Done::Left(Revision(2)), 0);
    assert_eq!(case(&asks, 0).id, id(0));
}

#[test]
fn past_the_bound_the_inbox_is_looked_through_again() {
    let asks = asks(&["a"], WAITING_MAX + 1, u32::MAX);
    for _ in 0..WAITING_MAX {
        let case = case(&asks, 0);
        assert!(!asks.done(&case, Done::Left(Revision(1)), 0));
    }
    assert_eq!(asks.turn(0), Turn::Look(tenant("a")));
    assert_eq!(asks.turn(0), Turn::Idle);
    (0..=WAITING_MAX).for_each(|n| asks.add(&tenant("a"), &id(n), Revision(1)));
    assert_eq!(case(&asks, 0).id, id(WAITING_MAX));
    assert_eq!(asks.turn(0), Turn::Idle, "the others are left to a person");
}

#[test]
fn a_clock_that_steps_back_holds_nothing_up_for_long() {
    let asks = asks(&["a"], 1, 1);
    let (late, early) = (10_000_000, 1_000);
    asks.done(&case(&asks, late), Done::Again, late);
    assert_eq!(case(&asks, early).id, id(0));
}
