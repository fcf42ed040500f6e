//! What the commands take.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::identity::IdentityCommand;
use crate::client::Grade;
use crate::settings::{All, Hubs, Joining, Syncing};

/// A local replica that works offline and syncs with a Hubward hub.
#[derive(Debug, Parser)]
#[command(name = "spoke", version, arg_required_else_help = true)]
pub(super) struct Args {
    /// Folder of the replica [default: ./spoke-data].
    #[arg(long, global = true, env = "SPOKE_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Settings as TOML, instead of DIR/spoke.toml; flags and environment win.
    #[arg(long, global = true, env = "SPOKE_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// How to print results and errors.
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub(super) output: Output,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For scripts: one JSON object.
    Json,
    /// For people.
    Table,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Enrol this folder as a node of a hub.
    Join(Join),
    /// Own the replica, sync it, and serve other commands and programs on DIR/daemon.sock until told to stop.
    Run(Run),
    /// The settings: flags, then variables SPOKE_…, then the settings file, then defaults.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Push and pull until nothing is left.
    Sync {
        /// Give up when nothing has moved for so many seconds.
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        timeout: u64,
    },
    /// Set a record's whole body.
    Put {
        /// Kind of record.
        kind: String,
        /// Id inside the kind.
        id: String,
        /// JSON object, or - to read it from standard input.
        body: String,
        /// Domain the record belongs to from here on.
        #[arg(long)]
        domain: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Set and remove top-level fields of a record.
    Patch {
        /// Kind of record.
        kind: String,
        /// Id inside the kind.
        id: String,
        /// JSON object of the fields to set, or - to read it from standard input.
        #[arg(default_value = "{}")]
        set: String,
        /// Field to remove; may be given several times.
        #[arg(long, value_name = "FIELD")]
        remove: Vec<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Show a record.
    Get {
        /// Kind of record.
        kind: String,
        /// Id inside the kind.
        id: String,
    },
    /// Delete a record.
    Rm {
        /// Kind of record.
        kind: String,
        /// Id inside the kind.
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// List records in key order.
    Ls(Ls),
    /// Show what is kept of a record's history: the hub's, or where it cannot be reached what this replica knows.
    History {
        /// Kind of record.
        kind: String,
        /// Id inside the kind.
        id: String,
    },
    /// Print changes as they become visible, one JSON object a line. Without a running daemon it also syncs.
    Watch {
        /// Only this kind.
        kind: Option<String>,
        /// Only changes after this position, as printed before.
        #[arg(long, value_name = "POSITION")]
        after: Option<u64>,
    },
    /// Show how the replica stands to the hub.
    Status,
    /// Local mutations on their way to the hub.
    Outbox {
        /// What to do.
        #[command(subcommand)]
        command: OutboxCommand,
    },
    /// List records as they were confirmed before the hub went on from a backup that does not hold them.
    Remnants,
    /// Disagreements that the hub has recorded.
    Conflicts {
        /// What to do.
        #[command(subcommand)]
        command: ConflictsCommand,
    },
    /// The sides that conflicts about whole records keep, by name.
    Branch {
        /// What to do.
        #[command(subcommand)]
        command: BranchCommand,
    },
    /// Digest of the confirmed records, recomputed from their content.
    Digest {
        /// Of kinds, ids and bodies alone: equal wherever the same is said, in another tenant too.
        #[arg(long)]
        content: bool,
    },
    /// Examine the replica and compare it with the hub, scope by scope and down to the record; exit code 3 when
    /// something is wrong.
    Doctor {
        /// Write the whole report to a new file too, to send to someone: ids and counts, no bodies and no secrets.
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
        /// Fetch the confirmed records anew where something is wrong with them; the outbox is kept.
        #[arg(long)]
        repair: bool,
        /// Give up comparing when nothing has moved for so many seconds.
        #[arg(long, default_value_t = 20, value_name = "SECONDS")]
        timeout: u64,
    },
    /// States of agents' identities: judged in a file, taken in, given out, watched, put back.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Import a file of JSON, JSON Lines or YAML in one local transaction.
    Import(Import),
    /// Print confirmed records, one JSON object a line.
    Export {
        /// Only this kind.
        #[arg(long)]
        kind: Option<String>,
    },
    /// Take the hub's present log as the true one after LOG_FORKED; the old replica is kept aside.
    AdoptLog,
    /// Ask whether the daemon answers: exit code 0 when it does.
    Health,
    /// Print a script that completes the words of this command; your shell's manual says where it belongs.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct Join {
    #[command(flatten)]
    pub(super) hubs: Hubs,
    #[command(flatten)]
    pub(super) joining: Joining,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) hubs: Hubs,
    #[command(flatten)]
    pub(super) syncing: Syncing,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check them without using them.
    Check {
        #[command(flatten)]
        given: All,
    },
    /// Show each and where its value comes from; secrets are not shown.
    Print {
        #[command(flatten)]
        given: All,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct Wait {
    /// Wait until the write is queued (durable here), durable (at the hub too), or seen=N (durable at N other nodes
    /// whose view holds the record). This version does not offer checkpointed yet.
    #[arg(long, value_name = "queued|durable|checkpointed|seen=N")]
    pub(super) wait: Option<Grade>,
    /// Give the wait up after so many seconds; the write goes on.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(super) wait_timeout: u64,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Ls {
    /// Only this kind.
    pub(super) kind: Option<String>,
    /// Only ids that start so; needs a kind.
    #[arg(long, default_value = "")]
    pub(super) prefix: String,
    /// Only records whose top-level field has this value: JSON, or plain text.
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub(super) equals: Option<String>,
    /// At most so many; without it all.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// List entries in order of writing.
    List,
    /// Write what was set aside anew, on what is there now: one mutation, or all.
    Retry {
        /// Mutation id, as listed.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        mutation: Option<String>,
        /// All that are set aside now, in order of writing.
        #[arg(long)]
        all: bool,
    },
    /// Give a mutation that was set aside up.
    Drop {
        /// Mutation id, as listed.
        mutation: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConflictsCommand {
    /// List conflicts as this replica knows them, those that nobody has settled unless told otherwise.
    List {
        #[command(flatten)]
        filter: Filter,
        /// Those that are settled instead.
        #[arg(long, conflicts_with = "all")]
        resolved: bool,
        /// Both.
        #[arg(long)]
        all: bool,
    },
    /// Show a conflict: its sides, their ancestor, what stands, what policies make of it, how it was settled. Asks the
    /// hub.
    Show {
        /// Id, as listed.
        id: String,
    },
    /// Settle a conflict at the hub, or without an id every open one that the filters leave.
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
        /// The revision at which the conflict was looked at; without it the one at which it stands.
        #[arg(long, value_name = "REVISION", requires = "id")]
        expected: Option<u64>,
    },
    /// Take a resolution back at the hub: the state before becomes a new revision, and the conflict is open again.
    Undo {
        /// Id, as listed.
        id: String,
        /// Why, for those who ask later.
        #[arg(long, default_value = "")]
        reason: String,
        /// The revision at which the conflict was looked at; without it the one at which it stands.
        #[arg(long, value_name = "REVISION")]
        expected: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BranchCommand {
    /// List branches as this replica knows them.
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show where a branch differs, by path. Asks the hub.
    Diff {
        /// Kind of the record.
        kind: String,
        /// Id of the record.
        id: String,
        /// The branch, by its name, the beginning of it, or its dot.
        branch: String,
        /// What it is compared with: main, ancestor, or another branch.
        #[arg(long, default_value = "main", value_name = "BRANCH")]
        with: String,
    },
    /// Merge branches into what stands, three-way against what they were made on, and settle the conflict at the hub.
    /// `spoke conflicts undo` takes it back.
    Merge {
        /// Kind of the record.
        kind: String,
        /// Id of the record.
        id: String,
        /// Every branch that does not stand, by name.
        #[arg(required = true, value_name = "BRANCH")]
        branches: Vec<String>,
        /// Who stands where both have changed the same; without it such a merge is refused and says where.
        #[arg(long)]
        prefer: Option<Winner>,
        /// Why, for those who ask later; the names of the branches unless told.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Who stands where a merge clashes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Winner {
    /// What stands.
    Main,
    /// What is merged.
    Branch,
}

impl ConflictsCommand {
    /// Whether it needs the hub and no replica.
    pub(super) fn is_at_hub(&self) -> bool {
        matches!(self, Self::Show { .. } | Self::Undo { .. } | Self::Resolve { id: Some(_), .. })
    }
}

/// Which conflicts.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(super) struct Filter {
    /// Only about records of this kind.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(super) kind: Option<String>,
    /// Only about the record with this id.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(super) record: Option<String>,
    /// Only of this type: version, divergent, split-brain, corruption, deletion, collision or equivocation.
    #[arg(long = "type", value_name = "TYPE", value_parser = NonEmptyStringValueParser::new())]
    pub(super) of_type: Option<String>,
}

/// What is to stand.
#[derive(Debug, Clone, ClapArgs)]
#[group(required = true, multiple = false)]
pub(super) struct Choice {
    /// What stands.
    #[arg(long)]
    pub(super) keep: bool,
    /// What a side wrote: primary, loser, the number of a losing side from 1, or a dot as shown.
    #[arg(long, value_name = "primary|loser|N|DOT")]
    pub(super) side: Option<String>,
    /// What the sides were made on.
    #[arg(long)]
    pub(super) ancestor: bool,
    /// This JSON: the field's value, or the whole body; null removes the field or deletes the record.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub(super) value: Option<String>,
    /// What a policy makes of the sides: last_writer, append_only or three_way.
    #[arg(long, value_name = "NAME")]
    pub(super) policy: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Import {
    /// The file.
    pub(super) file: PathBuf,
    /// Kind of the records.
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Field that holds a row's id; may be given several times, the first present one counts.
    #[arg(long, value_name = "FIELD")]
    pub(super) id: Vec<String>,
    /// How rows become records: mcp-memory (the memory file of the MCP memory server), export (what `spoke export`
    /// prints), or a file that says it.
    #[arg(long, value_name = "NAME|FILE")]
    pub(super) mapping: Option<PathBuf>,
    /// Where bad rows go; else beside the input.
    #[arg(long, value_name = "FILE")]
    pub(super) rejected: Option<PathBuf>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        _command: ConflictsCommand,
    }

    fn refused(args: &[&str]) -> ErrorKind {
        let line = ["conflicts"].iter().chain(args);
        Line::try_parse_from(line).unwrap_err().kind()
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
