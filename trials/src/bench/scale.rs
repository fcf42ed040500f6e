//! What follows from the figures for other sizes: the cost of each thing, and machines for so many spokes.

use std::fmt::Write as _;

use super::figures::{Place, Results, SERVING};
use super::report::number;

/// Between these lines of the document stands what is rendered.
const BEGIN: &str = "<!-- measured: written by `make bench` -->";
const END: &str = "<!-- end of what is measured -->";
/// What a spoke is taken to do: writes a second.
const WRITES_PER_S: f64 = 0.1;
/// Others that are given each of its writes.
const READERS: f64 = 10.0;
/// Records that a spoke has written in a year which stay.
const RECORDS: f64 = 10_000.0;
/// Cores are not planned to be busier than this.
const BUSY: f64 = 0.5;
const SPOKES: [f64; 3] = [1e3, 1e5, 1e7];

/// What one thing costs, as far as it was measured.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// Processor time of the hub, µs.
    hub_push: Option<f64>,
    /// Of the database, µs.
    database_push: Option<f64>,
    /// Of the hub for one delivery, µs.
    delivery: Option<f64>,
    /// Memory of an idle session, KiB.
    session: Option<f64>,
    /// A part of a core for an idle session.
    session_part: Option<f64>,
    /// Bytes of a stored record with the change that made it.
    record: Option<f64>,
    /// Of one record in a catch-up, µs.
    catch_up: Option<f64>,
}

const POSTGRES: &str = "Hubward, Postgres";

fn middle(results: &Results, scenario: &str, case: &str, figure: &str) -> Option<f64> {
    let [case, system, figure] = [case, POSTGRES, figure].map(str::to_owned);
    results.middle(scenario, &Place { case, system, figure })
}

fn costs(results: &Results) -> Costs {
    let push = |figure: &str| middle(results, "push-session", "64 spokes, 1 × 32", figure);
    let receipt = |case: &str| middle(results, "write-to-receipt", case, SERVING);
    // Each write has one delivery or a thousand: what they differ by is 999 deliveries.
    let delivery = receipt("1000 subscribers").zip(receipt("1 subscribers"));
    Costs {
        hub_push: push("server µs/op"),
        database_push: push("database µs/op"),
        delivery: delivery.map(|(many, one)| ((many - one) / 999.0).max(0.0)),
        session: middle(results, "idle-session", "1000 sessions", "KiB each"),
        session_part: middle(results, "idle-session", "1000 sessions", "% of a core").map(|part| part / 1e5),
        record: middle(results, "growth", "1000000 records", "bytes stored each"),
        catch_up: middle(results, "catch-up", "the stream", "server µs each"),
    }
}

/// A number of machines' parts, with words where nothing was measured.
fn told(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(
        || "not measured yet".to_owned(),
        |value| format!("{} {unit}", number(value)).trim_end().to_owned(),
    )
}

fn cores(per_s: f64, each_us: Option<f64>) -> Option<f64> {
    each_us.map(|each| per_s * each / 1e6 / BUSY)
}

fn costs_table(text: &mut String, costs: &Costs) {
    let rows = [
        ("a push of a mutation, 64 spokes, 32 at once: the hub", told(costs.hub_push, "µs"), "push-session"),
        ("the same: PostgreSQL", told(costs.database_push, "µs"), "push-session"),
        ("a delivery to one subscriber, live", told(costs.delivery, "µs"), "write-to-receipt"),
        ("a record of a catch-up", told(costs.catch_up, "µs"), "catch-up"),
        ("an idle session, memory", told(costs.session, "KiB"), "idle-session"),
        (
            "an idle session, processor",
            told(costs.session_part.map(|part| part * 1e6), "µs a second"),
            "idle-session",
        ),
        ("a stored record with its change in the log", told(costs.record, "bytes"), "growth"),
    ];
    let _ = writeln!(text, "| what | costs | measured by `make bench`, scenario |\n|---|---|---|");
    for (what, cost, scenario) in rows {
        let _ = writeln!(text, "| {what} | {cost} | {scenario} |");
    }
}

fn sizes_table(text: &mut String, costs: &Costs) {
    let heads = SPOKES.map(|spokes| format!("10^{:.0} spokes", spokes.log10()));
    let _ = writeln!(text, "\n| | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
    let mut row = |what: &str, of: &dyn Fn(f64) -> String| {
        let _ = writeln!(text, "| {what} | {} |", SPOKES.map(of).join(" | "));
    };
    row("writes a second", &|spokes| number(spokes * WRITES_PER_S));
    row("deliveries a second", &|spokes| number(spokes * WRITES_PER_S * READERS));
    row("cores of gateways, pushes", &|spokes| told(cores(spokes * WRITES_PER_S, costs.hub_push), ""));
    row("cores of gateways, deliveries", &|spokes| {
        told(cores(spokes * WRITES_PER_S * READERS, costs.delivery), "")
    });
    row("cores of gateways, idle sessions", &|spokes| {
        told(cores(spokes, costs.session_part.map(|part| part * 1e6)), "")
    });
    row("cores of databases", &|spokes| told(cores(spokes * WRITES_PER_S, costs.database_push), ""));
    row("memory of sessions, GiB", &|spokes| {
        told(costs.session.map(|kib| kib * spokes / 1_024.0 / 1_024.0), "")
    });
    row("stored after a year, GiB", &|spokes| {
        told(costs.record.map(|bytes| bytes * spokes * RECORDS / 1_073_741_824.0), "")
    });
}

/// The document with what is measured in its place.
pub(crate) fn rendered(before: &str, results: &Results) -> String {
    let (head, rest) =
        before.split_once(BEGIN).unwrap_or_else(|| panic!("the document has no line `{BEGIN}`"));
    let (_, tail) = rest.split_once(END).unwrap_or_else(|| panic!("the document has no line `{END}`"));
    let (costs, mut text) = (costs(results), String::new());
    costs_table(&mut text, &costs);
    sizes_table(&mut text, &costs);
    format!("{head}{BEGIN}\n\n{text}\n{END}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Figures;

    #[test]
    fn what_was_measured_stands_in_the_document_and_the_rest_says_that_it_was_not() {
        let mut results = Results::default();
        let figures = Figures::default().with("server µs/op", 20.0).with("database µs/op", 10.0);
        results.add("push-session", "64 spokes, 1 × 32", POSTGRES, figures);
        let before = format!("# Scale\n\n{BEGIN}\nold\n{END}\n\nMore.\n");
        let after = rendered(&before, &results);
        assert!(after.starts_with("# Scale\n") && after.ends_with("\n\nMore.\n"), "{after}");
        assert!(!after.contains("old"));
        assert!(after.contains("| the same: PostgreSQL | 10.0 µs |"), "{after}");
        // 10^7 spokes: 10^6 writes a second, 20 µs each, on cores that are half busy.
        assert!(after.contains("| cores of gateways, pushes | 0.00 | 0.40 | 40.0 |"), "{after}");
        assert!(after.contains("| not measured yet | write-to-receipt |"), "{after}");
        assert_eq!(rendered(&after, &results), after, "once more changes nothing");
    }
}
