//! What a failover of the database means for the logs in it.
//!
//! - The database remembers on which line of its history hubs last wrote, and whether a standby held their commits
//!   before they were answered. The mark travels to standbys with everything else.
//! - A hub that opens a later line takes it as it is when commits were held by a standby before: nothing that was
//!   answered is missing. When they were not, or when the server was told to end its recovery at a point in time, the
//!   end of the logs may be missing: in one transaction, and before anything else is written, every log becomes a new
//!   one that names the old one.
//! - A store serves on one line only. A connection that would lead to another is refused, and the store says that the
//!   database has moved: who used it forgets what it knows and opens the store again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use semantics::ids::{LogId, TenantId};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Postgres};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::commits::{COMMIT_MS_MAX, Commits};
use super::primary::{ASK_MS_MAX, Servers, Standing, standing};
use super::{PostgresStore, connected, error, presence};
use crate::store::relational::lender::Lender;
use crate::store::relational::{Connection as _, plain};
use crate::store::{Space, StoreError, copy};

/// The reserved tenant under which the mark is kept.
const TENANT: &str = "hub";
/// Name of the mark.
pub(in crate::store) const MARK: &[u8] = b"database-line";
/// The server is asked this often whether it is the one it was, milliseconds.
const LOOK_MS: u64 = 1_000;

/// What to do with the logs of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing has changed.
    Nothing,
    /// They go on; the mark is out of date.
    Mark,
    /// Each becomes a new one.
    Renew,
}

fn step(mark: Option<&Standing>, now: &Standing) -> Step {
    match mark {
        Some(mark) if (mark.line, mark.is_synchronous) == (now.line, now.is_synchronous) => Step::Nothing,
        Some(mark)
            if mark.line.system == now.line.system
                && now.line.timeline > mark.line.timeline
                && (!mark.is_synchronous || now.has_target) =>
        {
            Step::Renew
        }
        _ => Step::Mark,
    }
}

/// Whether a store that serves has its place on the database.
#[derive(Debug, Clone, Default)]
pub(super) struct Present(Arc<AtomicBool>);

impl Present {
    /// # Errors
    /// [`StoreError::Unavailable`] while the place is lost.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let is_lost = self.0.load(Ordering::SeqCst);
        let lost = || {
            StoreError::Unavailable(
                "the connection that keeps restores away is lost: it is made anew".to_owned(),
            )
        };
        if is_lost { Err(lost()) } else { Ok(()) }
    }

    fn note(&self, is_there: bool) {
        let was_lost = self.0.swap(!is_there, Ordering::SeqCst);
        if was_lost == is_there {
            debug!(is_there, "the place on the database");
        }
    }
}

/// Watches the database until it is dropped.
#[derive(Debug, Clone)]
pub(super) struct Watch(
    #[expect(dead_code, reason = "ends the watch when the last store goes")] Arc<DropGuard>,
);

impl PostgresStore {
    /// Looks how the database came to be where it is, and renews the logs if their end may be missing; then watches
    /// it. Gives the tenants whose logs were renewed, with the log ids before. Doing it again changes nothing; of
    /// several gateways one renews. From here on, until the store is dropped, no restore is taken.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while a restore is under way, or when others hold the heads of the logs for longer
    /// than [`COMMIT_MS_MAX`]; [`StoreError::Hanging`] when a commit does not end; what the server refuses; then
    /// nothing has changed.
    pub async fn settle(
        &mut self,
        now_ms: u64,
        log_id: impl FnMut() -> LogId + Send,
    ) -> Result<Vec<(TenantId, LogId)>, StoreError> {
        let options = self.writing.pool().connect_options();
        let mut place = connected(&options).await?;
        if !presence::enter(&mut place).await.map_err(|error| error::of(&error))? {
            return Err(StoreError::Unavailable(presence::RESTORING.to_owned()));
        }
        // A commit that waits for a standby holds its tenant's head.
        let times = [
            ("statement_timeout", 0),
            ("lock_timeout", COMMIT_MS_MAX),
            ("idle_in_transaction_session_timeout", 0),
        ];
        let mut connection = connected(&(*options).clone().options(times)).await?;
        let renewed = settle(&mut connection, self.standing, now_ms, log_id).await?;
        drop(connection.close().await);
        let ended = CancellationToken::new();
        let guard = Arc::new(ended.clone().drop_guard());
        let looking = Looking {
            servers: self.servers.clone(),
            at: (*options).clone(),
            standing: self.standing,
            writing: self.writing.clone(),
            commits: self.commits.clone(),
            present: self.present.clone(),
        };
        tokio::spawn(looking.run(place, self.moved.clone(), ended));
        self.watch = Some(Watch(guard));
        Ok(renewed)
    }

    /// Cancelled when the database has moved to another line: nothing can be read or written through this store any
    /// more.
    #[must_use]
    pub fn moved(&self) -> CancellationToken {
        self.moved.clone()
    }
}

async fn settle(
    connection: &mut PgConnection,
    now: Standing,
    now_ms: u64,
    mut log_id: impl FnMut() -> LogId + Send,
) -> Result<Vec<(TenantId, LogId)>, StoreError> {
    connection.run("begin", Vec::new()).await?;
    // No commit is appended until this is decided, by hubs that have not seen that the database moved either.
    let locked = connection.run("lock table heads in exclusive mode", Vec::new()).await;
    locked.map_err(|error| match error {
        StoreError::Contended => StoreError::Unavailable(format!(
            "others have held the heads of the logs for {COMMIT_MS_MAX} ms: is a synchronous standby gone?"
        )),
        error => error,
    })?;
    let (mark, version) = mark(connection).await?;
    let step = step(mark.as_ref(), &now);
    let mut renewed = Vec::new();
    if step == Step::Renew {
        for (tenant, head) in copy::heads(connection).await? {
            copy::new_log(connection, &tenant, log_id(), now_ms).await?;
            renewed.push((tenant, head.log_id));
        }
    }
    if step != Step::Nothing {
        put_mark(connection, now, version).await?;
    }
    let limit = Duration::from_millis(COMMIT_MS_MAX);
    let committed = tokio::time::timeout(limit, connection.run("commit", Vec::new())).await;
    committed.map_err(|_| StoreError::Hanging(COMMIT_MS_MAX))??;
    Ok(renewed)
}

fn tenant() -> Result<TenantId, StoreError> {
    TenantId::new(TENANT).map_err(|error| StoreError::Internal(error.to_string()))
}

async fn mark(connection: &mut PgConnection) -> Result<(Option<Standing>, u64), StoreError> {
    let row = plain::get(connection, &tenant()?, Space::Hub, MARK).await?;
    let version = row.as_ref().map_or(0, |row| row.version);
    Ok((row.and_then(|row| serde_json::from_slice(&row.value).ok()), version))
}

async fn put_mark(connection: &mut PgConnection, now: Standing, version: u64) -> Result<bool, StoreError> {
    let value = serde_json::to_vec(&now).map_err(|error| StoreError::Internal(error.to_string()))?;
    plain::put(connection, &tenant()?, Space::Hub, MARK, &value, version).await
}

/// Looks every second whether the database is still where it was.
struct Looking {
    servers: Servers,
    at: PgConnectOptions,
    standing: Standing,
    writing: Lender<Postgres>,
    commits: Commits,
    present: Present,
}

/// What a look at the server found.
enum Found {
    At(Standing),
    /// A restore has the database for itself.
    Restore,
    Nothing,
}

impl Looking {
    /// On the connection that keeps the place of this gateway.
    async fn run(mut self, place: PgConnection, moved: CancellationToken, ended: CancellationToken) {
        let mut connection = Some(place);
        let mut tick = tokio::time::interval(Duration::from_millis(LOOK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = moved.cancelled() => return,
                _ = tick.tick() => {}
            }
            if self.has_moved(&mut connection).await {
                moved.cancel();
                return;
            }
        }
    }

    async fn has_moved(&mut self, connection: &mut Option<PgConnection>) -> bool {
        let found = self.ask(connection).await;
        self.present.note(connection.is_some());
        match found {
            Found::At(standing) => {
                let is_on_line = standing.line == self.standing.line;
                if is_on_line && standing.is_synchronous != self.standing.is_synchronous {
                    self.remember(standing).await;
                }
                return !is_on_line;
            }
            Found::Restore => {
                warn!("a restore has the database: what is there afterwards is another log");
                return true;
            }
            Found::Nothing => {}
        }
        // It is gone, or no primary any more.
        match self.servers.find().await {
            Ok((options, standing)) => {
                let place = |options: &PgConnectOptions| (options.get_host().to_owned(), options.get_port());
                standing.line != self.standing.line || place(&options) != place(&self.at)
            }
            Err(error) => {
                debug!(%error, "no server of the database takes writes");
                false
            }
        }
    }

    /// What the server says of itself that the store is connected to, over a connection of this watch's own, on which
    /// this gateway has its place.
    async fn ask(&self, held: &mut Option<PgConnection>) -> Found {
        let before = held.take();
        let asked = async {
            let (mut connection, is_in) = match before {
                Some(connection) => (connection, true),
                None => {
                    let mut connection = PgConnection::connect_with(&self.at).await?;
                    let is_in = presence::enter(&mut connection).await?;
                    (connection, is_in)
                }
            };
            let standing = standing(&mut connection).await?;
            Ok::<_, sqlx::Error>((connection, standing, is_in))
        };
        match tokio::time::timeout(Duration::from_millis(ASK_MS_MAX), asked).await {
            Ok(Ok((_, Some(_), false))) => Found::Restore,
            Ok(Ok((connection, Some(standing), true))) => {
                *held = Some(connection);
                Found::At(standing)
            }
            _ => Found::Nothing,
        }
    }

    /// Whether commits wait for a standby has changed: the database remembers it for whoever opens it next.
    /// This commit too may wait for a standby that is not there: while one does, another is not begun.
    async fn remember(&mut self, standing: Standing) {
        if self.commits.is_behind(ASK_MS_MAX) {
            return;
        }
        let writing = self.writing.clone();
        let marked = self.commits.run(async move {
            let mut connection = writing.acquire().await.map_err(|error| error::of(&error))?;
            let (_, version) = mark(&mut connection).await?;
            put_mark(&mut connection, standing, version).await
        });
        match tokio::time::timeout(Duration::from_millis(ASK_MS_MAX), marked).await {
            // Where another gateway was first, the next look finds what is to be done.
            Ok(Ok(_)) => self.standing = standing,
            Ok(Err(error)) => warn!(%error, "the database does not remember whether it waits for a standby"),
            Err(_) => warn!("the database does not remember in time whether it waits for a standby"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::primary::Line;
    use super::*;

    fn at(system: i64, timeline: i64, is_synchronous: bool) -> Standing {
        Standing { line: Line { system, timeline }, is_synchronous, has_target: false }
    }

    fn ended_early(standing: Standing) -> Standing {
        Standing { has_target: true, ..standing }
    }

    #[test]
    fn logs_are_renewed_when_a_later_line_may_lack_what_was_answered() {
        for (mark, now, expected) in [
            (None, at(1, 5, false), Step::Mark),
            (Some(at(1, 1, false)), at(1, 1, false), Step::Nothing),
            (Some(at(1, 1, true)), at(1, 1, false), Step::Mark),
            (Some(at(1, 1, false)), at(1, 2, false), Step::Renew),
            (Some(at(1, 1, false)), at(1, 3, true), Step::Renew),
            (Some(at(1, 1, true)), at(1, 2, false), Step::Mark),
            // A recovery to a point in time lacks what came after it, whoever held that.
            (Some(at(1, 1, true)), ended_early(at(1, 2, false)), Step::Renew),
            (Some(at(1, 2, true)), ended_early(at(1, 2, true)), Step::Nothing),
            // A copy in another database numbers its own lines.
            (Some(at(1, 1, false)), at(2, 7, false), Step::Mark),
        ] {
            assert_eq!(step(mark.as_ref(), &now), expected, "{mark:?} {now:?}");
        }
    }
}
