//! A store held open by a command for its plain rows, beside a hub that runs on it or without one.

use sqlx::sqlite::{SqliteConnection, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection};

use super::{Origin, Path, PlainRow, Space, StoreError, TenantId, connect_file, copy, file_options};
use super::{folder_connection, level, migrate, server_connection};
use crate::store::relational::{Connection, plain};

/// The store. What is written is durable when it returns, or with [`Beside::commit`].
pub struct Beside(Engine);

enum Engine {
    File(SqliteConnection),
    Server(PgConnection),
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beside")
    }
}

/// The same on either engine.
macro_rules! on {
    ($beside:expr, $store:ident => $call:expr) => {
        match &mut $beside.0 {
            Engine::File($store) => $call.await,
            Engine::Server($store) => $call.await,
        }
    };
}

impl Beside {
    /// Opens a store that has the tables of this program.
    ///
    /// # Errors
    /// [`StoreError::Newer`] and [`StoreError::Unsafe`] when its tables are of another program; what the engines refuse.
    pub async fn open(at: Origin<'_>) -> Result<Self, StoreError> {
        Ok(Self(match at {
            Origin::Folder(folder) => {
                let mut store = folder_connection(folder).await?;
                level(&mut store, migrate::SQLITE).await?;
                Engine::File(store)
            }
            Origin::Postgres(url) => {
                let mut store = server_connection(url).await?;
                level(&mut store, migrate::POSTGRES).await?;
                Engine::Server(store)
            }
        }))
    }

    /// Opens an archive that nobody else has open and that is synced to the disk when all is in it.
    ///
    /// # Errors
    /// What the engine refuses.
    pub async fn open_file(file: &Path) -> Result<Self, StoreError> {
        let options = file_options(file).synchronous(SqliteSynchronous::Off);
        Ok(Self(Engine::File(connect_file(&options).await?)))
    }

    /// Begins what is done whole or not at all; what is dropped before [`Beside::commit`] is not done.
    ///
    /// # Errors
    /// What the engines refuse.
    pub async fn begin(&mut self) -> Result<(), StoreError> {
        let sql = match self.0 {
            Engine::File(_) => "begin immediate",
            Engine::Server(_) => "begin",
        };
        on!(self, store => store.run(sql, Vec::new())).map(drop)
    }

    /// Does it.
    ///
    /// # Errors
    /// What the engines refuse.
    pub async fn commit(&mut self) -> Result<(), StoreError> {
        on!(self, store => store.run("commit", Vec::new())).map(drop)
    }

    /// Gives it up.
    ///
    /// # Errors
    /// What the engines refuse.
    pub async fn rollback(&mut self) -> Result<(), StoreError> {
        on!(self, store => store.run("rollback", Vec::new())).map(drop)
    }

    /// A row.
    ///
    /// # Errors
    /// What the engines refuse.
    pub async fn get(
        &mut self,
        tenant: &TenantId,
        space: Space,
        key: &[u8],
    ) -> Result<Option<PlainRow>, StoreError> {
        on!(self, store => plain::get(store, tenant, space, key))
    }

    /// The first row of a space.
    ///
    /// # Errors
    /// What the engines refuse.
    pub async fn first(&mut self, tenant: &TenantId, space: Space) -> Result<Option<PlainRow>, StoreError> {
        Ok(on!(self, store => plain::page(store, tenant, space, None, 1))?.pop())
    }

    /// Every row of a space, in key order.
    ///
    /// # Errors
    /// What the engines refuse.
    pub async fn rows(&mut self, tenant: &TenantId, space: Space) -> Result<Vec<PlainRow>, StoreError> {
        on!(self, store => copy::rows(store, tenant, space))
    }

    /// Writes a row, name and value, if its version is as expected. False: it was not, and nothing has changed.
    ///
    /// # Errors
    /// What the engines refuse.
    pub async fn put(
        &mut self,
        tenant: &TenantId,
        space: Space,
        (key, value): (&[u8], &[u8]),
        expected: u64,
    ) -> Result<bool, StoreError> {
        on!(self, store => plain::put(store, tenant, space, key, value, expected))
    }

    /// Closes it in order.
    pub async fn close(self) {
        match self.0 {
            Engine::File(store) => drop(store.close().await),
            Engine::Server(store) => drop(store.close().await),
        }
    }
}
