//! The commands of the binary `spoke`. Each speaks to the daemon when it runs, and else opens the replica itself;
//! both answer alike.

mod access;
mod args;
mod branch;
mod config;
mod conflicts;
mod doctor;
mod files;
mod health;
mod identity;
mod join;
mod outbox;
mod print;
mod records;
mod run;
mod settle;
mod states;
mod watch;
mod write;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use semantics::reason::{Reason, Refusal};

use self::access::{Access, At};
use self::args::{Args, Command, Join, Run};
use self::identity::IdentityCommand;
use self::print::Printer;
use self::write::Target;
use crate::settings::Settings;

/// The command line, as clap knows it.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// Exit code of a command line that cannot be read.
const USAGE: u8 = 2;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return unread(&error, std::env::args()),
    };
    let printer = Printer::new(args.output);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return printer.refuse(&Refusal::new(Reason::Internal, format!("no runtime: {error}")));
        }
    };
    let result = runtime.block_on(perform(args, printer));
    // What still runs is a task that waits for a hub; nothing durable hangs on it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => printer.refuse(&refusal),
    }
}

/// A command line that cannot be read, or that asks for help. Scripts that ask for JSON get the error as JSON too.
fn unread(error: &clap::Error, args: impl Iterator<Item = String>) -> ExitCode {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let args: Vec<String> = args.collect();
    let asks_for_json = args.iter().any(|arg| arg == "--output=json")
        || args.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if !error.use_stderr() || (is_help && !asks_for_json) {
        error.exit();
    }
    let output = if asks_for_json { args::Output::Json } else { args::Output::Table };
    let _ = Printer::new(output).refuse(&Refusal::new(Reason::Malformed, complaint(error)));
    ExitCode::from(USAGE)
}

/// What is wrong with a command line and how it is used, in one line.
fn complaint(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("For more information").next().unwrap_or_default();
    let (wrong, usage) = text.split_once("Usage:").unwrap_or((text, ""));
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wrong = one_line(wrong.trim_start_matches("error:")).replace(" tip: ", "; ");
    let usage = one_line(usage.lines().next().unwrap_or_default());
    if usage.is_empty() { wrong } else { format!("{wrong}; usage: {usage}") }
}

async fn perform(args: Args, printer: Printer) -> Result<(), Refusal> {
    if let Command::Completions { shell } = args.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command(), "spoke", &mut script);
        return print::raw(&script);
    }
    match &args.command {
        Command::Identity(IdentityCommand::Score { file }) => return identity::score(file, printer),
        Command::Identity(IdentityCommand::Validate { file, against }) => {
            return identity::validate(file, against.as_deref(), printer);
        }
        _ => {}
    }
    let settings = Settings::gather(args.data.as_deref(), args.config.as_deref())?;
    if let Command::Config(command) = args.command {
        return config::run(settings, command, printer);
    }
    let data = settings.folder()?;
    let command = match args.command {
        Command::Join(Join { hubs, joining }) => {
            let join = settings.with(&hubs)?.with(&joining)?.join()?;
            return join::run(&data, join, printer).await;
        }
        Command::Run(Run { hubs, syncing }) => {
            let settings = settings.with(&hubs)?.with(&syncing)?;
            let at = At { data, reach: settings.reach()? };
            let turns = (settings.schedule()?, settings.cadence()?);
            return run::run(&at, turns, settings.metrics()?).await;
        }
        Command::Health => return health::run(&data, printer).await,
        Command::AdoptLog => return run::adopt_log(&data, printer).await,
        command => command,
    };
    let at = At { data, reach: config::with_variables(settings)?.reach()? };
    let command = match command {
        Command::Watch { kind, after } => {
            return watch::run(&at, kind, after, &mut records::print_change).await;
        }
        Command::Identity(IdentityCommand::Watch { id, after }) => {
            return states::watch(&at, id, after).await;
        }
        Command::History { kind, id } => return conflicts::history(&at, &kind, &id, printer).await,
        Command::Conflicts { command } if command.is_at_hub() => {
            return settle::at_hub(&at, command, printer).await;
        }
        command => command,
    };
    let mut access = Access::open(&at).await?;
    let result = with_access(&mut access, &at, command, printer).await;
    access.close().await;
    result
}

async fn with_access(
    access: &mut Access,
    at: &At,
    command: Command,
    printer: Printer,
) -> Result<(), Refusal> {
    match command {
        Command::Join(_)
        | Command::Run(_)
        | Command::Config(_)
        | Command::Health
        | Command::Completions { .. }
        | Command::AdoptLog
        | Command::History { .. }
        | Command::Watch { .. } => Ok(()),
        Command::Identity(command) => states::run(access, at, command, printer).await,
        Command::Sync { timeout } => records::sync(access, timeout, printer).await,
        Command::Put { kind, id, body, domain, wait } => {
            write::put(access, Target { kind, id, wait }, &body, domain, printer).await
        }
        Command::Patch { kind, id, set, remove, wait } => {
            write::patch(access, Target { kind, id, wait }, &set, remove, printer).await
        }
        Command::Get { kind, id } => records::get(access, kind, id, printer).await,
        Command::Rm { kind, id, wait } => write::rm(access, Target { kind, id, wait }, printer).await,
        Command::Ls(ls) => records::ls(access, ls, printer).await,
        Command::Status => records::status(access, printer).await,
        Command::Doctor { bundle, repair, timeout } => {
            doctor::run(access, bundle.as_deref(), repair, timeout, printer).await
        }
        Command::Digest { content } => records::digest(access, content, printer).await,
        Command::Outbox { command } => outbox::run(access, command, printer).await,
        Command::Remnants => outbox::remnants(access, printer).await,
        Command::Branch { command } => branch::run(access, at, command, printer).await,
        Command::Conflicts { command } => settle::with_replica(access, at, command, printer).await,
        Command::Import(import) => files::import(access, import, printer).await,
        Command::Export { kind } => files::export(access, kind).await,
    }
}
