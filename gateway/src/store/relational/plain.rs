//! Plain rows, tenants and pruning: what is written beside the log.

use semantics::commit::Head;
use semantics::ids::TenantId;

use super::{Connection, PerKey};
use crate::store::codec::{Value, clamped, read, write};
use crate::store::{PRUNE_COMMITS_MAX, PlainRow, Prune, Space, StoreError, check_plain};

const CREATE_TENANT: &str = "insert into heads \
     (tenant, log_id, commit_number, revision, chain, horizon, time_ms) \
     values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant) do nothing";
const GET: &str = "select key, value, version from plain where tenant = $1 and space = $2 and key = $3";
const PAGE: &str = "select key, value, version from plain \
     where tenant = $1 and space = $2 and key > $3 order by key limit $4";
const FIRST: &str = "select key, value, version from plain \
     where tenant = $1 and space = $2 order by key limit $3";
const INSERT: &str = "insert into plain (tenant, space, key, value, version) \
     values ($1, $2, $3, $4, 1) on conflict (tenant, space, key) do nothing";
const UPDATE: &str = "update plain set value = $4, version = version + 1 \
     where tenant = $1 and space = $2 and key = $3 and version = $5";
/// A row that was deleted and written again has the version of a first one: only its value tells.
const DELETE: &str =
    "delete from plain where tenant = $1 and space = $2 and key = $3 and version = $4 and value = $5";

/// Of the oldest commits those that may go: commits come in the order of their revisions.
const PRUNE_COMMITS: &str = "delete from commits where tenant = $1 and last_revision < $2 \
     and number <= coalesce((select max(oldest.number) from (select c.number from commits c \
     where c.tenant = $1 order by c.number limit $3) oldest), -1)";
/// Rows are found first, each by its key, and deleted where they lie: a join could be planned as a scan.
static PRUNE_ROWS: PerKey = PerKey {
    one: "delete from log where tenant = $1 and revision = $2 returning revision",
    many: "delete from log where ctid = any(array(select found.ctid from unnest($2::bigint[]) as wanted(revision) \
           cross join lateral (select l.ctid from log l where l.tenant = $1 and l.revision = wanted.revision \
           offset 0) found)) returning revision",
    in_turn: None,
};
/// What changed meanwhile has another revision, wherever it lies.
static PRUNE_TOMBSTONES: PerKey = PerKey {
    one: "delete from records where tenant = $1 and kind = $2 and id = $3 and revision = $4 and deleted = 1 \
          returning revision",
    many: "delete from records where ctid = any(array(select found.ctid \
           from unnest($2::bytea[], $3::bytea[], $4::bigint[]) as wanted(kind, id, revision) \
           cross join lateral (select p.ctid from records p where p.tenant = $1 and p.kind = wanted.kind \
           and p.id = wanted.id and p.revision = wanted.revision and p.deleted = 1 offset 0) found)) \
           and deleted = 1 and revision = any($4) returning revision",
    in_turn: None,
};

fn place(tenant: &TenantId, space: Space, key: &[u8]) -> Vec<Value> {
    vec![Value::text(tenant.as_str()), Value::Int(Some(i64::from(space.number()))), Value::bytes(key)]
}

/// Makes a tenant.
pub(in crate::store) async fn create_tenant<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    head: &Head,
) -> Result<bool, StoreError> {
    let values = [Value::text(tenant.as_str())].into_iter().chain(write::head(head)).collect();
    Ok(connection.run(CREATE_TENANT, values).await? == 1)
}

/// One row.
pub(in crate::store) async fn get<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    space: Space,
    key: &[u8],
) -> Result<Option<PlainRow>, StoreError> {
    let rows = connection.fetch(GET, place(tenant, space, key)).await?;
    rows.first().map(read::plain).transpose()
}

/// Writes a row whose version is as expected.
pub(in crate::store) async fn put<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    space: Space,
    key: &[u8],
    value: &[u8],
    expected: u64,
) -> Result<bool, StoreError> {
    check_plain(value)?;
    let mut values = place(tenant, space, key);
    values.push(Value::bytes(value));
    let changed = if expected == 0 {
        connection.run(INSERT, values).await?
    } else {
        values.push(Value::Int(Some(clamped(expected))));
        connection.run(UPDATE, values).await?
    };
    Ok(changed == 1)
}

/// Deletes a row that is as it was read.
pub(in crate::store) async fn delete<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    space: Space,
    read: &PlainRow,
) -> Result<bool, StoreError> {
    let mut values = place(tenant, space, &read.key);
    values.extend([Value::Int(Some(clamped(read.version))), Value::bytes(read.value.as_slice())]);
    Ok(connection.run(DELETE, values).await? == 1)
}

/// Rows after a key.
pub(in crate::store) async fn page<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    space: Space,
    after: Option<&[u8]>,
    max: usize,
) -> Result<Vec<PlainRow>, StoreError> {
    let limit = Value::Int(Some(i64::try_from(max).unwrap_or(i64::MAX)));
    let mut values = place(tenant, space, after.unwrap_or_default());
    let sql = if after.is_some() {
        PAGE
    } else {
        values.pop();
        FIRST
    };
    values.push(limit);
    connection.fetch(sql, values).await?.iter().map(read::plain).collect()
}

/// Deletes what has been given up.
pub(in crate::store) async fn prune<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    prune: &Prune,
) -> Result<(), StoreError> {
    let tombstones = prune.tombstones.iter().map(|(key, revision)| {
        let mut values = write::key(key);
        values.push(Value::number(revision.0));
        values
    });
    let gone = connection.fetch_each(&PRUNE_TOMBSTONES, tenant, tombstones.collect()).await?;
    let mut rows = prune.rows.clone();
    for row in &gone {
        rows.push(read::revision(row)?);
    }
    let rows = rows.iter().map(|revision| vec![Value::number(revision.0)]).collect();
    connection.fetch_each(&PRUNE_ROWS, tenant, rows).await?;
    if prune.commits_below.0 > 0 {
        let most = Value::Int(Some(i64::try_from(PRUNE_COMMITS_MAX).unwrap_or(i64::MAX)));
        let values = vec![Value::text(tenant.as_str()), Value::number(prune.commits_below.0), most];
        connection.run(PRUNE_COMMITS, values).await?;
    }
    Ok(())
}
