//! Reads: order, bounds, and what comes with them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use gateway::store::{
    Appended, CellRow, LOAD_KEYS_MAX, LogEntry, LogQuery, Only, PAGE_CELLS_MAX, PointerQuery, Prune,
    ShownRow, Wanted,
};
use semantics::ids::{CommitNumber, Key, Kind, NodeId, Revision, Writer};
use semantics::lthash::LtHash;

use crate::support::engine::Engine;
use crate::support::rows::{Log, all_records, cell, everything, key, note, tenant, writer, writer_row};

pub async fn log_pages_are_in_revision_order(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    for _ in 0..4 {
        let draft = log.draft().put(&note("b"), b"1").put(&note("a"), b"1").put(&note("c"), b"1");
        log.append(&*store, draft).await;
    }
    let walk = async || {
        let mut found = Vec::new();
        let mut query = LogQuery { rows_max: 5, ..everything(Revision::ZERO) };
        loop {
            let page = store.log_page(&log.tenant, &query).await.unwrap();
            found.extend(page.entries.iter().map(|entry| entry.row.revision.0));
            query.after = page.entries.last().map_or(query.after, |entry| entry.row.revision);
            assert_eq!((page.has_cells, page.cells.is_empty()), (page.reaches_head, !page.reaches_head));
            if page.reaches_head {
                return found;
            }
            assert_eq!(page.entries.len(), 5);
        }
    };
    assert_eq!(walk().await, (1..=12).collect::<Vec<_>>());
    let prune = Prune { rows: [1, 2, 3, 4, 8, 9].map(Revision).to_vec(), ..Prune::default() };
    store.prune(&log.tenant, &prune).await.unwrap();
    assert_eq!(walk().await, [5, 6, 7, 10, 11, 12]);
    for after in [12, 13, 1_000_000] {
        let page = store.log_page(&log.tenant, &everything(Revision(after))).await.unwrap();
        assert!(page.entries.is_empty() && page.reaches_head && !page.cells.is_empty());
    }
}

pub async fn pages_are_bounded(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["a", "b", "c", "d", "e"]).await;
    for max in 1..=6 {
        let query = LogQuery { rows_max: max, ..everything(Revision::ZERO) };
        let page = store.log_page(&log.tenant, &query).await.unwrap();
        assert_eq!((page.entries.len(), page.reaches_head), (max.min(5), max >= 5));
        let query = PointerQuery { rows_max: max, ..all_records() };
        let page = store.pointer_page(&log.tenant, &query).await.unwrap();
        assert_eq!((page.rows.len(), page.is_last), (max.min(5), max >= 5));
        let commits = store.commits_after(&log.tenant, CommitNumber::ZERO, max).await.unwrap();
        assert_eq!(commits.len(), max.min(5));
    }
}

pub async fn a_log_page_stops_after_the_row_that_reaches_the_bytes(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let draft = log.draft().put(&note("a"), &[1; 1000]).put(&note("b"), &[1; 10]).put(&note("c"), &[1; 1000]);
    let rows = log.append(&*store, draft).await.rows;
    let weight = |n: usize| rows[..n].iter().map(|row| row.record.weight()).sum::<usize>();
    for (bytes_max, expected) in
        [(1, 1), (weight(1), 1), (weight(1) + 1, 2), (weight(2), 2), (weight(2) + 1, 3), (weight(3), 3)]
    {
        let query = LogQuery { bytes_max, ..everything(Revision::ZERO) };
        let page = store.log_page(&log.tenant, &query).await.unwrap();
        assert_eq!((page.entries.len(), page.reaches_head), (expected, expected == 3), "{bytes_max}");
    }
}

pub async fn a_pointer_page_stops_after_the_row_that_reaches_the_bytes(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let draft = log.draft().put(&note("a"), &[1; 1000]).put(&note("b"), &[1; 10]).put(&note("c"), &[1; 1000]);
    let rows = log.append(&*store, draft).await.rows;
    let weight = |n: usize| rows[..n].iter().map(|row| row.record.weight()).sum::<usize>();
    for (bytes_max, expected) in
        [(1, 1), (weight(1), 1), (weight(1) + 1, 2), (weight(2), 2), (weight(2) + 1, 3), (weight(3), 3)]
    {
        let query = PointerQuery { bytes_max, ..all_records() };
        let page = store.pointer_page(&log.tenant, &query).await.unwrap();
        assert_eq!((page.rows.len(), page.is_last), (expected, expected == 3), "{bytes_max}");
    }
}

pub async fn a_log_page_tells_where_each_record_is_now(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let (here, there) = (cell("here", "note", Some("f")), cell("there", "note", None));
    let draft = log.draft().put_in(&here, &note("a"), b"1").put(&note("b"), b"1");
    log.append(&*store, draft).await;
    let draft = log.draft().put_in(&there, &note("a"), b"2").delete(&note("b"));
    log.append(&*store, draft).await;
    let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
    for entry in &page.entries {
        assert_eq!(entry.now.as_ref(), log.pointers.get(&entry.row.record.key));
    }
    let departed = page.entries[2].row.departed.as_ref().unwrap();
    assert_eq!((&departed.cell, departed.since), (&here, Revision(1)));
    assert!(page.entries[3].row.departed.is_none() && page.entries[3].now.as_ref().unwrap().deleted);
}

/// Rows with their records as values.
fn values(rows: &[ShownRow]) -> Vec<impl PartialEq + fmt::Debug + use<>> {
    let value = |row: &ShownRow| {
        let ShownRow { revision, key, cell, departed, now, weight, record } = row.clone();
        (revision, key, cell, departed, now, weight, record.to_record().unwrap())
    };
    rows.iter().map(value).collect()
}

pub async fn a_shown_page_is_a_log_page_without_what_nobody_is_sent(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let there = cell("there", "note", Some("f"));
    let draft = log.draft().put(&note("a"), b"1").put(&note("b"), b"1").put(&note("c"), b"");
    log.append(&*store, draft).await;
    let draft = log.draft().put_in(&there, &note("a"), b"2").delete(&note("b")).put(&note("c"), b"2");
    log.append(&*store, draft).await;
    let draft = log.draft().put_in(&there, &note("a"), b"3").put(&note("d"), &[7; 20_000]);
    log.append(&*store, draft).await;
    // Above the horizon the end of a log is read in a way of its own.
    for (later, last) in [(0, note("d")), (1, note("e"))] {
        if later > 0 {
            let draft = log.draft().put(&last, b"").horizon(1);
            log.append(&*store, draft).await;
        }
        let all = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap().entries;
        let is_said = |entry: &&LogEntry| {
            let is_latest = entry.now.as_ref().is_some_and(|now| now.revision == entry.row.revision);
            is_latest || entry.row.departed.is_some()
        };
        let expected: Vec<ShownRow> = all.iter().filter(is_said).cloned().map(ShownRow::from).collect();
        assert!(
            expected.len() == 5 + later && all.len() == 8 + later,
            "a record that left says so, though it was superseded"
        );
        for rows_max in 1..=6 {
            let mut query = LogQuery { rows_max, ..everything(Revision::ZERO) };
            let mut found = Vec::new();
            loop {
                let page = store.shown_page(&log.tenant, &query, None).await.unwrap();
                assert!(page.rows.len() <= rows_max && page.has_cells == page.reaches_head);
                found.extend(page.rows);
                query.after = page.last;
                if page.reaches_head {
                    break;
                }
            }
            assert_eq!(query.after, log.pointers[&last].revision, "to the end of what was looked at");
            assert_eq!(values(&found), values(&expected));
        }
    }
    let query = LogQuery { bytes_max: 1, ..everything(Revision::ZERO) };
    let page = store.shown_page(&log.tenant, &query, None).await.unwrap();
    assert_eq!((page.rows.len(), page.last, page.reaches_head), (1, Revision(4), false));
}

pub async fn latest_revisions_are_those_of_all_records(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    assert_eq!(store.latest(&log.tenant, 0).await.unwrap().unwrap().revisions, []);
    let draft =
        log.draft().put(&note("a"), b"1").put(&note("b"), b"1").put(&note("c"), b"1").delete(&note("b"));
    log.append(&*store, draft).await;
    let draft = log.draft().put(&note("a"), b"2");
    log.append(&*store, draft).await;
    let latest = store.latest(&log.tenant, 3).await.unwrap().unwrap();
    assert_eq!(latest.revisions, [3, 4, 5].map(Revision), "a tombstone is one");
    assert_eq!(latest.head, log.head);
    assert_eq!(store.latest(&log.tenant, 2).await.unwrap(), None, "more than asked for");
}

pub async fn a_shown_page_of_latest_revisions_is_without_history(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    // Far apart and close together, light and heavy; the last two lie beyond what is asked for.
    let there = cell("there", "note", Some("f"));
    let mut draft = log.draft().put(&note("c"), b"1");
    for _ in 0..20 {
        draft = draft.put(&note("often"), b"x");
    }
    draft = draft.put(&note("a"), &[7; 20_000]).put_in(&there, &note("b"), b"1").delete(&note("c"));
    log.append(&*store, draft).await;
    let latest = Arc::new(store.latest(&log.tenant, 10).await.unwrap().unwrap());
    assert_eq!(latest.revisions, [21, 22, 23, 24].map(Revision));
    let at_once = store.shown_page(&log.tenant, &everything(Revision::ZERO), None).await.unwrap();
    let draft = log.draft().put(&note("a"), b"2").put(&note("d"), b"");
    log.append(&*store, draft).await;
    let stood = |rows: &[ShownRow]| {
        let stood = rows.iter().filter(|row| row.key != note("a")).cloned();
        values(&stood.collect::<Vec<_>>())
    };
    for (to, expected) in [(24, 4), (22, 2), (20, 0)] {
        let only = Only { latest: Arc::clone(&latest), to: Revision(to) };
        for rows_max in 1..=5 {
            let mut query = LogQuery { rows_max, ..everything(Revision::ZERO) };
            let mut found = Vec::new();
            while query.after < only.to {
                let page = store.shown_page(&log.tenant, &query, Some(&only)).await.unwrap();
                assert!(page.rows.len() <= rows_max && page.last > query.after && page.head == log.head);
                assert!(!page.reaches_head && !page.has_cells, "the log went on");
                found.extend(page.rows);
                query.after = page.last;
            }
            assert_eq!(query.after, only.to, "to the end of what was asked for");
            assert_eq!(values(&found), stood(&at_once.rows[..expected]), "what still stands, up to {to}");
        }
    }
    let prune = Prune { rows: vec![Revision(23)], ..Prune::default() };
    store.prune(&log.tenant, &prune).await.unwrap();
    let only = Only { latest, to: Revision(24) };
    let page = store.shown_page(&log.tenant, &everything(Revision(20)), Some(&only)).await.unwrap();
    let kept: Vec<Revision> = page.rows.iter().map(|row| row.revision).collect();
    assert_eq!((kept, page.last), ([21, 24].map(Revision).to_vec(), Revision(24)));
    let latest = Arc::new(store.latest(&log.tenant, 10).await.unwrap().unwrap());
    let only = Only { to: latest.head.revision, latest };
    let page = store.shown_page(&log.tenant, &everything(Revision::ZERO), Some(&only)).await.unwrap();
    assert!(page.reaches_head && page.has_cells && page.rows.len() == 4);
}

pub async fn a_log_page_brings_records_and_cells(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let draft = log.draft().put(&note("a"), b"1").put(&key("entity", "b"), b"1");
    log.append(&*store, draft).await;
    let keys: BTreeSet<_> = [note("a"), note("absent")].into();
    let query = LogQuery { keys: keys.clone(), ..everything(Revision(1)) };
    let page = store.log_page(&log.tenant, &query).await.unwrap();
    assert_eq!(page.current.keys().collect::<Vec<_>>(), [&note("a")]);
    assert_eq!(page.current[&note("a")].pointer, log.pointers[&note("a")]);
    let cells: BTreeSet<_> = page.cells.into_iter().map(|row| (row.cell, row.hash.finish())).collect();
    assert_eq!(cells, log.cells.iter().map(|(cell, hash)| (cell.clone(), hash.finish())).collect());
    let query = LogQuery { keys: keys.clone(), rows_max: 1, ..everything(Revision::ZERO) };
    let page = store.log_page(&log.tenant, &query).await.unwrap();
    assert!(page.cells.is_empty() && page.current.len() == 1);
    let query = LogQuery { keys, with_cells: false, ..everything(Revision::ZERO) };
    assert!(store.log_page(&log.tenant, &query).await.unwrap().cells.is_empty());
}

pub async fn a_log_page_brings_all_cells_or_none(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let many = |first: usize, last: usize| {
        let cells = (first..last).map(|n| cell("default", "note", Some(&format!("{n}"))));
        cells.map(|cell| CellRow { cell, hash: LtHash::default() }).collect::<Vec<_>>()
    };
    for (first, last) in [(0, PAGE_CELLS_MAX), (PAGE_CELLS_MAX, PAGE_CELLS_MAX + 1)] {
        let (mut append, after) = log.draft().reject("no").build();
        append.cells = many(first, last);
        assert_eq!(store.append(&log.tenant, &append).await.unwrap(), Appended::Yes);
        log = after;
        let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
        let expected = if last > PAGE_CELLS_MAX { 0 } else { last };
        assert_eq!((page.has_cells, page.cells.len()), (expected > 0, expected));
    }
}

pub async fn load_finds_what_is_there_and_leaves_out_the_rest(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let empty = store.load(&log.tenant, &Wanted::default()).await.unwrap();
    assert_eq!(empty.head, log.head);
    assert!(empty.current.is_empty() && empty.writers.is_empty() && empty.cells.is_empty());
    let draft = log.draft().put(&note("a"), b"1").put(&note("b"), b"1").delete(&note("b"));
    let append = log.append(&*store, draft).await;
    let ask = Wanted {
        keys: [note("a"), note("b"), note("c"), key("entity", "a")].into(),
        writers: [writer(1), writer(2), Writer { epoch: 2, ..writer(1) }].into(),
        cells: [
            cell("default", "note", None),
            cell("default", "note", Some("x")),
            cell("other", "note", None),
        ]
        .into(),
    };
    let loaded = store.load(&log.tenant, &ask).await.unwrap();
    assert_eq!(loaded.head, log.head);
    assert_eq!(loaded.current.keys().collect::<Vec<_>>(), [&note("a"), &note("b")]);
    assert!(loaded.current[&note("b")].pointer.deleted);
    assert_eq!(loaded.writers.values().collect::<Vec<_>>(), append.writers.iter().collect::<Vec<_>>());
    assert_eq!(loaded.cells.values().collect::<Vec<_>>(), append.cells.iter().collect::<Vec<_>>());
}

pub async fn load_takes_as_many_keys_as_it_says(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    log.put_each(&*store, &["0", "4095"]).await;
    let keys = (0..LOAD_KEYS_MAX).map(|n| note(&format!("{n}"))).collect();
    let loaded = store.load(&log.tenant, &Wanted { keys, ..Wanted::default() }).await.unwrap();
    assert_eq!(loaded.current.keys().collect::<Vec<_>>(), [&note("0"), &note("4095")]);
    // An engine may ask for so many at once, and for what is left in several ways.
    let ids: Vec<String> = (0..300).map(|n| format!("{n:03}")).collect();
    log.put_each(&*store, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for count in [1, 2, 4, 5, 16, 17, 64, 65, 256, 257, 300] {
        let keys: BTreeSet<Key> = ids[..count].iter().map(|id| note(id)).collect();
        let revisions = (3..).map(Revision).take(count).collect();
        let loaded =
            store.load(&log.tenant, &Wanted { keys: keys.clone(), ..Wanted::default() }).await.unwrap();
        assert_eq!(loaded.current.into_keys().collect::<BTreeSet<_>>(), keys);
        assert_eq!(loaded.head, log.head);
        let rows = store.rows(&log.tenant, &revisions).await.unwrap();
        assert_eq!(rows.into_iter().map(|row| row.record.key).collect::<BTreeSet<_>>(), keys);
    }
}

pub async fn rows_come_by_revision(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let draft = log.draft().put(&note("a"), b"1").put(&note("b"), b"2").put(&note("a"), b"3");
    let append = log.append(&*store, draft).await;
    let rows = store.rows(&log.tenant, &[Revision(3), Revision(1), Revision(8)].into()).await.unwrap();
    assert_eq!(rows, [append.rows[0].clone(), append.rows[2].clone()]);
    assert_eq!(rows[1].previous, Revision(1));
    assert!(store.rows(&log.tenant, &BTreeSet::new()).await.unwrap().is_empty());
}

pub async fn commits_page(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let mut all = Vec::new();
    for n in 0..5 {
        let draft = if n % 2 == 0 { log.draft().put(&note("a"), b"1") } else { log.draft().reject("no") };
        all.push(log.append(&*store, draft).await.commit);
    }
    assert_eq!(store.commits_after(&log.tenant, CommitNumber::ZERO, 9).await.unwrap(), all);
    assert_eq!(store.commits_after(&log.tenant, CommitNumber(1), 2).await.unwrap(), all[1..3]);
    assert!(store.commits_after(&log.tenant, CommitNumber(5), 9).await.unwrap().is_empty());
}

pub async fn writers_page(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let all: Vec<Writer> = [(1, 1), (1, 2), (1, 300), (2, 1), (200, 1), (200, u32::MAX)]
        .map(|(node, epoch)| Writer { node: NodeId([node; 16]), epoch })
        .to_vec();
    let (mut append, after) = log.draft().put(&note("a"), b"1").build();
    append.writers =
        all.iter().rev().map(|writer| writer_row(*writer, u64::MAX >> 1, CommitNumber(1))).collect();
    let closed = append.writers.last_mut().unwrap();
    closed.closed = true;
    closed.answered.clear();
    let mut expected = append.writers.clone();
    expected.reverse();
    store.append(&log.tenant, &append).await.unwrap();
    log = after;
    assert_eq!(store.writers(&log.tenant, None, None, 99).await.unwrap(), expected);
    let mut found = Vec::new();
    loop {
        let page = store.writers(&log.tenant, None, found.last().copied(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|row| row.writer));
    }
    assert_eq!(found, all);
    let of_one = store.writers(&log.tenant, Some(NodeId([1; 16])), Some(all[0]), 99).await.unwrap();
    assert_eq!(of_one, expected[1..3]);
    assert!(store.writers(&log.tenant, Some(NodeId([9; 16])), None, 99).await.unwrap().is_empty());
}

pub async fn tenants_page_in_byte_order(engine: &Engine) {
    let store = engine.store();
    let names = ["-", ".", "0", "9", "_", "a", "a-b", "a.b", "a_b", "ab", "b"];
    for name in names.iter().rev() {
        Log::create(&*store, name).await;
    }
    let mut found = Vec::new();
    loop {
        let page = store.tenants(found.last(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, names.map(tenant).into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
}

pub async fn records_of_one_kind_page(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let mut draft = log.draft();
    for kind in ["note", "Note", "not", "notes", "ключ"] {
        for id in ["a", "b", "ab"] {
            draft = draft.put(&key(kind, id), b"{}");
        }
    }
    draft = draft.delete(&key("note", "b"));
    log.append(&*store, draft).await;
    for kind in ["note", "Note", "not", "notes", "ключ"] {
        let query = PointerQuery { kind: Some(Kind::new(kind).unwrap()), ..all_records() };
        let page = store.pointer_page(&log.tenant, &query).await.unwrap();
        let found: Vec<_> = page.rows.into_iter().map(|row| row.pointer.key).collect();
        assert_eq!(found, ["a", "ab", "b"].map(|id| key(kind, id)));
        let query = PointerQuery { prefix: Some("a".to_owned()), after: Some(key(kind, "a")), ..query };
        let page = store.pointer_page(&log.tenant, &query).await.unwrap();
        assert_eq!(page.rows.len(), 1);
        assert_eq!((&page.rows[0].pointer.key, page.is_last), (&key(kind, "ab"), true));
    }
    let page = store.pointer_page(&log.tenant, &all_records()).await.unwrap();
    let found: Vec<_> = page.rows.into_iter().map(|row| row.pointer.key).collect();
    assert_eq!(found, log.pointers.keys().cloned().collect::<Vec<_>>());
}
