//! What the log holds of disputes in the end, and of the rules about them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::fleet::{Hub, Spoke};
use crate::history::disputes::{Disputed, Dot, Row, Settled, Stage};
use crate::history::rules::{Order, Rules};

/// Every record of a kind, as a spoke that has synced sees it.
///
/// # Panics
/// When it cannot be read.
pub(super) fn read(reader: &Spoke, kind: &str) -> Vec<Disputed> {
    let mut found: BTreeMap<String, Disputed> = BTreeMap::new();
    for record in items(&reader.ok(&["ls", kind]).json(), "records") {
        let id = text(record, "id");
        let rows = rows(reader, kind, &id, row);
        found.insert(id, Disputed { rows, conflicts: BTreeMap::new() });
    }
    for conflict in items(&reader.ok(&["conflicts", "list", "--all", "--kind", kind]).json(), "conflicts") {
        let (id, record) = (text(conflict, "id"), text(conflict, "record"));
        let stages = rows(reader, "conflict", &id, stage);
        found.entry(record).or_default().conflicts.insert(id, stages);
    }
    found.into_values().collect()
}

/// The tenant's topology, and the precedents that were ever followed or revoked.
pub(super) fn rules(hub: &Hub, disputed: &[Disputed], orders: &[Order]) -> Rules {
    let stages = disputed.iter().flat_map(|record| record.conflicts.values().flatten());
    let settled = stages.filter_map(|stage| stage.settled.as_ref());
    let followed = settled.filter_map(|settled| settled.by.strip_prefix("precedent/"));
    let revoked = orders.iter().filter_map(|order| match order {
        Order::Revoked(id, _) => Some(id.as_str()),
        Order::Primary(..) => None,
    });
    let named: BTreeSet<&str> = followed.chain(revoked).collect();
    let uses = |row: &Value| (number(&row["revision"]), row["body"]["uses"].as_u64());
    let primary = |row: &Value| {
        let primary = row["body"]["shape"]["primary_replica"]["primary"].as_str();
        (number(&row["revision"]), primary.map(str::to_owned))
    };
    let precedents = named.into_iter().map(|id| (id.to_owned(), rows_at(hub, "precedent", id, uses)));
    Rules { precedents: precedents.collect(), primaries: rows_at(hub, "topology", "tenant", primary) }
}

/// The rows of one of the hub's own records, in the order of the log.
fn rows_at<T>(hub: &Hub, kind: &str, id: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    let ran = hub.admin(&["record", "history", kind, id]);
    if ran.code != 0 {
        // Nobody has ever set it.
        assert_eq!(ran.error()["error"]["reason"], "NOT_FOUND", "{kind} {id}: {ran:?}");
        return Vec::new();
    }
    items(&ran.json(), "history").iter().rev().map(read).collect()
}

/// The rows of a record in the order of the log.
fn rows<T>(reader: &Spoke, kind: &str, id: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    let history = reader.ok(&["history", kind, id]).json();
    items(&history, "rows").iter().rev().map(read).collect()
}

fn items<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or_else(|| panic!("{answer}"), Vec::as_slice)
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_else(|| panic!("{of}")).to_owned()
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap_or_else(|| panic!("{of} is no number"))
}

/// As commands print it: the writer, a colon, the number.
fn dot(text: &str) -> Dot {
    let (writer, n) = text.rsplit_once(':').unwrap_or_else(|| panic!("{text}"));
    (writer.to_owned(), n.parse().unwrap_or_else(|_| panic!("{text}")))
}

/// As records hold it.
fn dot_of(dot: &Value) -> Dot {
    let writer = &dot["writer"];
    (format!("{}.{}", text(writer, "node"), number(&writer["epoch"])), number(&dot["n"]))
}

fn row(row: &Value) -> Row {
    let version = row["base"]["version"].as_array().into_iter().flatten();
    let own = row["base"]["own"].as_str();
    let seen = version.filter_map(Value::as_str).chain(own).map(dot);
    Row {
        revision: number(&row["revision"]),
        dot: row["dot"].as_str().filter(|_| row["mutation"].is_string()).map(dot),
        seen: seen.fold(BTreeMap::new(), |mut seen, (writer, n)| {
            let before = seen.entry(writer).or_default();
            *before = n.max(*before);
            seen
        }),
        says: row["body"].to_string(),
        wrote: row["wrote"].to_string(),
    }
}

fn stage(row: &Value) -> Stage {
    let body = &row["body"];
    let side = |side: &Value| dot_of(&side["stamp"]["dot"]);
    let resolution = Some(&body["resolution"]).filter(|resolution| resolution.is_object());
    Stage {
        revision: number(&row["revision"]),
        open: body["open"] == true,
        sides: items(body, "losers").iter().chain([&body["primary"]]).map(side).collect(),
        dropped: usize::try_from(number(&body["dropped"])).unwrap_or(usize::MAX),
        settled: resolution.map(|resolution| Settled {
            standing: number(&resolution["account"]["revision"]),
            before: number(&resolution["before"]),
            by: text(&resolution["account"], "name"),
            reason: text(&resolution["account"], "reason"),
            side: Some(&resolution["choice"]["side"]).filter(|side| side.is_object()).map(dot_of),
            undone: resolution["undone"]["revision"].as_u64(),
        }),
    }
}
