//! The hub's tables: their columns, once for both engines, in the order in which rows are encoded.

use std::fmt::Write as _;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// 64-bit integers.
    Int,
    /// Bytes.
    Bytes,
}

/// A table. Every table's key leads with `tenant`, which is not listed.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// Its columns, the key's first.
    pub(super) columns: &'static [(&'static str, Holds)],
    /// How many columns the key has beside `tenant`.
    pub(super) key: usize,
    /// Whether a row may replace the one before it.
    pub(super) replaces: bool,
}

use Holds::{Bytes, Int};

/// One row for each revision.
pub(super) const LOG: Table = Table {
    name: "log",
    columns: &[
        ("revision", Int),
        ("previous", Int),
        ("commit_number", Int),
        ("kind", Bytes),
        ("id", Bytes),
        ("domain", Bytes),
        ("facet", Bytes),
        ("departed_domain", Bytes),
        ("departed_kind", Bytes),
        ("departed_facet", Bytes),
        ("departed_since", Int),
        ("node", Bytes),
        ("epoch", Int),
        ("n", Int),
        ("outcome", Int),
        ("rule_version", Int),
        ("weight", Int),
        ("body_in_mutation", Int),
        ("mutation", Bytes),
        ("record", Bytes),
    ],
    key: 1,
    replaces: false,
};

/// One row for each commit.
pub(super) const COMMITS: Table = Table {
    name: "commits",
    columns: &[
        ("number", Int),
        ("first_revision", Int),
        ("last_revision", Int),
        ("chain", Bytes),
        ("leaf", Bytes),
        ("time_ms", Int),
        ("horizon", Int),
        ("outcomes", Bytes),
    ],
    key: 1,
    replaces: false,
};

/// Where each record is.
pub(super) const RECORDS: Table = Table {
    name: "records",
    columns: &[
        ("kind", Bytes),
        ("id", Bytes),
        ("domain", Bytes),
        ("facet", Bytes),
        ("since", Int),
        ("revision", Int),
        ("deleted", Int),
        ("digest", Bytes),
        ("open", Bytes),
    ],
    key: 2,
    replaces: true,
};

/// Where each writer's stream stands.
pub(super) const WRITERS: Table = Table {
    name: "writers",
    columns: &[
        ("node", Bytes),
        ("epoch", Int),
        ("last_n", Int),
        ("last_digest", Bytes),
        ("confirmed_n", Int),
        ("answered", Bytes),
        ("closed", Int),
    ],
    key: 2,
    replaces: true,
};

/// Each cell's multiset hash.
pub(super) const CELLS: Table =
    Table { name: "cells", columns: &[("cell", Bytes), ("state", Bytes)], key: 1, replaces: true };

/// Revisions that pruning leaves.
pub(super) const HELD: Table = Table { name: "held", columns: &[("revision", Int)], key: 1, replaces: true };

/// Where each tenant's log ends. Only appends move it.
pub(super) const HEADS: Table = Table {
    name: "heads",
    columns: &[
        ("log_id", Bytes),
        ("commit_number", Int),
        ("revision", Int),
        ("chain", Bytes),
        ("horizon", Int),
        ("time_ms", Int),
    ],
    key: 0,
    replaces: false,
};

/// What is not log.
pub(super) const PLAIN: Table = Table {
    name: "plain",
    columns: &[("space", Int), ("key", Bytes), ("value", Bytes), ("version", Int)],
    key: 2,
    replaces: false,
};

/// Every table; a tenant is one that has a head.
pub(super) const ALL: [&Table; 8] = [&HEADS, &LOG, &COMMITS, &RECORDS, &WRITERS, &CELLS, &HELD, &PLAIN];

impl Table {
    /// The columns behind an alias, for a select list.
    pub(super) fn list(&self, alias: &str) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| format!("{alias}.{name}")).collect();
        names.join(", ")
    }

    /// The names alone.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// What an insert does with a row that is there already; empty where none can be.
    pub(super) fn on_conflict(&self) -> String {
        if !self.replaces {
            return String::new();
        }
        let (key, rest) = self.columns.split_at(self.key);
        let mut text = String::from(" on conflict (tenant");
        key.iter().for_each(|(name, _)| text.extend([", ", name]));
        if rest.is_empty() {
            text.push_str(") do nothing");
            return text;
        }
        text.push_str(") do update set ");
        let sets: Vec<String> = rest.iter().map(|(name, _)| format!("{name} = excluded.{name}")).collect();
        text.push_str(&sets.join(", "));
        text
    }

    /// Some rows of a tenant in the order of their keys, from the first or after a key; the tenant is `$1`, the key's
    /// columns follow, then how many.
    pub(super) fn page(&self, after_key: bool) -> String {
        let key: Vec<&str> = self.columns.iter().take(self.key).map(|(name, _)| *name).collect();
        let mut text = format!("select {} from {} where tenant = $1", self.names(), self.name);
        let mut next = 2;
        if after_key && !key.is_empty() {
            let places: Vec<String> = (0..key.len()).map(|at| format!("${}", at + 2)).collect();
            let _ = write!(text, " and ({}) > ({})", key.join(", "), places.join(", "));
            next += key.len();
        }
        if !key.is_empty() {
            let _ = write!(text, " order by {}", key.join(", "));
        }
        let _ = write!(text, " limit ${next}");
        text
    }

    /// An insert of so many rows; the tenant is `$1`, columns follow row by row.
    pub(super) fn insert(&self, rows: usize) -> String {
        let mut next = 1;
        self.insert_of(rows, 1, |text| {
            next += 1;
            let _ = write!(text, "${next}");
        })
    }

    /// An insert of so many rows whose columns are bound as they come, row by row; the tenant is the parameter with this
    /// number, behind them. SQLite takes a number for a name and looks for it among all of them whenever it is bound.
    pub(super) fn insert_in_turn(&self, rows: usize, tenant: usize) -> String {
        self.insert_of(rows, tenant, |text| text.push('?'))
    }

    /// An insert of one row that is made only where the statement before it has written one; columns and tenant are bound
    /// as [`Self::insert_in_turn`] says. For SQLite, which counts that.
    pub(super) fn insert_behind(&self, tenant: usize) -> String {
        let columns = ", ?".repeat(self.columns.len());
        format!(
            "insert into {} (tenant, {}) select ${tenant}{columns} where changes() = 1{}",
            self.name,
            self.names(),
            self.on_conflict()
        )
    }

    fn insert_of(&self, rows: usize, tenant: usize, mut value: impl FnMut(&mut String)) -> String {
        let mut text = format!("insert into {} (tenant, {}) values ", self.name, self.names());
        for row in 0..rows {
            let _ = write!(text, "{}(${tenant}", if row == 0 { "" } else { ", " });
            for _ in self.columns {
                text.push_str(", ");
                value(&mut text);
            }
            text.push(')');
        }
        text.push_str(&self.on_conflict());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_after_a_key() {
        assert_eq!(
            HELD.page(true),
            "select revision from held where tenant = $1 and (revision) > ($2) order by revision limit $3"
        );
        assert_eq!(
            PLAIN.page(false),
            "select space, key, value, version from plain where tenant = $1 order by space, key limit $2"
        );
        assert!(HEADS.page(true).ends_with("from heads where tenant = $1 limit $2"));
    }

    #[test]
    fn an_insert_names_every_column_and_replaces_by_key() {
        assert_eq!(
            CELLS.insert(2),
            "insert into cells (tenant, cell, state) values ($1, $2, $3), ($1, $4, $5) \
             on conflict (tenant, cell) do update set state = excluded.state"
        );
        assert_eq!(
            HELD.insert(1),
            "insert into held (tenant, revision) values ($1, $2) on conflict (tenant, revision) do nothing"
        );
        assert_eq!(
            HELD.insert_in_turn(2, 3),
            "insert into held (tenant, revision) values ($3, ?), ($3, ?) on conflict (tenant, revision) do nothing"
        );
        assert_eq!(
            CELLS.insert_behind(3),
            "insert into cells (tenant, cell, state) select $3, ?, ? where changes() = 1 \
             on conflict (tenant, cell) do update set state = excluded.state"
        );
        assert!(!LOG.insert(1).contains("conflict"));
    }
}
