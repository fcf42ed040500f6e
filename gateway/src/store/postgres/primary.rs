//! Which of several servers takes writes now, and on which line of the database's history it is. Every promotion of
//! a standby begins a new line; the server numbers them (its manual, "Timelines").

use std::str::FromStr as _;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::error;
use crate::store::StoreError;

/// Most servers that one URL names.
const SERVERS_MAX: usize = 8;
/// A server that is asked what it is answers within this time, milliseconds.
pub(super) const ASK_MS_MAX: u64 = 3_000;
/// What libpq needs in a URL of several servers; here it is always so.
const READ_WRITE: [&str; 2] = ["target_session_attrs=read-write", "target_session_attrs=primary"];
/// A standby numbers no line of its own.
const STANDING: &str = "select (select system_identifier from pg_control_system()), \
     case when pg_is_in_recovery() then null \
     else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint end, \
     current_setting('synchronous_standby_names') <> '' and current_setting('synchronous_commit') <> 'local', \
     exists (select from unnest(array['', '_lsn', '_name', '_time', '_xid']) as targets (name) \
     where coalesce(current_setting('recovery_target' || name, true), '') <> '')";

/// A line of a database's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// The database, whichever server holds it.
    pub(super) system: i64,
    /// One more with each promotion.
    pub(super) timeline: i64,
}

/// What a server that takes writes says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Where it is.
    #[serde(flatten)]
    pub(super) line: Line,
    /// Whether a commit is answered only when a standby holds it too.
    pub(super) is_synchronous: bool,
    /// Whether it was told to end its recovery at a point of its own: what came after is not there, whatever any
    /// standby had. The settings stay when the recovery is over. Of the server, so it is not remembered.
    #[serde(skip)]
    pub(super) has_target: bool,
}

/// What a connected server says of itself; `None` for a standby.
pub(super) async fn standing(connection: &mut PgConnection) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query(STANDING).fetch_one(connection).await?;
    let (system, timeline) = (row.try_get(0)?, row.try_get::<Option<i64>, _>(1)?);
    let (is_synchronous, has_target) = (row.try_get(2)?, row.try_get(3)?);
    Ok(timeline.map(|timeline| Standing { line: Line { system, timeline }, is_synchronous, has_target }))
}

/// The servers that a URL names: `postgres://USER@HOST:PORT,HOST:PORT/DATABASE`.
#[derive(Clone)]
pub(in crate::store) struct Servers(Vec<PgConnectOptions>);

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Options may hold a password.
        write!(f, "{} servers", self.0.len())
    }
}

impl Servers {
    /// Reads a URL.
    pub(in crate::store) fn parse(url: &str) -> Result<Self, StoreError> {
        Self::read(url).map_err(|detail| StoreError::Internal(format!("the database URL {detail}")))
    }

    /// Reads a URL; else what it is or does that it should not. The URL is not repeated: it may hold a password.
    pub(in crate::store) fn read(url: &str) -> Result<Self, String> {
        let unread = || "does not parse".to_owned();
        let urls = each(url).ok_or_else(unread)?;
        if urls.len() > SERVERS_MAX {
            return Err(format!("names more than {SERVERS_MAX} servers"));
        }
        let options = |url: &String| {
            let options = PgConnectOptions::from_str(url).map_err(|_| unread())?;
            let is_named = options.get_application_name().is_some();
            Ok(if is_named { options } else { options.application_name("hubward") })
        };
        Ok(Self(urls.iter().map(options).collect::<Result<_, String>>()?))
    }

    /// The server that takes writes; of several, the one on the latest line: the others were left behind.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none takes writes; what the first of them refuses with when none answers.
    pub(in crate::store) async fn primary(&self) -> Result<PgConnectOptions, StoreError> {
        Ok(self.find().await?.0)
    }

    pub(super) async fn find(&self) -> Result<(PgConnectOptions, Standing), StoreError> {
        let asked = join_all(self.0.iter().map(ask)).await;
        let mut found = None;
        let mut refused = None;
        for (options, answer) in self.0.iter().zip(asked) {
            match answer {
                Ok(Some(standing)) => {
                    let is_later = |(_, other): &(_, Standing)| standing.line.timeline > other.line.timeline;
                    if found.as_ref().is_none_or(is_later) {
                        found = Some((options.clone(), standing));
                    }
                }
                Ok(None) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let standby = || StoreError::Unavailable("the database is a standby: it takes no writes".to_owned());
        found.ok_or_else(|| refused.unwrap_or_else(standby))
    }
}

async fn ask(options: &PgConnectOptions) -> Result<Option<Standing>, StoreError> {
    let asked = async {
        let mut connection = PgConnection::connect_with(options).await?;
        let standing = standing(&mut connection).await?;
        connection.close().await?;
        Ok(standing)
    };
    match tokio::time::timeout(Duration::from_millis(ASK_MS_MAX), asked).await {
        Ok(answer) => answer.map_err(|error: sqlx::Error| error::of(&error)),
        Err(_) => Err(StoreError::Unavailable("the database did not answer in time".to_owned())),
    }
}

/// One URL for each server that this one names.
fn each(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = (rest.get(..end)?, rest.get(end..)?);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !READ_WRITE.contains(pair)).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let (user, hosts) =
        authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    Some(hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}{query}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_several_servers_is_one_for_each() {
        let url = "postgres://u:p%40w@a:1,b:2/d?target_session_attrs=read-write&sslmode=prefer";
        let one = |host: &str| format!("postgres://u:p%40w@{host}/d?sslmode=prefer");
        assert_eq!(each(url).unwrap(), [one("a:1"), one("b:2")]);
        for single in
            ["postgres://u@h/d", "postgres://h", "postgres://h/?host=/tmp/x", "postgres://u@h?a=b&c=d"]
        {
            assert_eq!(each(single).unwrap(), [single]);
        }
    }

    #[test]
    fn a_url_that_does_not_parse_is_not_repeated() {
        for url in ["nonsense", "postgres://u:s3cret@h:port/d", "postgres://u:s3cret@a,b:x/d"] {
            let refused = Servers::parse(url).err().unwrap().to_string();
            assert!(refused.contains("does not parse") && !refused.contains("s3cret"), "{refused}");
        }
        let many = ["h"; SERVERS_MAX + 1].join(",");
        assert!(
            Servers::parse(&format!("postgres://{many}/d"))
                .err()
                .unwrap()
                .to_string()
                .contains("more than 8")
        );
    }
}
