//! Operator commands: each asks a running hub.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use proto::v1;
use semantics::reason::{Reason, Refusal};
use semantics::view::View;
use serde_json::{Value, json};
use tonic::Status;

use super::client::{At, Client, not_operators};
use super::output::Printer;
use crate::place;

pub(super) mod access_token;
pub(super) mod audit;
mod conflict;
mod identity;
pub(super) mod nodes;
pub(super) mod operators;
mod precedent;
mod show;
mod token;
mod topology;

use self::conflict::ConflictCommand;
use self::identity::IdentityCommand;
use self::nodes::{Node, NodeTypes};
use self::precedent::PrecedentCommand;
use self::token::Token;
use self::topology::TopologyCommand;

/// Entries asked for at once.
pub(super) const PAGE_SIZE: i32 = 1_000;

#[derive(Debug, Clone, Args)]
pub(super) struct OfTenant {
    /// The tenant.
    #[arg(long, env = "HUBWARD_TENANT", default_value = "default")]
    tenant: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Operate {
    /// Tenants.
    #[command(subcommand)]
    Tenant(Tenant),
    /// Kinds of records.
    #[command(subcommand)]
    Kind(Kind),
    /// How concurrent changes of each kind are settled.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Who writes: every node, one of them, or in each site one of its own.
    #[command(subcommand)]
    Topology(TopologyCommand),
    /// What nodes may see.
    #[command(subcommand)]
    View(ViewCommand),
    /// Join tokens.
    #[command(subcommand)]
    Token(Token),
    /// The hub's certificate authority.
    #[command(subcommand)]
    Ca(Ca),
    /// Nodes.
    #[command(subcommand)]
    Node(Node),
    /// Types of nodes, and what they stand for.
    #[command(subcommand)]
    NodeType(NodeTypes),
    /// Records as the log holds them.
    #[command(subcommand)]
    Record(Record),
    /// Conflicts: the inbox of those who settle them.
    #[command(subcommand)]
    Conflict(ConflictCommand),
    /// Identities: how they stand.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Precedents: decisions that bind later conflicts.
    #[command(subcommand)]
    Precedent(PrecedentCommand),
    /// Takes back from spokes what a log lost when it went on from a backup, and tells what is only state.
    Recover {
        /// Ends it: spokes of the log before are refused again.
        #[arg(long)]
        finish: bool,
        /// Changes nothing, only tells how far it is.
        #[arg(long, conflicts_with = "finish")]
        status: bool,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Digest of what a node may see, at the head of the log.
    Digest {
        /// Node id or name.
        #[arg(long)]
        node: String,
        #[command(flatten)]
        of: OfTenant,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Tenant {
    /// Makes a tenant.
    Create {
        /// Its name.
        name: String,
    },
    /// Lists tenants.
    List,
}

#[derive(Debug, Subcommand)]
pub(super) enum Kind {
    /// Declares a kind.
    Apply {
        /// File of the declaration (JSON): name, policy, schema, defaults, facet_field, id_of.
        file: PathBuf,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Lists kinds, built-in ones included.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Lists which policy applies to each kind.
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Sets how concurrent changes of a kind are settled, from now on.
    Set {
        /// The kind.
        kind: String,
        /// last_writer, fields, append_only, three_way, branch, consensus, manual, resolver or by_type; without, what the kind's declaration says.
        #[arg(required_unless_present = "reset")]
        policy: Option<String>,
        /// What the kind's declaration says.
        #[arg(long, conflicts_with = "policy")]
        reset: bool,
        #[command(flatten)]
        of: OfTenant,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ViewCommand {
    /// Sets what a node may see.
    Set {
        /// Node id or name.
        #[arg(long)]
        node: String,
        /// Cells, as DOMAIN, DOMAIN/KIND or DOMAIN/KIND/FACET; may be given several times.
        #[arg(long = "cell", required_unless_present = "file")]
        cells: Vec<String>,
        /// File of the view (JSON): {"cells":[{"domain","kind","facet"}]}.
        #[arg(long, conflicts_with = "cells")]
        file: Option<PathBuf>,
        #[command(flatten)]
        of: OfTenant,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// Shows the certificate.
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Record {
    /// Shows a record.
    Get {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Lists records.
    List {
        /// Only this kind.
        #[arg(long)]
        kind: Option<String>,
        /// Only ids that start so.
        #[arg(long)]
        prefix: Option<String>,
        /// Tombstones too.
        #[arg(long)]
        with_deleted: bool,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Shows what is kept of a record's history, newest first.
    History {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        #[command(flatten)]
        of: OfTenant,
    },
}

fn seconds(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no duration like 90s, 30m, 1h or 7d");
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(scale)).ok_or_else(bad)
}

pub(super) fn refused(status: Status) -> Refusal {
    if status.code() == tonic::Code::Unimplemented {
        return not_operators("this address");
    }
    proto::reason::refusal_of(&status)
}

/// Longest file that an operator command reads, bytes; past what the hub takes of any of them.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file an operator names, read to its bound.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, Refusal> {
    let failed = |e: std::io::Error| place::unread(path, &e);
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(failed)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        let detail = format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    Ok(bytes)
}

fn cell(text: &str) -> Result<v1::Selector, Refusal> {
    let mut parts = text.splitn(3, '/').map(ToOwned::to_owned);
    let domain = parts.next().filter(|domain| !domain.is_empty());
    let domain =
        domain.ok_or_else(|| Refusal::new(Reason::Malformed, format!("--cell {text:?}: no domain")))?;
    Ok(v1::Selector { domain, kind: parts.next(), facet: parts.next() })
}

impl Operate {
    /// Runs the command.
    pub(super) async fn run(self, at: &At, out: Printer) -> Result<(), Refusal> {
        let mut hub = at.connect().await?;
        match self {
            Self::Tenant(command) => command.run(&mut hub, out).await,
            Self::Kind(command) => command.run(&mut hub, out).await,
            Self::Policy(command) => command.run(&mut hub, out).await,
            Self::Topology(command) => command.run(&mut hub, out).await,
            Self::View(command) => command.run(&mut hub, out).await,
            Self::Token(command) => command.run(&mut hub, out).await,
            Self::Ca(Ca::Show) => {
                let ca = hub.get_ca(v1::GetCaRequest {}).await.map_err(refused)?.into_inner();
                out.text("certificate", &ca.certificate);
                Ok(())
            }
            Self::Node(command) => command.run(&mut hub, out).await,
            Self::NodeType(command) => command.run(&mut hub, out).await,
            Self::Record(command) => command.run(&mut hub, out).await,
            Self::Conflict(command) => command.run(&mut hub, out).await,
            Self::Identity(command) => command.run(&mut hub, out).await,
            Self::Precedent(command) => command.run(&mut hub, out).await,
            Self::Recover { finish, status, of } => {
                use v1::recover_log_request::Action;
                let action = match (finish, status) {
                    (true, _) => Action::Finish,
                    (false, true) => Action::Unspecified,
                    (false, false) => Action::Begin,
                };
                let request = v1::RecoverLogRequest { tenant: of.tenant.clone(), action: action.into() };
                // First: what is done must not be told as a failure.
                let all = v1::ListNodesRequest { tenant: of.tenant, ..Default::default() };
                let registered = nodes::all(&mut hub, all).await?;
                let done = hub.recover_log(request).await.map_err(refused)?.into_inner();
                out.object(&show::recovery(&done, &registered));
                Ok(())
            }
            Self::Digest { node, of } => {
                let request = v1::GetViewDigestRequest { tenant: of.tenant, node };
                let found = hub.get_view_digest(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"revision": found.revision, "digest": hex::encode(&found.digest)}));
                Ok(())
            }
        }
    }
}

impl Tenant {
    async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::Create { name } => {
                let request = v1::CreateTenantRequest { tenant: name.clone() };
                let made = hub.create_tenant(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"tenant": name, "log_id": hex::encode(&made.log_id)}));
            }
            Self::List => {
                let mut rows = Vec::new();
                let mut page_token = String::new();
                loop {
                    let request = v1::ListTenantsRequest { page_size: PAGE_SIZE, page_token };
                    let page = hub.list_tenants(request).await.map_err(refused)?.into_inner();
                    rows.extend(page.tenants.iter().map(show::tenant));
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                out.list("tenants", rows, &["tenant", "revision", "commit", "horizon", "log_id"]);
            }
        }
        Ok(())
    }
}

impl Kind {
    async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::Apply { file: path, of } => {
                let request = v1::ApplyKindRequest { tenant: of.tenant, declaration: file(&path)? };
                let done = hub.apply_kind(request).await.map_err(refused)?.into_inner();
                out.object(&json!({"revision": done.revision}));
            }
            Self::List { of } => {
                let mut rows: Vec<Value> = Vec::new();
                let mut page_token = String::new();
                loop {
                    let tenant = of.tenant.clone();
                    let request = v1::ListKindsRequest { tenant, page_size: PAGE_SIZE, page_token };
                    let page = hub.list_kinds(request).await.map_err(refused)?.into_inner();
                    rows.extend(page.declarations.iter().map(|json| show::json(json)));
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                out.list("kinds", rows, &["name", "policy", "facet_field"]);
            }
        }
        Ok(())
    }
}

impl PolicyCommand {
    async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::Set { kind, policy, of, reset: _ } => {
                let request = v1::SetPolicyRequest { tenant: of.tenant, kind, policy };
                let done = hub.set_policy(request).await.map_err(refused)?.into_inner();
                let note = Some(done.note).filter(|note| !note.is_empty());
                out.object(&match note {
                    Some(note) => json!({"revision": done.revision, "note": note}),
                    None => json!({"revision": done.revision}),
                });
            }
            Self::List { of } => {
                let mut rows: Vec<Value> = Vec::new();
                let mut page_token = String::new();
                loop {
                    let tenant = of.tenant.clone();
                    let request = v1::ListPoliciesRequest { tenant, page_size: PAGE_SIZE, page_token };
                    let page = hub.list_policies(request).await.map_err(refused)?.into_inner();
                    rows.extend(page.policies.iter().map(show::policy));
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                out.list("policies", rows, &["kind", "policy", "declared", "set", "version"]);
            }
        }
        Ok(())
    }
}

impl ViewCommand {
    async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        let Self::Set { node, cells, file: path, of } = self;
        let view = match path {
            Some(path) => {
                let parsed: Result<View, _> = serde_json::from_slice(&file(&path)?);
                let bad = |e| Refusal::new(Reason::Malformed, format!("{}: {e}", path.display()));
                parsed.map_err(bad)?.into()
            }
            None => v1::View { cells: cells.iter().map(|text| cell(text)).collect::<Result<_, _>>()? },
        };
        let request = v1::SetViewRequest { tenant: of.tenant, node, view: Some(view) };
        let done = hub.set_view(request).await.map_err(refused)?.into_inner();
        out.object(&json!({"revision": done.revision}));
        Ok(())
    }
}

impl Record {
    async fn run(self, hub: &mut Client, out: Printer) -> Result<(), Refusal> {
        match self {
            Self::Get { kind, id, of } => {
                let request = v1::GetHubRecordRequest { tenant: of.tenant, key: Some(v1::Key { kind, id }) };
                let found = hub.get_hub_record(request).await.map_err(refused)?.into_inner();
                out.object(&show::record(&found.record.unwrap_or_default()));
            }
            Self::List { kind, prefix, with_deleted, of } => {
                let (kind, prefix) = (kind.unwrap_or_default(), prefix.unwrap_or_default());
                let mut request = v1::ListHubRecordsRequest {
                    tenant: of.tenant,
                    page_size: PAGE_SIZE,
                    page_token: String::new(),
                    kind,
                    prefix,
                    with_deleted,
                };
                let mut rows = Vec::new();
                loop {
                    let page = hub.list_hub_records(request.clone()).await.map_err(refused)?.into_inner();
                    rows.extend(page.records.iter().map(show::record));
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
                out.list("records", rows, &["kind", "id", "revision", "domain", "body"]);
            }
            Self::History { kind, id, of } => {
                let mut request = v1::ListHistoryRequest {
                    tenant: of.tenant,
                    key: Some(v1::Key { kind, id }),
                    page_size: PAGE_SIZE,
                    page_token: String::new(),
                };
                let mut rows = Vec::new();
                loop {
                    let page = hub.list_history(request.clone()).await.map_err(refused)?.into_inner();
                    rows.extend(page.rows.iter().map(show::history));
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        break;
                    }
                }
                out.blocks("history", rows, proto::told::history::text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2h"), Ok(7_200));
        assert_eq!(seconds("1d"), Ok(86_400));
        for bad in ["", "90", "h", "1w", "99999999999999999999d", "é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cells_are_named_by_domain_kind_and_facet() {
        let full = cell("home/recipe/dinner/late").unwrap();
        assert_eq!((full.kind.as_deref(), full.facet.as_deref()), (Some("recipe"), Some("dinner/late")));
        assert_eq!(cell("home").unwrap().kind, None);
        assert_eq!(cell("/x").unwrap_err().reason, Reason::Malformed);
    }
}
