//! Each rule, and a history that breaks it and no other.

use super::*;

fn numbers(of: &[(&str, u64)]) -> Numbers {
    of.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

/// An acknowledged write of records.
fn wrote(records: &[&str]) -> Event {
    let records = records.iter().map(|record| (*record).to_owned()).collect();
    Event::Wrote(Write { records, is_delete: false, is_acknowledged: true })
}

/// A write of which nobody was told.
fn tried(record: &str) -> Event {
    Event::Wrote(Write { records: vec![record.to_owned()], is_delete: false, is_acknowledged: false })
}

fn deleted(record: &str) -> Event {
    Event::Wrote(Write { records: vec![record.to_owned()], is_delete: true, is_acknowledged: true })
}

/// A look at a record at a revision; 0 = not confirmed.
fn saw(record: &str, revision: u64, of: &[(&str, u64)]) -> Event {
    let shown = Shown { revision: (revision > 0).then_some(revision), numbers: numbers(of) };
    Event::Read(Read { record: record.to_owned(), shown: Some(shown) })
}

fn missed(record: &str) -> Event {
    Event::Read(Read { record: record.to_owned(), shown: None })
}

fn client(name: &str, events: Vec<Event>) -> Client {
    Client { name: name.to_owned(), events }
}

fn row(record: &str, revision: u64, of: &[(&str, u64)]) -> Row {
    Row { record: record.to_owned(), revision, numbers: Some(numbers(of)) }
}

fn gone(record: &str, revision: u64) -> Row {
    Row { record: record.to_owned(), revision, numbers: None }
}

/// The log of clients that began after revision 10.
fn log(rows: Vec<Row>) -> Log {
    let last = rows.iter().map(|row| row.revision).max().unwrap_or(10);
    Log { rows, first: 10, last, whole_after: 10 }
}

/// Two clients at work on records of their own and a shared one, a group and a deletion, and nothing wrong.
fn good() -> ([Client; 2], Log) {
    let a = vec![
        wrote(&["a1"]),
        saw("a1", 0, &[("a", 1)]),
        tried("a2"),
        wrote(&["board"]),
        saw("board", 13, &[("a", 3)]),
        wrote(&["left", "right"]),
        deleted("a1"),
        missed("a1"),
    ];
    let b = vec![
        missed("a1"),
        saw("a1", 11, &[("a", 1)]),
        wrote(&["b1"]),
        saw("board", 13, &[("a", 3)]),
        wrote(&["board"]),
        saw("board", 0, &[("a", 3), ("b", 2)]),
        saw("left", 15, &[("a", 4)]),
        saw("right", 16, &[("a", 4)]),
        missed("a1"),
    ];
    let rows = vec![
        row("a1", 11, &[("a", 1)]),
        row("b1", 12, &[("b", 1)]),
        row("board", 13, &[("a", 3)]),
        row("board", 14, &[("a", 3), ("b", 2)]),
        row("left", 15, &[("a", 4)]),
        row("right", 16, &[("a", 4)]),
        gone("a1", 17),
    ];
    ([client("a", a), client("b", b)], log(rows))
}

#[test]
fn a_good_history_is_found_good() {
    let (clients, log) = good();
    let verdict = judge(&clients, &log);
    assert!(verdict.is_kept(), "{verdict:?}");
    assert_eq!(verdict.to_string(), "6 acknowledged, 0 lost, 0 doubled, 0 out of order");
    let of_reads = "10 reads, 0 without their own writes, 0 gone back, 0 without a cause, 0 diverged";
    assert_eq!(verdict.of_reads(), of_reads);
}

#[test]
fn a_history_of_which_nobody_was_told_anything_shows_nothing() {
    assert!(!judge(&[client("a", vec![tried("a1")])], &log(Vec::new())).is_kept());
}

/// A history by itself, what stands in the log, and what is to be found in it.
fn found(clients: &[Client], rows: Vec<Row>) -> Verdict {
    let mut verdict = judge(clients, &log(rows));
    (verdict.acknowledged, verdict.reads) = (0, 0);
    verdict
}

fn one(set: impl FnOnce(&mut Verdict)) -> Verdict {
    let mut verdict = Verdict::default();
    set(&mut verdict);
    verdict
}

#[test]
fn what_was_acknowledged_and_stands_nowhere_is_lost() {
    let a = [client("a", vec![wrote(&["a1"]), wrote(&["a2"])])];
    assert_eq!(found(&a, vec![row("a1", 11, &[("a", 1)])]), one(|verdict| verdict.lost = 1));
    let group = [client("a", vec![wrote(&["left", "right"])])];
    assert_eq!(
        found(&group, vec![row("left", 11, &[("a", 1)])]),
        one(|verdict| verdict.lost = 1),
        "half a group"
    );
    let field = [client("a", vec![wrote(&["board"]), wrote(&["board"])])];
    assert_eq!(
        found(&field, vec![row("board", 11, &[("a", 1)])]),
        one(|verdict| verdict.lost = 1),
        "an older field"
    );
    let delete = [client("a", vec![wrote(&["a1"]), deleted("a1")])];
    assert_eq!(
        found(&delete, vec![row("a1", 11, &[("a", 1)])]),
        one(|verdict| verdict.lost = 1),
        "a deletion"
    );
    assert_eq!(found(&delete, Vec::new()), one(|verdict| verdict.lost = 1), "both of them");
    let mut pruned = judge(&delete, &Log { first: 10, last: 14, whole_after: 14, ..log(Vec::new()) });
    pruned.acknowledged = 0;
    assert_eq!(pruned, Verdict::default(), "its tombstone is collected");
}

#[test]
fn a_revision_that_no_first_write_explains_is_an_effect_that_came_twice() {
    let a = [client("a", vec![wrote(&["a1"]), wrote(&["board"])])];
    let first = || row("a1", 11, &[("a", 1)]);
    let unexplained = found(&a, vec![first(), row("board", 13, &[("a", 2)])]);
    assert_eq!(unexplained, one(|verdict| verdict.doubled = 1));
    let again = vec![first(), row("board", 12, &[("a", 2)]), row("board", 13, &[("a", 2)])];
    assert_eq!(found(&a, again), one(|verdict| verdict.doubled = 1), "the same once more");
    let delete = [client("a", vec![wrote(&["a1"]), deleted("a1"), wrote(&["a2"])])];
    let deleted_again = vec![first(), gone("a1", 12), row("a2", 13, &[("a", 3)]), gone("a1", 14)];
    let twice = one(|verdict| (verdict.doubled, verdict.out_of_order) = (1, 1));
    assert_eq!(found(&delete, deleted_again), twice, "a deletion once more");
    let shared = found(&a, vec![first(), row("board", 11, &[("a", 2)])]);
    assert_eq!(shared, one(|verdict| verdict.doubled = 1), "one revision given twice");
}

#[test]
fn a_write_that_stands_before_an_earlier_one_is_out_of_order() {
    let a = [client("a", vec![wrote(&["a1"]), wrote(&["a2"])])];
    let swapped = found(&a, vec![row("a2", 11, &[("a", 2)]), row("a1", 12, &[("a", 1)])]);
    assert_eq!(swapped, one(|verdict| verdict.out_of_order = 1));
}

#[test]
fn what_nobody_wrote_is_made_up() {
    let a = [client("a", vec![wrote(&["a1"])])];
    let first = || row("a1", 11, &[("a", 1)]);
    assert_eq!(found(&a, vec![first(), row("x", 12, &[("a", 1)])]), one(|verdict| verdict.made_up = 1));
    assert_eq!(found(&a, vec![first(), row("x", 12, &[("z", 1)])]), one(|verdict| verdict.made_up = 1));
    let seen = [client("a", vec![wrote(&["a1"]), saw("a1", 0, &[("a", 1), ("z", 1)])])];
    assert_eq!(found(&seen, vec![first()]), one(|verdict| verdict.made_up = 1));
}

#[test]
fn a_client_that_is_not_shown_its_own_write_has_not_read_it() {
    let rows = || vec![row("a1", 11, &[("a", 1)])];
    let absent = [client("a", vec![wrote(&["a1"]), missed("a1")])];
    assert_eq!(found(&absent, rows()), one(|verdict| verdict.unread = 1));
    let older = [client("a", vec![wrote(&["board"]), wrote(&["board"]), saw("board", 11, &[("a", 1)])])];
    let both = vec![row("board", 11, &[("a", 1)]), row("board", 12, &[("a", 2)])];
    assert_eq!(found(&older, both), one(|verdict| verdict.unread = 1));
    let unsure = [client("a", vec![wrote(&["a1"]), tried("a2"), missed("a2")])];
    assert_eq!(found(&unsure, rows()), Verdict::default(), "nobody said that it is kept");
}

#[test]
fn a_record_that_shows_less_than_before_has_gone_back() {
    let a = || client("a", vec![wrote(&["board"]), wrote(&["board"])]);
    let rows = || vec![row("board", 11, &[("a", 1)]), row("board", 12, &[("a", 2)])];
    let back = [a(), client("b", vec![saw("board", 12, &[("a", 2)]), saw("board", 11, &[("a", 1)])])];
    assert_eq!(found(&back, rows()), one(|verdict| verdict.back = 1));
    let gone = [a(), client("b", vec![saw("board", 12, &[("a", 2)]), missed("board")])];
    assert_eq!(found(&gone, rows()), one(|verdict| verdict.back = 1));
}

#[test]
fn what_was_deleted_and_is_shown_again_has_gone_back() {
    let a = client("a", vec![wrote(&["a1"]), deleted("a1")]);
    let saw_it = || saw("a1", 11, &[("a", 1)]);
    let b = client("b", vec![saw_it(), missed("a1"), saw_it()]);
    let rows = vec![row("a1", 11, &[("a", 1)]), gone("a1", 12)];
    assert_eq!(found(&[a, b], rows), one(|verdict| verdict.back = 1));
}

#[test]
fn an_effect_that_is_shown_without_its_cause_is_noticed() {
    let a = || client("a", vec![wrote(&["a1"])]);
    let b = || client("b", vec![saw("a1", 11, &[("a", 1)]), wrote(&["b1"])]);
    let rows = || vec![row("a1", 11, &[("a", 1)]), row("b1", 12, &[("b", 1)])];
    let with = client("c", vec![saw("b1", 12, &[("b", 1)]), saw("a1", 11, &[("a", 1)])]);
    assert_eq!(found(&[a(), b(), with], rows()), Verdict::default());
    let without = client("c", vec![saw("b1", 12, &[("b", 1)]), missed("a1")]);
    assert_eq!(found(&[a(), b(), without], rows()), one(|verdict| verdict.uncaused = 1));
    // Over somebody between, and of a record that all share.
    let third = client("c", vec![saw("b1", 12, &[("b", 1)]), wrote(&["c1"])]);
    let far = client("d", vec![saw("c1", 13, &[("c", 1)]), missed("a1")]);
    let more = || [rows(), vec![row("c1", 13, &[("c", 1)])]].concat();
    assert_eq!(found(&[a(), b(), third, far], more()), one(|verdict| verdict.uncaused = 1));
}

#[test]
fn a_group_of_which_one_part_is_shown_is_noticed() {
    let a = client("a", vec![wrote(&["left", "right"])]);
    let b = client("b", vec![saw("left", 11, &[("a", 1)]), missed("right")]);
    let rows = vec![row("left", 11, &[("a", 1)]), row("right", 12, &[("a", 1)])];
    assert_eq!(found(&[a, b], rows), one(|verdict| verdict.uncaused = 1));
}

#[test]
fn a_revision_before_what_its_writer_had_seen_is_noticed() {
    let a = client("a", vec![wrote(&["a1"])]);
    let b = client("b", vec![saw("a1", 0, &[("a", 1)]), wrote(&["b1"])]);
    let rows = vec![row("b1", 11, &[("b", 1)]), row("a1", 12, &[("a", 1)])];
    assert_eq!(found(&[a, b], rows), one(|verdict| verdict.uncaused = 1));
}

#[test]
fn one_revision_that_shows_two_things_has_diverged() {
    let a = || client("a", vec![wrote(&["board"]), wrote(&["board"])]);
    let rows = || vec![row("board", 11, &[("a", 1)]), row("board", 12, &[("a", 2)])];
    let other = client("b", vec![saw("board", 12, &[("a", 1)])]);
    assert_eq!(found(&[a(), other], rows()), one(|verdict| verdict.diverged = 1));
    // Where the log was cut short it is one reader beside the other.
    let cut = Log { rows: vec![row("board", 12, &[("a", 2)])], first: 10, last: 12, whole_after: 11 };
    let reader = |name: &str, number| client(name, vec![saw("board", 11, &[("a", number)])]);
    assert!(judge(&[a(), reader("b", 1), reader("c", 1)], &cut).is_kept());
    assert_eq!(judge(&[a(), reader("b", 1), reader("c", 2)], &cut).diverged, 1);
}

#[test]
fn what_retention_took_from_the_log_is_not_missed() {
    let a = client("a", vec![wrote(&["board"]), wrote(&["a1"])]);
    let b = client("b", vec![wrote(&["board"]), wrote(&["b1"])]);
    // The board was written at 11 and 13; only what stands is left of it, and of what came after 12 everything.
    let rows =
        vec![row("a1", 12, &[("a", 2)]), row("board", 13, &[("a", 1), ("b", 1)]), row("b1", 14, &[("b", 2)])];
    let log = Log { rows, first: 10, last: 14, whole_after: 12 };
    let verdict = judge(&[a, b], &log);
    assert!(verdict.is_kept(), "{verdict:?}");
}
