//! `spoke branch`: the sides that a conflict about a whole record keeps, by name. Names come from the replica; what the
//! branches say, and the merge, from the hub.

use proto::v1;
use proto::v1::conflict_value::Value as Wire;
use semantics::branch::{self, ANCESTOR, MAIN, Wins};
use semantics::conflict::{Conflict, Side};
use semantics::ids::Dot;
use semantics::reason::{Reason, Refusal};
use serde_json::{Map, Value, json};

use super::access::{Access, At};
use super::args::{BranchCommand, Filter, Winner};
use super::conflicts::{inbox, is_listed};
use super::print::Printer;
use super::settle::{hub, online};

pub(super) async fn run(
    access: &mut Access,
    at: &At,
    command: BranchCommand,
    printer: Printer,
) -> Result<(), Refusal> {
    match command {
        BranchCommand::List { filter } => list(access, &filter, printer).await,
        BranchCommand::Diff { kind, id, branch, with } => {
            let found = find(access, kind, id).await?;
            diff(at, &found, &branch, &with, printer).await
        }
        BranchCommand::Merge { kind, id, branches, prefer, reason } => {
            let found = find(access, kind, id).await?;
            merge(at, &found, &branches, prefer, reason, printer).await
        }
    }
}

/// Conflicts that have branches: open ones about whole records.
async fn branched(access: &mut Access, filter: &Filter) -> Result<Vec<(String, Conflict)>, Refusal> {
    let found = inbox(access).await?.into_iter();
    let has = |conflict: &Conflict| conflict.open && conflict.path.is_empty() && is_listed(filter, conflict);
    Ok(found.filter(|(_, _, conflict)| has(conflict)).map(|(id, _, conflict)| (id, conflict)).collect())
}

async fn list(access: &mut Access, filter: &Filter, printer: Printer) -> Result<(), Refusal> {
    let mut rows = Vec::new();
    for (id, conflict) in branched(access, filter).await? {
        let row = |side: &Side| {
            json!({
                "kind": conflict.subject.kind,
                "record": conflict.subject.id,
                "branch": branch::name(side.stamp.dot),
                "stands": side.stamp == conflict.primary.stamp,
                "author": side.stamp.dot.writer.node,
                "written_ms": side.stamp.time.ms,
                "revision": side.revision,
                "dot": side.stamp.dot.to_string(),
                "conflict": id,
            })
        };
        rows.push(row(&conflict.primary));
        rows.extend(conflict.losers.iter().map(row));
    }
    printer.show(&json!({"branches": rows}))
}

async fn find(access: &mut Access, kind: String, id: String) -> Result<(String, Conflict), Refusal> {
    let none = Refusal::new(
        Reason::NotFound,
        format!("{kind}/{id} has no branches; `spoke branch list` shows them"),
    );
    let filter = Filter { kind: Some(kind), record: Some(id), of_type: None };
    branched(access, &filter).await?.pop().ok_or(none)
}

/// What a branch, `main` or `ancestor` says; absent = nothing.
fn says(view: &v1::ConflictView, conflict: &Conflict, asked: &str) -> Result<Option<Value>, Refusal> {
    let value = match asked {
        MAIN => view.standing.as_ref().and_then(|state| state.value.clone()),
        ANCESTOR => view.ancestor.as_ref().and_then(|state| state.value.clone()),
        name => side_value(view, branch::side(conflict, name)?.stamp.dot)?,
    };
    match value.and_then(|value| value.value) {
        Some(Wire::Json(json)) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|e| Refusal::new(Reason::StoreCorrupt, format!("{asked} cannot be read: {e}"))),
        Some(Wire::Nothing(_)) => Ok(None),
        Some(Wire::Sealed(_)) => Err(Refusal::new(
            Reason::Malformed,
            format!("{asked} is sealed: only its readers can compare it"),
        )),
        Some(Wire::Unknown(_)) | None => {
            Err(Refusal::new(Reason::RecordGone, format!("what {asked} said is not kept any more")))
        }
    }
}

fn side_value(view: &v1::ConflictView, dot: Dot) -> Result<Option<v1::ConflictValue>, Refusal> {
    let dot = v1::Dot::from(dot);
    let is_it = |side: &&v1::ConflictSide| {
        side.stamp.as_ref().and_then(|stamp| stamp.dot.as_ref()).is_some_and(|found| *found == dot)
    };
    let side = view.losers.iter().chain(view.primary.as_ref()).find(is_it);
    side.map(|side| side.value.clone()).ok_or_else(moved)
}

fn moved() -> Refusal {
    Refusal::new(Reason::Stale, "the conflict has moved since this replica saw it: sync first")
}

async fn diff(
    at: &At,
    (id, conflict): &(String, Conflict),
    branch: &str,
    with: &str,
    printer: Printer,
) -> Result<(), Refusal> {
    let view = hub(at)?.conflict(id).await.map_err(online)?;
    let (from, to) = (says(&view, conflict, with)?, says(&view, conflict, branch)?);
    let changes: Vec<Value> = branch::differences(from.as_ref(), to.as_ref())
        .into_iter()
        .map(|one| {
            let mut change = Map::from_iter([("path".to_owned(), json!(one.path))]);
            change.extend(one.from.map(|from| ("from".to_owned(), from)));
            change.extend(one.to.map(|to| ("to".to_owned(), to)));
            Value::Object(change)
        })
        .collect();
    printer.show(&json!({"changes": changes}))
}

fn object(value: Option<Value>, name: &str) -> Result<Map<String, Value>, Refusal> {
    match value {
        Some(Value::Object(object)) => Ok(object),
        Some(_) | None => {
            let detail = format!("{name} deletes the record: settle it with `spoke conflicts resolve`");
            Err(Refusal::new(Reason::Malformed, detail))
        }
    }
}

async fn merge(
    at: &At,
    (id, conflict): &(String, Conflict),
    names: &[String],
    prefer: Option<Winner>,
    reason: Option<String>,
    printer: Printer,
) -> Result<(), Refusal> {
    let hub = hub(at)?;
    let view = hub.conflict(id).await.map_err(online)?;
    if view.losers.len() != conflict.losers.len() {
        // A branch that nobody here has seen would be settled with the others.
        return Err(moved());
    }
    let mut left: Vec<Dot> = conflict.losers.iter().map(|side| side.stamp.dot).collect();
    let (mut branches, mut merged_names) = (Vec::new(), Vec::new());
    for asked in names {
        let dot = branch::side(conflict, asked)?.stamp.dot;
        left.retain(|other| *other != dot);
        merged_names.push(branch::name(dot));
        branches.push(object(says(&view, conflict, asked)?, asked)?);
    }
    if let Some(other) = left.first() {
        let detail = format!(
            "{} would be lost: name it too, or take it with `spoke conflicts resolve`",
            branch::name(*other)
        );
        return Err(Refusal::new(Reason::Malformed, detail));
    }
    let main = object(says(&view, conflict, MAIN)?, MAIN)?;
    let ancestor = says(&view, conflict, ANCESTOR).ok().flatten();
    let wins = prefer.map(|winner| match winner {
        Winner::Main => Wins::Main,
        Winner::Branch => Wins::Branch,
    });
    let merged = branch::merged(ancestor.as_ref().and_then(Value::as_object), &main, &branches, wins);
    let merged = merged.map_err(|paths| {
        let detail = format!("both changed {}: say who wins there with --prefer", paths.join(", "));
        Refusal::new(Reason::Malformed, detail)
    })?;
    let body = serde_json::to_vec(&merged)
        .map_err(|e| Refusal::new(Reason::Internal, format!("a merged body: {e}")))?;
    let request = v1::ResolveRecordConflictRequest {
        conflict: id.clone(),
        expected: view.revision,
        choice: Some(v1::ConflictChoice { choice: Some(v1::conflict_choice::Choice::Value(body)) }),
        reason: reason.unwrap_or_else(|| format!("merged {}", merged_names.join(", "))),
    };
    let done = hub.resolve_conflict(request).await.map_err(online)?;
    printer.show(&json!({"conflict": id, "merged": merged_names, "record_revision": done.record_revision, "body": merged}))
}
