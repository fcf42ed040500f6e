//! What a store answers to a step, as text: equal texts are equal answers.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use gateway::store::{
    Append, Appended, LogPage, LogQuery, PlainRow, PointerQuery, Prune, Sent, Store, StoreError, Wanted,
};
use semantics::commit::Head;
use semantics::ids::{CommitNumber, Kind, LogId, NodeId, Revision};

use crate::support::rows::{Log, tenant, writer, writer_row};

use super::step::{Call, Change, Commit, Step, TENANTS, Version, Wrong};

/// The answer, and the tenant's log after it where the step changed it.
pub async fn of(store: &dyn Store, log: &Log, step: &Step) -> (String, Option<Log>) {
    match &step.call {
        Call::Create => {
            let made = store.create_tenant(&log.tenant, &Head::empty(LogId([7; 16]))).await;
            let after = matches!(made, Ok(true)).then(|| log.made());
            (text(made), after)
        }
        Call::Append(commit) => {
            let (append, after) = draft(log, commit);
            let answer = store.append(&log.tenant, &append).await;
            let after = matches!(answer, Ok(Appended::Yes)).then_some(after);
            (text(answer), after)
        }
        Call::Section { commit, is_appended } => section(store, log, commit, *is_appended).await,
        Call::Prune { rows, tombstones, commits_below } => {
            let stands = |key| log.pointers.get(key).map_or(0, |pointer| pointer.revision.0);
            let tombstones =
                tombstones.iter().map(|(key, at)| (key.clone(), at.unwrap_or_else(|| stands(key))));
            let prune = Prune {
                rows: rows.iter().copied().map(Revision).collect(),
                tombstones: tombstones.map(|(key, at)| (key, Revision(at))).collect(),
                commits_below: Revision(*commits_below),
            };
            (text(store.prune(&log.tenant, &prune).await), None)
        }
        call => (read(store, log, call).await, None),
    }
}

fn text<T: fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        // What an error says besides its class is the engine's own.
        Err(error) => format!("{error:?}").split('(').next().unwrap_or_default().to_owned(),
    }
}

/// A section that reads what the commit is about and then appends it, or is given up.
async fn section(store: &dyn Store, log: &Log, commit: &Commit, is_appended: bool) -> (String, Option<Log>) {
    let mut section = match store.exclusive(&log.tenant).await {
        Ok(section) => section,
        refused => return (text(refused.map(drop)), None),
    };
    let wanted = Wanted { keys: log.pointers.keys().cloned().collect(), ..Wanted::default() };
    let loaded = section.load(&wanted).await.map(|loaded| (loaded.head, loaded.current));
    let commits = section.commits(&[log.head.commit, CommitNumber(2)].into()).await;
    let mut said = format!("{} {}", text(loaded), text(commits));
    if !is_appended {
        return (said, None);
    }
    let (append, after) = draft(log, commit);
    let answer = section.append(&append).await;
    let after = matches!(answer, Ok(Appended::Yes)).then_some(after);
    write!(said, " {}", text(answer)).unwrap();
    (said, after)
}

/// What a commit appends, and the log after it.
fn draft(log: &Log, commit: &Commit) -> (Append, Log) {
    let mut draft = log.draft();
    let mut writers = Vec::new();
    for change in &commit.changes {
        draft = match change {
            Change::Put { key, cell, bytes } => draft.put_in(cell, key, &vec![b'x'; *bytes]),
            Change::Delete(key) if draft.has(key) => draft.delete(key),
            Change::Open(key) if draft.has(key) => draft.open_conflict(key, "p", "c"),
            Change::Reject => draft.reject("no"),
            Change::Hold(revision, hold) => draft.hold(*revision, *hold),
            Change::Horizon(horizon) => draft.horizon(*horizon),
            Change::Writer { node, closed } => {
                let mut row = writer_row(writer(*node), 3, log.head.commit);
                row.closed = *closed;
                writers.retain(|other: &gateway::store::WriterRow| other.writer != row.writer);
                writers.push(row);
                draft
            }
            Change::Delete(_) | Change::Open(_) => draft,
        };
    }
    let (mut append, after) = draft.build();
    append.writers.extend(writers);
    append.holds = append.holds.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
    match commit.wrong {
        Some(Wrong::Late) => append.expected = CommitNumber(append.expected.0.saturating_sub(1)),
        Some(Wrong::Early) => append.expected = append.expected.next(),
        Some(Wrong::OtherLog) => append.head.log_id = LogId([8; 16]),
        None => {}
    }
    (append, after)
}

async fn read(store: &dyn Store, log: &Log, call: &Call) -> String {
    let t = &log.tenant;
    match call {
        Call::Check => text(store.check().await),
        Call::Head => text(store.head(t).await),
        Call::Tenants { after, max } => {
            // Of this run alone: others are beside it.
            let run = t.as_str().split('-').next().unwrap_or_default();
            let after = tenant(&format!("{run}-{}", after.map_or("-".to_owned(), |at| at.to_string())));
            let found = store.tenants(Some(&after), (*max).min(TENANTS)).await.unwrap();
            format!(
                "{:?}",
                found.iter().filter(|name| name.as_str().starts_with(&format!("{run}-"))).collect::<Vec<_>>()
            )
        }
        Call::Load { keys, writers, cells } => {
            let wanted = Wanted {
                keys: keys.iter().cloned().collect(),
                writers: writers.iter().map(|n| writer(*n)).collect(),
                cells: cells.iter().cloned().collect(),
            };
            // An engine that knows the time says it.
            text(
                store
                    .load(t, &wanted)
                    .await
                    .map(|loaded| (loaded.head, loaded.current, loaded.writers, loaded.cells)),
            )
        }
        Call::LogPage { after, rows_max, bytes_max, keys, with_cells } => {
            let query = LogQuery {
                after: Revision(*after),
                rows_max: *rows_max,
                bytes_max: *bytes_max,
                keys: keys.iter().cloned().collect(),
                with_cells: *with_cells,
            };
            let page = store.log_page(t, &query).await.map(|mut page: LogPage| {
                // In no order.
                page.cells.sort_by(|a, b| a.cell.cmp(&b.cell));
                page
            });
            text(page) + &shown(store, t, &query).await
        }
        Call::PointerPage { after, kind, prefix, rows_max, bytes_max } => {
            let query = PointerQuery {
                after: after.clone(),
                kind: kind.map(|kind| Kind::new(kind).unwrap()),
                prefix: prefix.map(str::to_owned),
                rows_max: *rows_max,
                bytes_max: *bytes_max,
            };
            text(store.pointer_page(t, &query).await)
        }
        Call::Rows(revisions) => {
            text(store.rows(t, &revisions.iter().copied().map(Revision).collect()).await)
        }
        Call::Commits { after, max } => text(store.commits_after(t, CommitNumber(*after), *max).await),
        Call::Writers { node, after, max } => {
            text(store.writers(t, node.map(|n| NodeId([n; 16])), after.map(writer), *max).await)
        }
        Call::Held(revisions) => {
            text(store.held(t, &revisions.iter().copied().map(Revision).collect()).await)
        }
        call => plain(store, log, call).await,
    }
}

/// The same page as readers are sent it, with its records as values.
async fn shown(store: &dyn Store, t: &semantics::ids::TenantId, query: &LogQuery) -> String {
    text(store.shown_page(t, query, None).await.map(|mut page| {
        page.cells.sort_by(|a, b| a.cell.cmp(&b.cell));
        for row in &mut page.rows {
            row.record = Sent::Record(Arc::new(row.record.to_record().unwrap()));
        }
        page
    }))
}

async fn plain(store: &dyn Store, log: &Log, call: &Call) -> String {
    let t = &log.tenant;
    match call {
        Call::PlainGet(space, key) => text(store.plain_get(t, *space, key).await),
        Call::PlainPut { space, key, value, version } => {
            let expected = match version {
                Version::Is(version) => *version,
                Version::Present => match store.plain_get(t, *space, key).await {
                    Ok(row) => row.map_or(0, |row| row.version),
                    refused => return text(refused),
                },
            };
            text(store.plain_put(t, *space, key, &[*value; 3], expected).await)
        }
        Call::PlainDelete { space, key, version } => {
            let row = match store.plain_get(t, *space, key).await {
                Ok(row) => row.unwrap_or(PlainRow { key: key.to_vec(), value: Vec::new(), version: 1 }),
                refused => return text(refused),
            };
            let version = if let Version::Is(version) = version { *version } else { row.version };
            text(store.plain_delete(t, *space, &PlainRow { version, ..row }).await)
        }
        Call::PlainPage { space, after, max } => text(store.plain_page(t, *space, *after, *max).await),
        other => panic!("{other:?} is no read"),
    }
}
