//! Results as a document, and as the last lines of a run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::figures::{Compared, Made, Place, Results, SERVING, Series, Spread, Target};
use super::plot::{self, Bar, Line};
use super::{peers, scale};

/// The order of figures in a table; others follow.
const ORDER: [&str; 16] = [
    "ops/s",
    "deliveries/s",
    "records/s",
    "ms",
    "KiB each",
    "MiB at last",
    "ns/op",
    "bytes each",
    "bytes on the wire each",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "server µs/op",
    "database µs/op",
    "load µs/op",
    SERVING,
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

/// The heads of the last table.
const HEADS: &str = "| scenario | ours | peer or ceiling | ratio | target |\n|---|---|---|---|---|\n";

/// What a comparison was, and how it came out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    ours: f64,
    other: f64,
}

fn ratio(results: &Results, compared: &Compared) -> Option<Ratio> {
    let ours = results.middle(&compared.scenario, &compared.ours)?;
    let others = compared.others.iter().map(|other| results.middle_of_any(&compared.scenario, other));
    Some(Ratio { ours, other: others.sum::<Option<f64>>()? })
}

fn named(place: &Place, beside: &Place) -> String {
    let case = if place.case == beside.case { String::new() } else { format!(", {}", place.case) };
    let figure = if place.figure == beside.figure { String::new() } else { format!(", {}", place.figure) };
    format!("{}{case}{figure}", place.system)
}

/// Under slower flushes the lead is to be greater than without them.
fn to_reach(results: &Results, compared: &Compared) -> Option<Target> {
    let Some((before, _)) = compared.scenario.split_once(", flushes of ") else { return compared.target };
    if compared.others.iter().any(|other| peers::NOT_SLOWED.contains(&other.system.as_str())) {
        return None;
    }
    let is_same = |it: &&Compared| {
        let names = |place: &Place| (place.case.clone(), place.system.clone(), place.figure.clone());
        it.scenario == before
            && names(&it.ours) == names(&compared.ours)
            && it.others.iter().map(names).eq(compared.others.iter().map(names))
    };
    let Ratio { ours, other } = ratio(results, results.compared.iter().find(is_same)?)?;
    Some(Target::AtLeast(ours / other))
}

fn told(target: Option<Target>, ratio: f64) -> String {
    let (word, bound) = match target {
        None => return "–".to_owned(),
        Some(Target::AtLeast(bound)) => ("at least", bound),
        Some(Target::AtMost(bound)) => ("at most", bound),
    };
    let is_met = target.is_some_and(|target| target.is_met(ratio));
    let short = (ratio - bound).abs() / bound * 100.0;
    let came = if is_met { "met".to_owned() } else { format!("**missed by {short:.0} %**") };
    format!("{word} {bound:.2}: {came}")
}

/// One line for each comparison: scenario, ours, peer or ceiling, ratio, target.
pub(crate) fn last_lines(results: &Results) -> String {
    let mut text = HEADS.to_owned();
    for compared in &results.compared {
        let Some(Ratio { ours, other }) = ratio(results, compared) else { continue };
        let place = &compared.ours;
        let others: Vec<String> = compared.others.iter().map(|other| named(other, place)).collect();
        let _ = writeln!(
            text,
            "| {}, {}: {} | {}: {} | {}: {} | {:.2} | {} |",
            compared.scenario,
            place.case,
            place.figure,
            place.system,
            number(ours),
            others.join(" + "),
            number(other),
            ours / other,
            told(to_reach(results, compared), ours / other),
        );
    }
    text
}

/// A scenario's cases by number of records, where they differ in nothing else.
fn curve(all: &[&Series]) -> Option<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    for series in all {
        let records: f64 = series.case.strip_suffix(" records")?.parse().ok()?;
        let point = (records, series.spread(SERVING)?.median);
        match lines.iter_mut().find(|(name, _)| *name == series.system) {
            Some((_, points)) => points.push(point),
            None => lines.push((series.system.clone(), vec![point])),
        }
    }
    Some(lines).filter(|lines| lines.iter().any(|(_, points)| points.len() > 1))
}

/// The plot of a scenario: its first column, or how it grows.
fn plotted(name: &str, all: &[&Series]) -> Option<String> {
    if let Some(lines) = curve(all) {
        return Some(plot::lines(&format!("{name}: {SERVING}"), "records stored", &lines));
    }
    let figure = columns(all).into_iter().next()?;
    let mut systems: Vec<&str> = Vec::new();
    let mut bars = Vec::new();
    for series in all {
        let Some(spread) = series.spread(&figure) else { continue };
        if !systems.contains(&&*series.system) {
            systems.push(&series.system);
        }
        let group = systems.iter().position(|it| *it == series.system).unwrap_or_default();
        bars.push(Bar { label: format!("{}, {}", series.case, series.system), group, spread });
    }
    Some(plot::bars(&format!("{name}: {figure}"), &bars))
}

const ABOUT: &str = "# Performance\n\nWritten by `make bench` and `make bench-peers`, not by hand. Hub, database, peers and \
    the load generator share one machine and talk over loopback, each in a process of its own. Everything of Hubward is \
    durable when it is answered, with versions, log, commits with their chain, sums of the records and the schema check; \
    one tenant, plaintext, no author signatures, unless a line says otherwise. Each figure is the median of the rounds, \
    with the least and the most; every round measures all cases of a scenario in turn. Compare ratios, not figures of \
    different runs. Nodes sign nothing but their access tokens.\n\nIn a closed loop a latency is what a client waited that waits for its answer before it goes on. \
    In the open loop (write-to-receipt) it counts from the moment at which the write was due, so that a stall counts for \
    every write that it held up. `µs/op` is processor time for each operation: of the hub or the peer (server), of all \
    processes of the database, of the load generator; `serving` is all but the load.\n\nWhere flushes are said to take longer, \
    they do so for all that flush through the C library: the hub, the database and Redis. etcd and NATS do not, so nothing is \
    asked for beside them there.\n";

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

/// What gave no figures.
fn missing(text: &mut String, results: &Results) {
    if results.missing.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## Not measured\n\n| scenario | case | system | why |\n|---|---|---|---|");
    for it in &results.missing {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            it.scenario,
            it.case,
            it.system,
            it.why.replace('|', "/")
        );
    }
}

/// The name of a scenario's plot.
fn file_name(scenario: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("{}.svg", scenario.chars().map(kept).collect::<String>())
}

/// The document, and its plots by the names of their files.
fn document(results: &Results, folder: &str) -> (String, Vec<(String, String)>) {
    let (mut text, mut plots) = (ABOUT.to_owned(), Vec::new());
    let _ = writeln!(text, "\n## Beside ceilings and peers\n\n{}", last_lines(results).trim_end());
    missing(&mut text, results);
    for heading in &results.scenarios {
        let name = &heading.name;
        let all: Vec<&Series> = results.series.iter().filter(|s| s.scenario == *name).collect();
        let _ = writeln!(text, "\n## {name}\n\n{}\n\n{}\n", heading.about, made_by(&heading.made));
        table(&mut text, &all);
        if let Some(plot) = plotted(name, &all) {
            let file = file_name(name);
            let _ = writeln!(text, "\n![{name}]({folder}/{file})");
            plots.push((file, plot));
        }
    }
    (text, plots)
}

/// Writes the document, its plots into a folder beside it, and what follows for other sizes into `scale`, which has a place
/// for it.
pub(crate) fn write(results: &Results, file: &Path, scale: Option<&Path>) {
    let plots = file.with_extension("");
    let folder = plots.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (text, all) = document(results, &folder);
    let put = |file: &Path, text: &str| {
        std::fs::write(file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    };
    std::fs::create_dir_all(&plots).unwrap_or_else(|e| panic!("{}: {e}", plots.display()));
    put(file, &text);
    all.iter().for_each(|(name, svg)| put(&plots.join(name), svg));
    if let Some(file) = scale {
        let before = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        put(file, &scale::rendered(&before, results));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Figures;

    fn measured(all: &[(&str, &str, f64)]) -> Results {
        let mut results = Results::default();
        for (scenario, system, value) in all {
            results.add(scenario, "case", system, Figures::default().with("ops/s", *value));
        }
        results
    }

    fn compared(scenario: &str, target: Option<Target>) -> Compared {
        let place = |system: &str| Place {
            case: "case".to_owned(),
            system: system.to_owned(),
            figure: "ops/s".to_owned(),
        };
        Compared { scenario: scenario.to_owned(), ours: place("ours"), others: vec![place("other")], target }
    }

    #[test]
    fn what_falls_short_is_told_with_by_how_much() {
        let mut results = measured(&[("push", "ours", 60.0), ("push", "other", 100.0)]);
        results.compared = vec![
            compared("push", Some(Target::AtLeast(0.8))),
            compared("push", Some(Target::AtMost(0.8))),
            compared("push", None),
        ];
        let told = last_lines(&results);
        assert!(told.contains("| 0.60 | at least 0.80: **missed by 25 %** |"), "{told}");
        assert!(told.contains("| 0.60 | at most 0.80: met |"), "{told}");
        assert!(told.contains("| 0.60 | – |"), "{told}");
    }

    #[test]
    fn under_slower_flushes_the_lead_is_to_be_greater_than_without() {
        let slow = "push, flushes of 3 ms more";
        let mut results = measured(&[
            ("push", "ours", 90.0),
            ("push", "other", 100.0),
            (slow, "ours", 80.0),
            (slow, "other", 20.0),
        ]);
        results.compared = vec![compared("push", None), compared(slow, None)];
        assert!(last_lines(&results).contains("| 4.00 | at least 0.90: met |"), "{}", last_lines(&results));
    }

    #[test]
    fn what_was_not_measured_under_slower_flushes_is_not_told_of() {
        let mut results = measured(&[("push", "ours", 90.0), ("push", "other", 100.0)]);
        results.compared = vec![compared("push, flushes of 3 ms more", None)];
        assert!(!last_lines(&results).contains("flushes"), "{}", last_lines(&results));
    }

    #[test]
    fn what_is_held_against_several_is_held_against_their_sum() {
        let mut results = measured(&[("push", "ours", 30.0), ("push", "other", 10.0), ("push", "more", 5.0)]);
        let mut sum = compared("push", None);
        sum.and("case", "more").at_most(1.5);
        results.compared = vec![sum];
        let told = last_lines(&results);
        assert!(told.contains("| other + more: 15.0 | 2.00 | at most 1.50: **missed by 33 %** |"), "{told}");
    }
}
