//! What was measured: figures of one round, and all of a run as a file.

use std::collections::BTreeMap;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::ground::Ground;
use super::machine::{self, Machine, Used};

/// Figures of one measurement, by name; each name says its unit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures(pub(crate) BTreeMap<String, f64>);

impl Figures {
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }

    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.set(name, value);
        self
    }

    /// Percentiles, milliseconds.
    pub(crate) fn latencies(&mut self, latency: &Histogram<u64>) {
        for (name, quantile) in [("p50 ms", 0.5), ("p99 ms", 0.99), ("p99.9 ms", 0.999)] {
            self.set(name, latency.value_at_quantile(quantile) as f64 / 1e6);
        }
    }

    /// Processor time, microseconds for each operation.
    pub(crate) fn used(&mut self, before: &Used, after: &Used, ops: f64) {
        for (name, after) in after {
            let used = after - before.get(name).copied().unwrap_or_default();
            self.set(&format!("{name} µs/op"), used / ops.max(1.0));
        }
    }
}

/// The figures of one case on one system, one for each round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) scenario: String,
    pub(crate) case: String,
    pub(crate) system: String,
    pub(crate) rounds: Vec<Figures>,
}

/// Least, middle and most of some rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

/// The median of an even number is the mean of the two in the middle.
pub(crate) fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    let is_even = values.len().is_multiple_of(2);
    let median = if is_even { (values.get(half - 1)? + upper) / 2.0 } else { upper };
    Some(Spread { least, median, most })
}

impl Series {
    pub(crate) fn spread(&self, figure: &str) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(|figures| figures.0.get(figure).copied()).collect())
    }
}

/// What is set beside what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) scenario: String,
    pub(crate) case: String,
    pub(crate) figure: String,
    pub(crate) ours: String,
    pub(crate) other: String,
    /// Of a case of the other's own, where it is not the same.
    pub(crate) other_case: Option<String>,
}

/// What made the figures of a scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) command: String,
    /// What was not as usual.
    pub(crate) under: Option<String>,
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) measure_s: f64,
    pub(crate) warm_up_s: f64,
    /// Tiny sizes, or a build without optimization: no figure means anything.
    pub(crate) is_only_a_trial: bool,
}

/// A scenario, as the document heads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Heading {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) made: Made,
}

/// What was measured, by this run and by those before it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) scenarios: Vec<Heading>,
    pub(crate) series: Vec<Series>,
    pub(crate) compared: Vec<Compared>,
}

impl Made {
    /// What a scenario is called that was measured so.
    pub(crate) fn name_of(&self, scenario: &str) -> String {
        self.under.as_ref().map_or_else(|| scenario.to_owned(), |under| format!("{scenario}, {under}"))
    }

    pub(crate) fn by(ground: &Ground, command: &str, under: Option<String>) -> Self {
        let settings = &ground.settings;
        Self {
            command: command.to_owned(),
            under,
            machine: machine::describe(ground),
            rounds: settings.rounds,
            measure_s: settings.times.measure.as_secs_f64(),
            warm_up_s: settings.times.warm_up.as_secs_f64(),
            is_only_a_trial: settings.is_small || cfg!(debug_assertions),
        }
    }
}

impl Results {
    /// Takes the figures of a scenario away: it is measured anew.
    pub(crate) fn forget(&mut self, scenario: &str) {
        self.scenarios.retain(|heading| heading.name != scenario);
        self.series.retain(|series| series.scenario != scenario);
        self.compared.retain(|compared| compared.scenario != scenario);
    }

    pub(crate) fn add(&mut self, scenario: &str, case: &str, system: &str, figures: Figures) {
        let is_it = |series: &&mut Series| {
            (&*series.scenario, &*series.case, &*series.system) == (scenario, case, system)
        };
        if let Some(series) = self.series.iter_mut().find(is_it) {
            return series.rounds.push(figures);
        }
        let [scenario, case, system] = [scenario, case, system].map(str::to_owned);
        self.series.push(Series { scenario, case, system, rounds: vec![figures] });
    }

    pub(crate) fn series(&self, scenario: &str, case: &str, system: &str) -> Option<&Series> {
        let mut all = self.series.iter();
        all.find(|series| (&*series.scenario, &*series.case, &*series.system) == (scenario, case, system))
    }

    pub(crate) fn write(&self, file: &Path) {
        let folder = file.parent().unwrap_or(Path::new("."));
        let text = serde_json::to_string_pretty(self).expect("figures are JSON");
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(file, text + "\n"));
        written.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    /// None at all where there is no file.
    pub(crate) fn read(file: &Path) -> Self {
        if !file.exists() {
            return Self::default();
        }
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_rounds_is_the_middle_one_or_between_two() {
        let of = |values: &[f64]| spread(values.to_vec()).map(|s| (s.least, s.median, s.most));
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(of(&[]), None);
    }
}
