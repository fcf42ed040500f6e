//! What was measured: figures of one round, and all of a run as a file.

use std::collections::BTreeMap;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::ground::Ground;
use super::machine::{self, Machine, Used};

/// Processor time of hub and database, or of a peer.
pub(crate) const SERVING: &str = "serving µs/op";

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

    /// Processor time, microseconds for each operation: of each process, and of all that serve together.
    pub(crate) fn used(&mut self, used: &Used, ops: f64) {
        let mut serving = 0.0;
        for (name, used) in used {
            let used = used / ops.max(1.0);
            serving += if *name == "load" { 0.0 } else { used };
            self.set(&format!("{name} µs/op"), used);
        }
        self.set(SERVING, serving);
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

/// One figure of a case on a system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) case: String,
    pub(crate) system: String,
    pub(crate) figure: String,
}

/// What a ratio is to be.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }
}

/// What is set beside what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) scenario: String,
    pub(crate) ours: Place,
    /// Their sum; of a case of their own, where it is not the same.
    pub(crate) others: Vec<Place>,
    pub(crate) target: Option<Target>,
}

impl Compared {
    pub(crate) fn at_least(&mut self, ratio: f64) -> &mut Self {
        self.target = Some(Target::AtLeast(ratio));
        self
    }

    pub(crate) fn at_most(&mut self, ratio: f64) -> &mut Self {
        self.target = Some(Target::AtMost(ratio));
        self
    }

    /// The same figure of one more is added to what ours is held against.
    pub(crate) fn and(&mut self, case: &str, system: &str) -> &mut Self {
        let place = Place { case: case.to_owned(), system: system.to_owned(), ..self.ours.clone() };
        self.others.push(place);
        self
    }

    /// Another figure of what ours is held against.
    pub(crate) fn by(&mut self, figure: &str) -> &mut Self {
        self.others.iter_mut().for_each(|other| figure.clone_into(&mut other.figure));
        self
    }
}

/// A case that gave no figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) scenario: String,
    pub(crate) case: String,
    pub(crate) system: String,
    pub(crate) why: String,
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
    #[serde(default)]
    pub(crate) missing: Vec<Missing>,
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
    /// Takes the figures of cases of a scenario away, by case and system: they are measured anew.
    pub(crate) fn forget(&mut self, scenario: &str, is_one: impl Fn(&str, &str) -> bool) {
        self.series.retain(|it| it.scenario != scenario || !is_one(&it.case, &it.system));
    }

    /// Heads a scenario anew, with what it compares; its figures stay.
    pub(crate) fn head(&mut self, heading: Heading, compared: Vec<Compared>) {
        let name = &heading.name;
        self.compared.retain(|compared| compared.scenario != *name);
        self.missing.retain(|missing| missing.scenario != *name);
        self.compared.extend(compared);
        match self.scenarios.iter_mut().find(|it| it.name == *name) {
            Some(it) => *it = heading,
            None => self.scenarios.push(heading),
        }
    }

    /// Rounds that a case has been measured.
    pub(crate) fn rounds(&self, scenario: &str, case: &str, system: &str) -> usize {
        self.series(scenario, case, system).map_or(0, |series| series.rounds.len())
    }

    /// Notes once that a case gave no figures.
    pub(crate) fn lacks(&mut self, scenario: &str, case: &str, system: &str, why: String) {
        let is_it = |it: &Missing| {
            (&*it.scenario, &*it.case, &*it.system) == (scenario, case, system) && it.why == why
        };
        if !self.missing.iter().any(is_it) {
            let [scenario, case, system] = [scenario, case, system].map(str::to_owned);
            self.missing.push(Missing { scenario, case, system, why });
        }
    }

    /// The middle of a figure of a case of the scenario.
    pub(crate) fn middle(&self, scenario: &str, place: &Place) -> Option<f64> {
        self.series(scenario, &place.case, &place.system)?.spread(&place.figure).map(|s| s.median)
    }

    /// The same, or of any scenario that has it.
    pub(crate) fn middle_of_any(&self, scenario: &str, place: &Place) -> Option<f64> {
        let mut all = self.series.iter().map(|series| &series.scenario);
        self.middle(scenario, place).or_else(|| all.find_map(|scenario| self.middle(scenario, place)))
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
        // Put in place whole: whoever ends the run in the middle keeps what was there.
        let beside = file.with_extension("new");
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&beside, text + "\n"))
            .and_then(|()| std::fs::rename(&beside, file));
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
