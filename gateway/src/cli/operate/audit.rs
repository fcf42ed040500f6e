//! Commands about who did what.

mod asked;
mod pages;
mod verify;
mod who;

use clap::{Args, Subcommand, ValueEnum};
use proto::v1;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use self::pages::{Fetched, Place, Places, Window};
use super::super::client::{At, Audit};
use super::super::output::Printer;
use super::{OfTenant, PAGE_SIZE, refused, seconds};
use crate::rpc::audit::known::OUTCOMES;

/// Entries shown when no limit is given.
const LIMIT_DEFAULT: usize = 1_000;

/// What the table shows of an entry.
const COLUMNS: [&str; 9] = ["time_ms", "who", "who_id", "event", "kind", "id", "revision", "reason", "count"];

/// Where entries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum Source {
    /// Changes, and refused or withdrawn mutations.
    Commits,
    /// Sessions, joins, tokens, refused calls.
    Access,
}

#[derive(Debug, Subcommand)]
pub(in super::super) enum AuditCommand {
    /// Lists who did what, when, from which node: oldest first, changes and access together.
    List(List),
    /// Checks that nothing was taken out of the access log or changed in it, and names the first entry that does not
    /// fit.
    Verify(verify::Verify),
}

#[derive(Debug, Args)]
pub(in super::super) struct List {
    /// Only changes or only access.
    #[arg(long, value_enum)]
    source: Option<Source>,
    /// Only by this node (name or id), operator (TENANT/NAME or id), or one as this list shows it (node/NAME, address/IP).
    #[arg(long)]
    by: Option<String>,
    /// Not before: milliseconds since 1970-01-01 UTC, or so long ago, as 90s, 30m, 2h or 7d.
    #[arg(long)]
    since: Option<String>,
    /// Before: the same forms.
    #[arg(long)]
    until: Option<String>,
    /// Only changes of records of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only these; --help lists them.
    #[arg(long, long_help = asked::events_help())]
    event: Option<String>,
    /// Only those with this reason, such as PERMISSION_DENIED; --help lists them.
    #[arg(long, long_help = asked::reasons_help())]
    reason: Option<String>,
    /// At most so many; what goes on after them is said, and how to list it.
    #[arg(long, default_value_t = LIMIT_DEFAULT, value_parser = at_least_one)]
    limit: usize,
    /// Goes on where a listing with the same filters ended: its `next_page_token`, which holds its --since and --until.
    #[arg(long, value_name = "TOKEN")]
    page_token: Option<String>,
    #[command(flatten)]
    of: OfTenant,
}

impl AuditCommand {
    pub(in super::super) async fn run(self, at: &At, now_ms: u64, out: Printer) -> Result<(), Refusal> {
        let list = match self {
            Self::List(list) => list,
            Self::Verify(verify) => return verify.run(at, out).await,
        };
        list.show(at, now_ms, out).await
    }
}

impl List {
    async fn show(self, at: &At, now_ms: u64, out: Printer) -> Result<(), Refusal> {
        self.check()?;
        let mut hub = at.audit().await?;
        let from = self.from(now_ms)?;
        let window = from.window;
        let commits = match from.commits {
            Some(from) => self.changes(&mut hub, from, window).await?,
            None => Fetched::default(),
        };
        let access = match from.access {
            Some(from) => self.access(&mut hub, from, window).await?,
            None => Fetched::default(),
        };
        let (rows, next) = pages::merge(window, commits, access, self.limit);
        out.page("entries", rows, &COLUMNS, next.map(|next| next.token()));
        Ok(())
    }

    /// Where to begin; a listing that goes on is of the time that its first page was of.
    fn from(&self, now_ms: u64) -> Result<Places, Refusal> {
        let since_ms = moment("--since", self.since.as_deref(), now_ms)?;
        let until_ms = moment("--until", self.until.as_deref(), now_ms)?;
        if let Some(token) = &self.page_token {
            return Places::read(token);
        }
        let is_outcome = self.event.as_deref().map(|event| OUTCOMES.contains(&event));
        let is_of_commits = self.source != Some(Source::Access) && is_outcome != Some(false);
        let is_of_access =
            self.source != Some(Source::Commits) && is_outcome != Some(true) && self.kind.is_none();
        Ok(Places {
            window: Window { since_ms, until_ms },
            commits: is_of_commits.then(Place::default),
            access: is_of_access.then(Place::default),
        })
    }

    async fn changes(
        &self,
        hub: &mut Audit,
        mut from: Place,
        Window { since_ms, until_ms }: Window,
    ) -> Result<Fetched, Refusal> {
        let mut fetched = Fetched::default();
        loop {
            let request = v1::ListChangesRequest {
                tenant: self.of.tenant.clone(),
                page_size: PAGE_SIZE,
                page_token: from.page.clone(),
                since_ms,
                until_ms,
                author: self.by.clone().unwrap_or_default(),
                kind: self.kind.clone().unwrap_or_default(),
                outcome: self.event.clone().unwrap_or_default(),
            };
            let page = hub.list_changes(request).await.map_err(refused)?.into_inner();
            let rows = page.changes.iter().map(change);
            let next = fetched.take(&from, rows, &page.next_page_token, |row| self.is_for(row));
            match next.filter(|_| fetched.len() <= self.limit) {
                Some(next) => from = next,
                None => return Ok(fetched),
            }
        }
    }

    async fn access(
        &self,
        hub: &mut Audit,
        mut from: Place,
        Window { since_ms, until_ms }: Window,
    ) -> Result<Fetched, Refusal> {
        let mut fetched = Fetched::default();
        loop {
            let request = v1::ListAccessRequest {
                tenant: self.of.tenant.clone(),
                page_size: PAGE_SIZE,
                page_token: from.page.clone(),
                since_ms,
                until_ms,
                who: self.by.clone().unwrap_or_default(),
                event: self.event.clone().unwrap_or_default(),
                reason: self.reason.clone().unwrap_or_default(),
            };
            let page = hub.list_access(request).await.map_err(refused)?.into_inner();
            let rows = page.entries.iter().map(access);
            let next = fetched.take(&from, rows, &page.next_page_token, |_| true);
            match next.filter(|_| fetched.len() <= self.limit) {
                Some(next) => from = next,
                None => return Ok(fetched),
            }
        }
    }

    fn is_for(&self, row: &Value) -> bool {
        self.reason.as_ref().is_none_or(|reason| row["reason"] == *reason)
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "give a whole number of at least 1".to_owned())
}

fn moment(name: &str, text: Option<&str>, now_ms: u64) -> Result<Option<u64>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let ago = seconds(text).map(|seconds| now_ms.saturating_sub(seconds.saturating_mul(1_000)));
    let bad = || {
        let detail = format!("{name} {text:?}: milliseconds since 1970-01-01 UTC, or 90s, 30m, 2h, 7d ago");
        Refusal::new(Reason::Malformed, detail)
    };
    ago.ok().or_else(|| text.parse().ok()).map(Some).ok_or_else(bad)
}

fn change(change: &v1::ChangeEntry) -> Value {
    let (who, who_id) = who::author(change);
    json!({
        "source": "commits",
        "time_ms": change.time_ms,
        "who": who,
        "who_id": who_id,
        "event": change.outcome,
        "kind": change.kind,
        "id": change.id,
        "revision": Some(change.revision).filter(|revision| *revision > 0),
        "commit": change.commit,
        "reason": Some(&change.reason).filter(|reason| !reason.is_empty()),
        "mutation": Some(hex::encode(&change.mutation)).filter(|mutation| !mutation.is_empty()),
    })
}

fn access(entry: &v1::AccessEntry) -> Value {
    let (who, who_id) = who::principal(entry);
    let mut row = json!({
        "source": "access", "number": entry.number, "time_ms": entry.time_ms, "who": who, "who_id": who_id,
        "event": entry.event,
    });
    if let (Value::Object(row), Ok(Value::Object(details))) =
        (&mut row, serde_json::from_slice(&entry.details))
    {
        row.extend(details);
    }
    row
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        list: List,
    }

    #[test]
    fn a_listing_of_the_last_hours_goes_on_within_the_time_it_began_with() {
        const HOUR_MS: u64 = 3_600_000;
        let words = ["list", "--tenant", "t", "--since", "2h", "--until", "1h"];
        let began = Line::try_parse_from(words).unwrap().list.from(10 * HOUR_MS).unwrap();
        let window = Window { since_ms: Some(8 * HOUR_MS), until_ms: Some(9 * HOUR_MS) };
        assert_eq!(began.window, window);
        let token = began.token();
        for words in [&words[..], &words[..3]] {
            let again = [words, &["--page-token", &token]].concat();
            let list = Line::try_parse_from(again).unwrap().list;
            assert_eq!(list.from(11 * HOUR_MS).unwrap(), began);
        }
    }
}
