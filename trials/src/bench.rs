//! The bench suite: real hubs under load, beside the ceilings of what they are made of and, where asked for, beside
//! peers. Every case is measured in each of several rounds, one after the other, so that what disturbs the machine
//! disturbs all of them; what is told is the median of the rounds, with the least and the most.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the real clock, prints what it finds, and fails by a panic"
)]

mod catch_up;
mod ceiling;
mod compression;
mod crowded;
mod echo;
mod fan_out;
mod figures;
mod ground;
mod idle;
mod link;
mod load;
mod long;
mod machine;
mod micro;
mod narrow;
mod peers;
mod plot;
mod push;
mod report;
mod scale;
mod scenario;
mod slow_link;
mod stream;
mod texts;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use figures::{Made, Results};
use ground::{Ground, Settings};
use scenario::Keeps;

/// How long each measurement beside peers takes: they are many.
const PEERS_MEASURE: Duration = Duration::from_secs(2);
/// Threads of the load generator.
const LOAD_THREADS: usize = 2;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures Hubward beside its ceilings and its peers")]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs scenarios, writes what was measured as JSON and, where asked for, as a document.
    Run(Run),
    /// Names the scenarios.
    List,
    /// Writes the document of results that were measured before.
    Render {
        /// The results.
        results: PathBuf,
        /// The document.
        document: PathBuf,
        /// A document with a place for what follows from them.
        #[arg(long)]
        scale: Option<PathBuf>,
    },
    /// A bare tonic server, in memory: the ceiling of the transport. Prints where it listens.
    #[command(hide = true)]
    Echo,
    /// Sessions in a process of their own, until it is ended.
    #[command(hide = true)]
    Sit(crowded::Sit),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Scenarios whose name contains one of these, separated by commas; all without it.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Cases of them whose row of the document, `| case | system |`, contains one of these; all without it.
    #[arg(long, value_delimiter = ';')]
    case: Vec<String>,
    /// The scenarios beside peers, instead of the others; `scripts/peers` gets their servers.
    #[arg(long)]
    peers: bool,
    /// Times that every case is measured.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement.
    #[arg(long)]
    seconds: Option<u64>,
    /// Tiny sizes and times: whether the suite runs, not how fast anything is.
    #[arg(long)]
    small: bool,
    /// The largest sizes: ten million records, every kind with every share of conflicts, ten minutes on each engine.
    #[arg(long, conflicts_with = "small")]
    full: bool,
    /// Where the results go; those of other scenarios that it holds stay.
    #[arg(long, default_value = "target/bench/results.json")]
    out: PathBuf,
    /// Where the rendered document goes; not written without it.
    #[arg(long)]
    document: Option<PathBuf>,
    /// A document with a place for what follows from the results.
    #[arg(long)]
    scale: Option<PathBuf>,
    /// Goes on where a run before it ended: rounds that the results hold are not measured again.
    #[arg(long)]
    resume: bool,
    /// Folder of texts to compress, instead of this tree's documents.
    #[arg(long)]
    texts: Option<PathBuf>,
    /// What is not as usual, as slow flushes: it stands in the names of the scenarios.
    #[arg(long)]
    under: Option<String>,
    /// What made the results, as the document says it.
    #[arg(long, default_value = "bench run")]
    command: String,
}

/// The command line of the program `bench`.
#[must_use]
pub fn main() -> ExitCode {
    let Command { what } = Command::parse();
    match what {
        What::Run(run) => return block_on(measure(run)),
        What::List => scenario::all(&Settings::new(false, false)).iter().for_each(|scenario| {
            println!("{:<18} {}", scenario.name, scenario.about);
        }),
        What::Render { results, document, scale } => {
            let results = Results::read(&results);
            report::write(&results, &document, scale.as_deref());
            print!("{}", report::last_lines(&results));
        }
        What::Echo => return block_on(echo::serve()),
        What::Sit(asked) => return block_on(crowded::sit(asked)),
    }
    ExitCode::SUCCESS
}

fn block_on(future: impl Future<Output = ()>) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(LOAD_THREADS).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut told = signal(SignalKind::terminate()).expect("signals can be heard");
        tokio::select! {
            () = future => ExitCode::SUCCESS,
            // Servers that it started end with what is dropped here.
            _ = told.recv() => ExitCode::FAILURE,
            _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
        }
    })
}

async fn measure(run: Run) {
    machine::raise_open_files();
    let mut settings = Settings::new(run.small, run.full);
    settings.texts = run.texts;
    settings.rounds = run.rounds.unwrap_or(settings.rounds).max(1);
    if run.peers && !run.small {
        settings.times.measure = PEERS_MEASURE;
    }
    settings.times.measure = run.seconds.map_or(settings.times.measure, Duration::from_secs);
    let is_one_of =
        |all: &[String], name: &str| all.is_empty() || all.iter().any(|it| name.contains(it.as_str()));
    let mut scenarios = if run.peers { peers::scenarios(&settings) } else { scenario::all(&settings) };
    scenarios.retain(|scenario| is_one_of(&run.only, scenario.name));
    for scenario in &mut scenarios {
        scenario.trials.retain(|trial| is_one_of(&run.case, &trial.row()));
    }
    let keeps = match (run.resume, run.case.is_empty()) {
        (true, _) => Keeps::Rounds,
        (false, true) => Keeps::Nothing,
        (false, false) => Keeps::OtherCases,
    };
    assert!(!scenarios.is_empty(), "no scenario is named so: `bench list` names them");
    let ground = Arc::new(Ground::new(settings).await);
    let (made, mut results) = (Made::by(&ground, &run.command, run.under), Results::read(&run.out));
    for scenario in scenarios {
        // What was measured so far is kept whatever comes next.
        let keep = |results: &Results| results.write(&run.out);
        scenario.run(&ground, &made, &mut results, keeps, keep).await;
        if let Some(document) = &run.document {
            report::write(&results, document, run.scale.as_deref());
        }
    }
    println!("results: {}", run.out.display());
    print!("{}", report::last_lines(&results));
}
