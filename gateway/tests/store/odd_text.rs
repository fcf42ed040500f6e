//! Text as bytes: no locale, no normalisation, no folding.

use std::collections::BTreeSet;

use gateway::store::{PointerQuery, Store};
use semantics::ids::{Kind, Revision, TenantId};

use crate::support::engine::Engine;
use crate::support::rows::{Log, all_records, cell, everything, key, note, wanted};

/// Ids that some database, somewhere, confuses with one another, cuts off or sorts otherwise.
#[rustfmt::skip]
const SHORT: &[&str] = &[
    "a", "A", "B", "b", "z", "Z", "é", "e\u{301}", "É", "ß", "ss", "ẞ", "i", "I", "ı", "İ", "ä",
    "a\u{308}", "Å", "\u{212b}", "\u{0}", "a\u{0}", "a\u{0}b", "\u{0}\u{0}", "\u{1}", "\u{7f}",
    "\u{80}", "\u{ff}", " ", "a ", " a", "\t", "\n", "%", "a%", "_", "a_", "a_b", "aXb", "\\",
    "a\\", "a\\%", "'", "\"", "''", "--", ";", "$1", "?", "*", "a*", "[a]", "10", "9", "09", "١",
    "ﬁ", "fi", "ｱ", "ア", "한", "\u{1112}\u{1161}\u{11ab}", "😀", "😀😀", "👩‍👩‍👧", "\u{200d}",
    "\u{202e}a", "\u{feff}", "\u{fffd}", "\u{ffff}", "\u{10000}", "\u{10ffff}",
    "\u{10ffff}\u{10ffff}", "null", "NULL",
];

fn ids() -> Vec<String> {
    let long =
        ["x".repeat(256), "é".repeat(128), "😀".repeat(64), "\u{0}".repeat(256), "x".repeat(255) + "y"];
    SHORT.iter().map(|id| (*id).to_owned()).chain(long).collect()
}

async fn page(store: &dyn Store, tenant: &TenantId, query: &PointerQuery) -> Vec<String> {
    let page = store.pointer_page(tenant, query).await.unwrap();
    assert!(page.is_last);
    page.rows.into_iter().map(|row| row.pointer.key.id.into()).collect()
}

async fn filled(store: &dyn Store) -> Log {
    let mut log = Log::create(store, "t").await;
    let mut draft = log.draft();
    for id in ids() {
        draft = draft.put(&note(&id), id.as_bytes());
    }
    log.append(store, draft).await;
    log
}

pub async fn ids_are_compared_as_bytes(engine: &Engine) {
    let store = engine.store();
    let log = filled(&*store).await;
    let expected: Vec<String> = ids().into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(expected.len(), ids().len());
    assert_eq!(page(&*store, &log.tenant, &all_records()).await, expected);
    for id in ids() {
        let loaded = store.load(&log.tenant, &wanted(&[&note(&id)])).await.unwrap();
        assert_eq!(loaded.current.len(), 1, "{id:?}");
        assert_eq!(loaded.current[&note(&id)].record.body(), Some(id.as_bytes()), "{id:?}");
    }
    let absent: Vec<_> =
        ["aB", "E\u{301}", "a\u{0}\u{0}", "X", "ii", "\u{3a9}"].map(note).into_iter().collect();
    let asked: Vec<_> = absent.iter().collect();
    assert!(store.load(&log.tenant, &wanted(&asked)).await.unwrap().current.is_empty());
}

pub async fn prefixes_are_compared_as_bytes(engine: &Engine) {
    let store = engine.store();
    let log = filled(&*store).await;
    let all: BTreeSet<String> = ids().into_iter().collect();
    let longer = ["", "xx", "a\u{0}b", "é\u{301}", "😀😀😀"].map(str::to_owned);
    for prefix in ids().into_iter().chain(longer) {
        for kind in [None, Some(Kind::new("note").unwrap())] {
            let query = PointerQuery { kind, prefix: Some(prefix.clone()), ..all_records() };
            let expected: Vec<String> = all.iter().filter(|id| id.starts_with(&prefix)).cloned().collect();
            assert_eq!(page(&*store, &log.tenant, &query).await, expected, "{prefix:?}");
        }
    }
    let query = PointerQuery { kind: Some(Kind::new("Note").unwrap()), ..all_records() };
    assert!(page(&*store, &log.tenant, &query).await.is_empty());
}

pub async fn pages_go_on_after_any_id(engine: &Engine) {
    let store = engine.store();
    let log = filled(&*store).await;
    let mut query = PointerQuery { rows_max: 3, ..all_records() };
    let mut found = Vec::new();
    loop {
        let page = store.pointer_page(&log.tenant, &query).await.unwrap();
        query.after = page.rows.last().map(|row| row.pointer.key.clone());
        found.extend(page.rows.into_iter().map(|row| String::from(row.pointer.key.id)));
        if page.is_last {
            break;
        }
    }
    assert_eq!(found, ids().into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    // A key that was never there is a place, too.
    let between = PointerQuery { after: Some(key("note", "a\u{0}a")), ..all_records() };
    assert_eq!(page(&*store, &log.tenant, &between).await.first().map(String::as_str), Some("a\u{0}b"));
}

pub async fn facets_paths_and_details_are_any_text(engine: &Engine) {
    let store = engine.store();
    let mut log = Log::create(&*store, "t").await;
    let mut rows = Vec::new();
    let mut cells = BTreeSet::new();
    for text in ids() {
        let facet = cell("default", "note", Some(&text));
        let id = note(&text);
        let draft = log.draft().put_in(&facet, &id, b"{}").open_conflict(&id, &text, &text).reject(&text);
        let append = log.append(&*store, draft).await;
        let moved = log.draft().put_in(&cell("default", "note", None), &id, b"{}");
        cells.insert(facet);
        let commits = store.commits_after(&log.tenant, append.expected, 1).await.unwrap();
        assert_eq!(commits, std::slice::from_ref(&append.commit), "{text:?}");
        rows.extend(append.rows);
        rows.extend(log.append(&*store, moved).await.rows);
    }
    let page = store.log_page(&log.tenant, &everything(Revision::ZERO)).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.row.clone()).collect::<Vec<_>>(), rows);
    for entry in &page.entries {
        assert_eq!(entry.now.as_ref(), log.pointers.get(&entry.row.record.key));
    }
    let found: BTreeSet<_> =
        page.cells.into_iter().map(|row| row.cell).filter(|cell| cell.facet.is_some()).collect();
    assert_eq!(found, cells);
}
