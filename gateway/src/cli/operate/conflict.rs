//! `hubward conflict`: the inbox of those who settle conflicts.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use proto::told::{self, Given};
use proto::v1;
use proto::v1::list_conflicts_request::State;
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::{OfTenant, PAGE_SIZE, refused};
use crate::cli::client::Client;
use crate::cli::output::Printer;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConflictCommand {
    /// Lists conflicts, those that nobody has settled unless told otherwise.
    List {
        #[command(flatten)]
        filter: Filter,
        /// Those that are settled instead.
        #[arg(long, conflicts_with = "all")]
        resolved: bool,
        /// Both.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Shows a conflict: its sides, their ancestor, what stands, what policies make of it, how it was settled.
    Show {
        /// Id, as listed.
        id: String,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Settles a conflict, or without an id every open one that the filters leave.
    Resolve {
        /// Id, as listed.
        #[arg(conflicts_with_all = ["kind", "record", "of_type"])]
        id: Option<String>,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        choice: Choice,
        /// Why, for those who ask later.
        #[arg(long, default_value = "")]
        reason: String,
        /// The decision binds later conflicts of two sides with the same signature: kind, path, type, policy, and what
        /// sort of thing each side and the ancestor say.
        #[arg(long, requires = "id")]
        precedent: bool,
        /// The revision at which the conflict was looked at; without it the one at which it stands.
        #[arg(long, value_name = "REVISION", requires = "id")]
        expected: Option<u64>,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Shows what a policy would have made of past conflicts, settled or not; changes nothing.
    Preview {
        /// Only about records of this kind.
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        kind: Option<String>,
        /// last_writer, fields, append_only, three_way, branch, consensus, manual, resolver or by_type.
        #[arg(long)]
        policy: String,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Takes a resolution back: the state before becomes a new revision, and the conflict is open again.
    Undo {
        /// Id, as listed.
        id: String,
        /// Why, for those who ask later.
        #[arg(long, default_value = "")]
        reason: String,
        /// The revision at which the conflict was looked at; without it the one at which it stands.
        #[arg(long, value_name = "REVISION")]
        expected: Option<u64>,
        #[command(flatten)]
        of: OfTenant,
    },
}

/// Which conflicts.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct Filter {
    /// Only about records of this kind.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    kind: Option<String>,
    /// Only about the record with this id.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    record: Option<String>,
    /// Only of this type: version, divergent, split-brain, corruption, deletion, collision or equivocation.
    #[arg(long = "type", value_name = "TYPE", value_parser = NonEmptyStringValueParser::new())]
    of_type: Option<String>,
}

/// What is to stand.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Choice {
    /// What stands.
    #[arg(long)]
    keep: bool,
    /// What a side wrote: primary, loser, the number of a losing side from 1, or a dot as shown.
    #[arg(long, value_name = "primary|loser|N|DOT")]
    side: Option<String>,
    /// What the sides were made on.
    #[arg(long)]
    ancestor: bool,
    /// This JSON: the field's value, or the whole body; null removes the field or deletes the record.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    value: Option<String>,
    /// What a policy makes of the sides: last_writer, append_only or three_way.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
}

impl From<Choice> for Given {
    fn from(choice: Choice) -> Self {
        let Choice { keep, side, ancestor, value, policy } = choice;
        Self { side, value, policy, ancestor, keep }
    }
}

impl ConflictCommand {
    pub(super) async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::List { filter, resolved, all, of } => {
                let state = match (resolved, all) {
                    (_, true) => State::All,
                    (true, false) => State::Resolved,
                    (false, false) => State::Unspecified,
                };
                let found = list(hub, &of.tenant, &filter, state).await?;
                let rows = found.iter().map(told::listed).collect();
                out.list("conflicts", rows, &["id", "kind", "record", "path", "type", "sides", "open"]);
                Ok(())
            }
            Self::Show { id, of } => {
                out.object(&told::shown(&get(hub, of.tenant, id).await?));
                Ok(())
            }
            Self::Resolve { id: Some(id), choice, reason, precedent, expected, of, .. } => {
                let conflict = get(hub, of.tenant.clone(), id).await?;
                let request = v1::ResolveConflictRequest {
                    tenant: of.tenant,
                    conflict: conflict.id.clone(),
                    expected: expected.unwrap_or(conflict.revision),
                    choice: Some(Given::from(choice).choice(&conflict)?),
                    reason,
                    precedent,
                };
                out.object(&resolve(hub, request).await?);
                Ok(())
            }
            Self::Preview { kind, policy, of } => {
                preview(hub, of.tenant, kind.unwrap_or_default(), policy, out).await
            }
            Self::Resolve { id: None, filter, choice, reason, of, .. } => {
                resolve_many(hub, &of.tenant, &filter, &choice.into(), &reason, out).await
            }
            Self::Undo { id, reason, expected, of } => {
                let expected = match expected {
                    Some(expected) => expected,
                    None => get(hub, of.tenant.clone(), id.clone()).await?.revision,
                };
                let request =
                    v1::UndoResolutionRequest { tenant: of.tenant, conflict: id.clone(), expected, reason };
                let done = hub.undo_resolution(request).await.map_err(refused)?.into_inner();
                out.object(&settled(&id, done.revision, done.record_revision));
                Ok(())
            }
        }
    }
}

fn settled(id: &str, revision: u64, record_revision: u64) -> Value {
    json!({"id": id, "revision": revision, "record_revision": record_revision})
}

async fn get(hub: &mut Client, tenant: String, conflict: String) -> Result<v1::ConflictView, Refusal> {
    let request = v1::GetConflictRequest { tenant, conflict };
    Ok(hub.get_conflict(request).await.map_err(refused)?.into_inner().conflict.unwrap_or_default())
}

async fn list(
    hub: &mut Client,
    tenant: &str,
    filter: &Filter,
    state: State,
) -> Result<Vec<v1::ConflictView>, Refusal> {
    let Filter { kind, record, of_type } = filter.clone();
    let mut request = v1::ListConflictsRequest {
        tenant: tenant.to_owned(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
        kind: kind.unwrap_or_default(),
        record: record.unwrap_or_default(),
        r#type: of_type.unwrap_or_default(),
        state: state.into(),
    };
    let mut found = Vec::new();
    loop {
        let page = hub.list_conflicts(request.clone()).await.map_err(refused)?.into_inner();
        found.extend(page.conflicts);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(found);
        }
    }
}

async fn resolve(hub: &mut Client, request: v1::ResolveConflictRequest) -> Result<Value, Refusal> {
    let id = request.conflict.clone();
    let done = hub.resolve_conflict(request).await.map_err(refused)?.into_inner();
    Ok(settled(&id, done.revision, done.record_revision))
}

async fn preview(
    hub: &mut Client,
    tenant: String,
    kind: String,
    policy: String,
    out: Printer,
) -> Result<(), Refusal> {
    let mut request =
        v1::PreviewPolicyRequest { tenant, kind, policy, page_size: PAGE_SIZE, page_token: String::new() };
    let mut rows = Vec::new();
    loop {
        let page = hub.preview_policy(request.clone()).await.map_err(refused)?.into_inner();
        rows.extend(page.conflicts.into_iter().map(|one| {
            let subject = one.subject.unwrap_or_default();
            json!({
                "id": one.conflict,
                "kind": subject.kind,
                "record": subject.id,
                "path": one.path,
                "open": one.open,
                "came": told::value(&one.path, one.came.as_ref()),
                "would": told::value(&one.path, one.would.as_ref()),
                "differs": one.differs,
                "waits": one.waits,
            })
        }));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    out.list("conflicts", rows, &["id", "kind", "record", "path", "open", "differs", "waits"]);
    Ok(())
}

/// Each conflict is settled by itself: one that moves meanwhile is refused and the others go on.
async fn resolve_many(
    hub: &mut Client,
    tenant: &str,
    filter: &Filter,
    given: &Given,
    reason: &str,
    out: Printer,
) -> Result<(), Refusal> {
    if !given.is_for_many() {
        let detail = "a side or a value is chosen for one conflict: give its id";
        return Err(Refusal::new(Reason::Malformed, detail));
    }
    let (mut rows, mut first) = (Vec::new(), None);
    for conflict in list(hub, tenant, filter, State::Unspecified).await? {
        let request = v1::ResolveConflictRequest {
            tenant: tenant.to_owned(),
            conflict: conflict.id.clone(),
            expected: conflict.revision,
            choice: Some(given.choice(&conflict)?),
            reason: reason.to_owned(),
            precedent: false,
        };
        match resolve(hub, request).await {
            Ok(done) => rows.push(done),
            Err(refusal) => {
                rows.push(
                    json!({"id": conflict.id, "refused": refusal.reason.as_str(), "detail": refusal.detail}),
                );
                first.get_or_insert(refusal);
            }
        }
    }
    out.list("conflicts", rows, &["id", "revision", "record_revision", "refused"]);
    first.map_or(Ok(()), Err)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        _command: ConflictCommand,
    }

    fn refused(args: &[&str]) -> ErrorKind {
        let line = ["conflicts"].iter().chain(args);
        <Line as clap::Parser>::try_parse_from(line).unwrap_err().kind()
    }

    #[test]
    fn a_filter_that_is_empty_or_beside_an_id_is_refused() {
        for filter in ["--kind", "--record", "--type"] {
            assert_eq!(refused(&["list", filter, ""]), ErrorKind::InvalidValue, "{filter}");
            assert_eq!(refused(&["resolve", filter, "", "--keep"]), ErrorKind::InvalidValue, "{filter}");
            let beside = refused(&["resolve", "0a", filter, "one", "--keep"]);
            assert_eq!(beside, ErrorKind::ArgumentConflict, "{filter}");
        }
    }
}
