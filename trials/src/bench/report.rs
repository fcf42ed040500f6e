//! Results as a document, and as the last lines of a run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::figures::{Made, Results, Series, Spread};

/// The order of figures in a table; others follow.
const ORDER: [&str; 9] = [
    "ops/s",
    "records/s",
    "ms",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "server µs/op",
    "database µs/op",
    "load µs/op",
];

/// A number with about three digits that matter.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => format!("{:.1} k", value / 1_000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

fn cell(spread: Option<Spread>) -> String {
    let Some(Spread { least, median, most }) = spread else { return "–".to_owned() };
    if least == most {
        return number(median);
    }
    format!("{} ({}–{})", number(median), number(least), number(most))
}

fn columns(all: &[&Series]) -> Vec<String> {
    let names: BTreeSet<&String> =
        all.iter().flat_map(|series| &series.rounds).flat_map(|figures| figures.0.keys()).collect();
    let place = |name: &str| ORDER.iter().position(|it| *it == name).unwrap_or(ORDER.len());
    let mut names: Vec<String> = names.into_iter().cloned().collect();
    names.sort_by_key(|name| place(name));
    names
}

fn table(text: &mut String, all: &[&Series]) {
    let columns = columns(all);
    let _ = writeln!(text, "| case | system | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(columns.len()));
    for series in all {
        let cells: Vec<String> = columns.iter().map(|name| cell(series.spread(name))).collect();
        let _ = writeln!(text, "| {} | {} | {} |", series.case, series.system, cells.join(" | "));
    }
}

/// One line for each comparison: scenario, ours, peer or ceiling, ratio.
pub(crate) fn last_lines(results: &Results) -> String {
    let mut text = "| scenario | ours | peer or ceiling | ratio |\n|---|---|---|---|\n".to_owned();
    for compared in &results.compared {
        let case = compared.other_case.as_ref().unwrap_or(&compared.case);
        let of = |case: &str, system: &str| {
            let middle = |s: &Series| s.spread(&compared.figure).map(|s| s.median);
            let mut all = results.series.iter().filter(|s| s.system == system && s.case == case);
            // A ceiling may have been measured in a scenario of its own.
            let own = results.series(&compared.scenario, case, system).and_then(middle);
            own.or_else(|| all.find_map(middle))
        };
        let (Some(ours), Some(other)) = (of(&compared.case, &compared.ours), of(case, &compared.other))
        else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {}, {}: {} | {}: {} | {}{}: {} | {:.2} |",
            compared.scenario,
            compared.case,
            compared.figure,
            compared.ours,
            number(ours),
            compared.other,
            compared.other_case.as_ref().map(|case| format!(", {case}")).unwrap_or_default(),
            number(other),
            ours / other
        );
    }
    text
}

/// The longest bar.
const BAR_CHARS: f64 = 40.0;

/// Bars of the first column's medians, the longest of which is the most.
fn bars(text: &mut String, all: &[&Series]) {
    let Some(name) = columns(all).into_iter().next() else { return };
    let middle = |series: &Series| series.spread(&name).map_or(0.0, |spread| spread.median);
    let most = all.iter().map(|series| middle(series)).fold(0.0, f64::max);
    let width = all.iter().map(|s| s.case.chars().count() + s.system.chars().count() + 2).max().unwrap_or(0);
    let _ = writeln!(text, "\n```\n{name}");
    for series in all {
        let label = format!("{}, {}", series.case, series.system);
        let bar = "█".repeat((middle(series) / most.max(f64::MIN_POSITIVE) * BAR_CHARS).round() as usize);
        let _ = writeln!(text, "{label:<width$} {bar} {}", number(middle(series)));
    }
    let _ = writeln!(text, "```");
}

const ABOUT: &str = "# Performance\n\nWritten by `make bench` and `make bench-peers`, not by hand. Hub, database, peers and \
    the load generator share one machine and talk over loopback, each in a process of its own. Everything of Hubward is \
    durable when it is answered, with versions, log, commits with their chain, sums of the records and the schema check; \
    one tenant, plaintext, no author signatures, unless a line says otherwise. Each figure is the median of the rounds, \
    with the least and the most; every round measures all cases of a scenario in turn. Compare ratios, not figures of \
    different runs.\n\nIn a closed loop a latency is what a client waited that waits for its answer before it goes on. \
    In the open loop (write-to-receipt) it counts from the moment at which the write was due, so that a stall counts for \
    every write that it held up. `µs/op` is processor time for each operation: of the hub or the peer (server), of all \
    processes of the database, of the load generator.\n";

fn made_by(made: &Made) -> String {
    let machine = &made.machine;
    let trial = if made.is_only_a_trial {
        " **Only a trial, with tiny sizes or an unoptimized build: no figure means anything.**"
    } else {
        ""
    };
    format!(
        "Made by `{}` on {}: {} rounds of {} s after {} s of warm-up. {} cores ({}), {} GiB, {}; load before it {}. \
         PostgreSQL {}, SQLite {}; 4 KiB written and flushed take {} ms here.{trial}",
        made.command,
        machine.date,
        made.rounds,
        made.measure_s,
        made.warm_up_s,
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        machine.load_before,
        machine.postgres,
        machine.sqlite,
        number(machine.flush_ms),
    )
}

fn document(results: &Results) -> String {
    let mut text = ABOUT.to_owned();
    let _ = writeln!(text, "\n## Beside ceilings and peers\n\n{}", last_lines(results).trim_end());
    for heading in &results.scenarios {
        let all: Vec<&Series> = results.series.iter().filter(|s| s.scenario == heading.name).collect();
        let _ = writeln!(text, "\n## {}\n\n{}\n\n{}\n", heading.name, heading.about, made_by(&heading.made));
        table(&mut text, &all);
        bars(&mut text, &all);
    }
    text
}

/// Writes the document.
pub(crate) fn write(results: &Results, file: &Path) {
    std::fs::write(file, document(results)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}
