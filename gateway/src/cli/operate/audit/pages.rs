//! One listing over two logs: both in their own order, put together by time, a page at a time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use semantics::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A place in one of the logs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// Token of the hub's page; empty for the first.
    pub(super) page: String,
    /// Entries of that page before the place.
    pub(super) before: usize,
}

/// The time a listing is of, milliseconds since 1970-01-01 UTC. It goes from page to page, because "two hours ago" is
/// another moment at each call, and places in a listing count within one time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Window {
    /// Not before.
    pub(super) since_ms: Option<u64>,
    /// Before.
    pub(super) until_ms: Option<u64>,
}

/// Where a listing goes on; `None` = that log has no more for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Places {
    pub(super) window: Window,
    pub(super) commits: Option<Place>,
    pub(super) access: Option<Place>,
}

impl Places {
    /// What an operator hands back to go on.
    pub(super) fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }

    pub(super) fn read(token: &str) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| Refusal::new(Reason::BadToken, "--page-token is none that a listing gave"))
    }
}

/// What was read of one log: each entry with its place, and where it goes on after them.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    rows: Vec<(Place, Value)>,
    end: Option<Place>,
}

impl Fetched {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Takes a page that was asked for at `from`; gives the place after it, unless it was the last.
    pub(super) fn take(
        &mut self,
        from: &Place,
        page: impl Iterator<Item = Value>,
        next: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Option<Place> {
        let rows = page.enumerate().skip(from.before).filter(|(_, row)| is_wanted(row));
        self.rows.extend(rows.map(|(before, row)| (Place { page: from.page.clone(), before }, row)));
        self.end = (!next.is_empty()).then(|| Place { page: next.to_owned(), before: 0 });
        self.end.clone()
    }
}

/// The first `limit` entries of both by time, each log in its own order, and where the rest begins.
pub(super) fn merge(
    window: Window,
    commits: Fetched,
    access: Fetched,
    limit: usize,
) -> (Vec<Value>, Option<Places>) {
    let time = |row: Option<&(Place, Value)>| row.and_then(|(_, row)| row["time_ms"].as_u64());
    let (mut left, mut right) = (commits.rows.into_iter().peekable(), access.rows.into_iter().peekable());
    let mut rows = Vec::new();
    while rows.len() < limit {
        let takes_left = match (time(left.peek()), time(right.peek())) {
            (Some(left), Some(right)) => left <= right,
            (_, right) => right.is_none(),
        };
        match if takes_left { left.next() } else { right.next() } {
            Some((_, row)) => rows.push(row),
            None => break,
        }
    }
    let next = Places {
        window,
        commits: left.next().map(|(place, _)| place).or(commits.end),
        access: right.next().map(|(place, _)| place).or(access.end),
    };
    (rows, Some(next).filter(|next| next.commits.is_some() || next.access.is_some()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A log of entries at these times, in pages of two.
    fn fetch(times: &[u64], mut from: Place, at_least: usize) -> Fetched {
        let mut fetched = Fetched::default();
        loop {
            let at: usize = from.page.parse().unwrap_or(0);
            let page = times.iter().skip(at).take(2).map(|time| json!({ "time_ms": time }));
            let next = if at + 2 < times.len() { (at + 2).to_string() } else { String::new() };
            match fetched.take(&from, page, &next, |_| true).filter(|_| fetched.len() <= at_least) {
                Some(next) => from = next,
                None => return fetched,
            }
        }
    }

    #[test]
    fn page_by_page_every_entry_is_listed_once_and_in_order() {
        // A counted refusal stands at the start of its minute, so a log may go back a little.
        let (commits, access) = ([1, 3, 5, 7, 9], [2, 4, 3, 8, 8, 10, 11]);
        for limit in 1..13 {
            let window = Window { since_ms: Some(1), until_ms: None };
            let place = Some(Place::default());
            let (mut listed, mut from) =
                (Vec::new(), Places { window, commits: place.clone(), access: place });
            loop {
                let of = |times: &[u64], from: Option<Place>| {
                    from.map(|from| fetch(times, from, limit)).unwrap_or_default()
                };
                let (rows, next) =
                    merge(from.window, of(&commits, from.commits), of(&access, from.access), limit);
                assert!(rows.len() <= limit);
                listed.extend(rows.iter().filter_map(|row| row["time_ms"].as_u64()));
                match next {
                    Some(next) => {
                        from = Places::read(&next.token()).unwrap();
                        assert_eq!(from.window, window);
                    }
                    None => break,
                }
            }
            assert_eq!(listed, [1, 2, 3, 4, 3, 5, 7, 8, 8, 9, 10, 11], "{limit}");
        }
    }

    #[test]
    fn what_no_listing_gave_is_refused() {
        assert_eq!(Places::read("x").unwrap_err().reason, Reason::BadToken);
    }
}
