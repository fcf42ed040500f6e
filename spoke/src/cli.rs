//! The commands of the binary `spoke`. Each speaks to the daemon when it runs, and else opens the replica itself;
//! both answer alike.

mod access;
mod args;
mod conflicts;
mod files;
mod health;
mod join;
mod outbox;
mod print;
mod records;
mod run;
mod watch;

use std::process::ExitCode;

use semantics::reason::{Reason, Refusal};
use shell::{Parsed, Resolved, completion};

use self::access::Access;
use self::args::{Args, Command, ConflictsCommand};
use self::print::Printer;
use crate::settings::PROGRAM;

/// The command line, as clap knows it.
#[must_use]
pub fn command() -> clap::Command {
    PROGRAM.command::<Args>()
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    PROGRAM.start::<Args>(|Parsed { command, settings }| match settings {
        Some(settings) => run_to_end(command, &settings),
        None => without_settings(&command.command),
    })
}

fn without_settings(asked: &Command) -> ExitCode {
    if let Command::Completions { shell } = asked {
        // Nobody is left to tell when stdout is closed.
        drop(print::raw(&completion::script(*shell, command())));
    }
    ExitCode::SUCCESS
}

fn run_to_end(args: Args, settings: &Resolved) -> ExitCode {
    let printer = Printer::new(args.output);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return printer.refuse(&Refusal::new(Reason::Internal, format!("no runtime: {error}")));
        }
    };
    let result = runtime.block_on(perform(args, settings, printer));
    // What still runs is a task that waits for a hub; nothing durable hangs on it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => printer.refuse(&refusal),
    }
}

async fn perform(args: Args, settings: &Resolved, printer: Printer) -> Result<(), Refusal> {
    let data = args.data.as_path();
    let levels = settings.text("log").unwrap_or_default();
    match args.command {
        Command::Join(join) => return join::run(data, join, settings.secret("token")?, printer).await,
        Command::Watch { kind, after } => return watch::run(data, kind, after).await,
        Command::Run => return run::run(data, levels).await,
        Command::Health => return health::run(data, printer).await,
        Command::Config { command: shell::Config::Print } => return printer.settings(settings),
        Command::Config { command: shell::Config::Check } => {
            settings.check_secrets()?;
            run::filter(levels)?;
            return printer.show(&settings.checked());
        }
        Command::AdoptLog => return run::adopt_log(data, printer).await,
        Command::History { kind, id } => return conflicts::history(data, &kind, &id, printer).await,
        _ => {}
    }
    let mut access = Access::open(data).await?;
    let result = with_access(&mut access, data, args.command, printer).await;
    access.close().await;
    result
}

async fn with_access(
    access: &mut Access,
    data: &std::path::Path,
    command: Command,
    printer: Printer,
) -> Result<(), Refusal> {
    match command {
        Command::Join(_)
        | Command::Run
        | Command::Health
        | Command::Config { .. }
        | Command::Completions { .. }
        | Command::AdoptLog
        | Command::History { .. }
        | Command::Watch { .. } => Ok(()),
        Command::Sync { timeout } => records::sync(access, timeout, printer).await,
        Command::Put { kind, id, body, domain } => {
            records::put(access, kind, id, &body, domain, printer).await
        }
        Command::Patch { kind, id, set, remove } => {
            records::patch(access, kind, id, &set, remove, printer).await
        }
        Command::Get { kind, id } => records::get(access, kind, id, printer).await,
        Command::Rm { kind, id } => records::rm(access, kind, id, printer).await,
        Command::Ls(ls) => records::ls(access, ls, printer).await,
        Command::Status => records::status(access, printer).await,
        Command::Digest => records::digest(access, printer).await,
        Command::Outbox { command } => outbox::run(access, command, printer).await,
        Command::Conflicts { command: ConflictsCommand::List } => conflicts::list(access, printer).await,
        Command::Conflicts { command: ConflictsCommand::Show { id } } => {
            conflicts::show(access, data, &id, printer).await
        }
        Command::Import(import) => files::import(access, import, printer).await,
        Command::Export { kind } => files::export(access, kind).await,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }
}
