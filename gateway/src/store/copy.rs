//! Every row of every tenant, from one database to another, whichever engines they are.

use std::sync::LazyLock;

use semantics::commit::Head;
use semantics::ids::{LogId, TenantId};
use semantics::recovery::{BackedUp, Restored, renewed};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Columns as _, Value};
use super::relational::{Connection, plain, read};
use super::table::{ALL, Holds, Table};
use super::{PlainRow, Space, StoreError};

/// Tenants read at once.
const TENANTS_PER_READ: usize = 1_000;
/// Rows read at once.
const ROWS_PER_READ: usize = 256;
/// Rows that one statement inserts.
const ROWS_PER_INSERT: usize = 16;
/// Name of the mark that says what backups hold.
pub(crate) const BACKED_UP: &[u8] = b"backed-up";
/// Name of the mark that says that the log went on from a backup.
pub(crate) const RESTORED: &[u8] = b"restored";

const FORGET_SPACE: &str = "delete from plain where tenant = $1 and space = $2";
const FORGET: &str = "delete from plain where space = $1 and key = $2";
const NEW_LOG: &str = "update heads set log_id = $2 where tenant = $1";

/// A table's statements.
struct Statements {
    table: &'static Table,
    first: String,
    after: String,
    one: String,
    many: String,
    clear: String,
}

static STATEMENTS: LazyLock<Vec<Statements>> = LazyLock::new(|| {
    let of = |table: &'static Table| Statements {
        table,
        first: table.page(false),
        after: table.page(true),
        one: table.insert(1),
        many: table.insert(ROWS_PER_INSERT),
        clear: format!("delete from {}", table.name),
    };
    ALL.into_iter().map(of).collect()
});

/// Every tenant's head, in byte order of their names.
pub(super) async fn heads<C: Connection>(connection: &mut C) -> Result<Vec<(TenantId, Head)>, StoreError> {
    let mut heads = Vec::new();
    loop {
        let after = heads.last().map(|(tenant, _): &(TenantId, Head)| tenant.clone());
        let tenants = read::tenants(connection, after.as_ref(), TENANTS_PER_READ).await?;
        if tenants.is_empty() {
            return Ok(heads);
        }
        for tenant in tenants {
            let (head, _) = read::head(connection, &tenant).await?;
            heads.push((tenant, head));
        }
    }
}

/// Copies all of these tenants. The caller sees to it that `from` shows one moment and that `to` takes all or nothing.
pub(super) async fn all<F: Connection, T: Connection>(
    from: &mut F,
    to: &mut T,
    tenants: &[(TenantId, Head)],
) -> Result<(), StoreError> {
    for (tenant, _) in tenants {
        for statements in STATEMENTS.iter() {
            copy(from, to, tenant, statements).await?;
        }
    }
    Ok(())
}

async fn copy<F: Connection, T: Connection>(
    from: &mut F,
    to: &mut T,
    tenant: &TenantId,
    statements: &'static Statements,
) -> Result<(), StoreError> {
    let most = Value::Int(Some(i64::try_from(ROWS_PER_READ).unwrap_or(i64::MAX)));
    let key = statements.table.key;
    let mut after: Option<Vec<Value>> = None;
    loop {
        let mut values = vec![Value::text(tenant.as_str())];
        values.extend(after.take().into_iter().flatten());
        let sql = if values.len() > 1 { &statements.after } else { &statements.first };
        values.push(most.clone());
        let rows = from.fetch(sql, values).await?;
        let is_last = rows.len() < ROWS_PER_READ || key == 0;
        let mut decoded = Vec::with_capacity(rows.len());
        for row in &rows {
            let columns = statements.table.columns.iter().enumerate();
            let values = columns.map(|(at, (_, holds))| match holds {
                Holds::Int => row.int(at).map(Value::Int),
                Holds::Bytes => row.bytes(at).map(|bytes| Value::Bytes(bytes.map(<[u8]>::to_vec))),
            });
            decoded.push(values.collect::<Result<Vec<Value>, StoreError>>()?);
        }
        after = decoded.last().map(|row| row.iter().take(key).cloned().collect());
        insert(to, tenant, statements, decoded).await?;
        if is_last {
            return Ok(());
        }
    }
}

async fn insert<C: Connection>(
    to: &mut C,
    tenant: &TenantId,
    statements: &'static Statements,
    rows: Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let is_many = rows.len() >= ROWS_PER_INSERT;
        let (sql, count) = if is_many { (&statements.many, ROWS_PER_INSERT) } else { (&statements.one, 1) };
        let values = rows.by_ref().take(count).flatten();
        to.run(sql, [Value::text(tenant.as_str())].into_iter().chain(values).collect()).await?;
    }
    Ok(())
}

/// Deletes every row of every tenant.
pub(super) async fn clear<C: Connection>(connection: &mut C) -> Result<(), StoreError> {
    for statements in STATEMENTS.iter() {
        connection.run(&statements.clear, Vec::new()).await?;
    }
    Ok(())
}

/// Begins a new log on what a tenant's old one came to, and remembers the old one. What readers had acknowledged of
/// the old one, and leased, holds nothing in the new one.
pub(super) async fn new_log<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    log_id: LogId,
    now_ms: u64,
) -> Result<(), StoreError> {
    let (head, _) = read::head(connection, tenant).await?;
    let before: Option<Restored> = mark(connection, tenant, RESTORED).await?.0;
    let (head, restored) = renewed(&head, log_id, before.as_ref(), now_ms);
    connection.run(NEW_LOG, vec![Value::text(tenant.as_str()), Value::bytes(head.log_id.as_bytes())]).await?;
    for space in [Space::Ack, Space::Lease] {
        let values = vec![Value::text(tenant.as_str()), Value::Int(Some(i64::from(space.number())))];
        connection.run(FORGET_SPACE, values).await?;
    }
    set_mark(connection, tenant, RESTORED, |_: Option<Restored>| Some(restored)).await
}

/// Gives the plain rows of a space, of one tenant, other values where `to` says so.
pub(super) async fn rewrite<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    space: Space,
    to: &(dyn Fn(&PlainRow) -> Option<Vec<u8>> + Sync),
) -> Result<(), StoreError> {
    for row in rows(connection, tenant, space).await? {
        if let Some(value) = to(&row)
            && !plain::put(connection, tenant, space, &row.key, &value, row.version).await?
        {
            return Err(StoreError::Contended);
        }
    }
    Ok(())
}

/// Every plain row of a space of a tenant, in key order.
pub(super) async fn rows<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    space: Space,
) -> Result<Vec<PlainRow>, StoreError> {
    let mut rows: Vec<PlainRow> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.key.clone());
        let page = plain::page(connection, tenant, space, after.as_deref(), ROWS_PER_READ).await?;
        let is_last = page.len() < ROWS_PER_READ;
        rows.extend(page);
        if is_last {
            return Ok(rows);
        }
    }
}

/// Forgets the plain rows of one name, of whichever tenant.
pub(super) async fn forget<C: Connection>(
    connection: &mut C,
    space: Space,
    name: &'static [u8],
) -> Result<(), StoreError> {
    let values = vec![Value::Int(Some(i64::from(space.number()))), Value::bytes(name)];
    connection.run(FORGET, values).await.map(drop)
}

/// Remembers what backups hold of a tenant; never less than before.
pub(super) async fn note_backup<C: Connection>(
    connection: &mut C,
    tenant: &TenantId,
    held: BackedUp,
) -> Result<(), StoreError> {
    let newer = |before: Option<BackedUp>| {
        Some(held).filter(|held| before.is_none_or(|before| before.revision <= held.revision))
    };
    set_mark(connection, tenant, BACKED_UP, newer).await
}

async fn mark<C: Connection, M: DeserializeOwned>(
    connection: &mut C,
    tenant: &TenantId,
    name: &[u8],
) -> Result<(Option<M>, u64), StoreError> {
    let row = plain::get(connection, tenant, Space::Mark, name).await?;
    let version = row.as_ref().map_or(0, |row| row.version);
    Ok((row.and_then(|row| serde_json::from_slice(&row.value).ok()), version))
}

/// Writes what `change` gives, if anything, and tries again where another was first.
async fn set_mark<C: Connection, M: Serialize + DeserializeOwned>(
    connection: &mut C,
    tenant: &TenantId,
    name: &[u8],
    change: impl Fn(Option<M>) -> Option<M>,
) -> Result<(), StoreError> {
    /// Tries at a mark that others write too.
    const TRIES_MAX: usize = 8;
    for _ in 0..TRIES_MAX {
        let (before, version) = mark(connection, tenant, name).await?;
        let Some(after) = change(before) else { return Ok(()) };
        let value = serde_json::to_vec(&after).map_err(|error| StoreError::Internal(error.to_string()))?;
        if plain::put(connection, tenant, Space::Mark, name, &value, version).await? {
            return Ok(());
        }
    }
    Err(StoreError::Contended)
}
