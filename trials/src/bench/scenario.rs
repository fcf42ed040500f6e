//! Scenarios: cases on systems, measured in turns.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::figures::{Compared, Figures, Heading, Made, Results};
use super::ground::{Ground, Settings};
use super::{catch_up, ceiling, fan_out, idle, long, push};

type Measuring = Pin<Box<dyn Future<Output = Option<Figures>>>>;

/// One case on one system.
pub(crate) struct Trial {
    case: String,
    system: &'static str,
    measure: Box<dyn Fn(Arc<Ground>) -> Measuring>,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial")
            .field("case", &self.case)
            .field("system", &self.system)
            .finish_non_exhaustive()
    }
}

impl Trial {
    /// `measure` gives nothing where this machine lacks what it needs.
    pub(crate) fn new<F>(
        case: String,
        system: &'static str,
        measure: impl Fn(Arc<Ground>) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Figures>> + 'static,
    {
        Self { case, system, measure: Box::new(move |ground| Box::pin(measure(ground))) }
    }

    pub(crate) fn case(&self) -> &str {
        &self.case
    }
}

/// Some cases that are read together.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) trials: Vec<Trial>,
    compared: Vec<Compared>,
}

impl Scenario {
    pub(crate) fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, trials: Vec::new(), compared: Vec::new() }
    }

    /// One more case on a system; as [`Trial::new`].
    pub(crate) fn add<F>(
        &mut self,
        case: impl Into<String>,
        system: &'static str,
        measure: impl Fn(Arc<Ground>) -> F + 'static,
    ) where
        F: Future<Output = Option<Figures>> + 'static,
    {
        self.trials.push(Trial::new(case.into(), system, measure));
    }

    /// Sets a figure of ours beside another system's, of the same case or of one of its own.
    pub(crate) fn compare(
        &mut self,
        case: &str,
        figure: &str,
        ours: &str,
        other: &str,
        other_case: Option<&str>,
    ) {
        let [scenario, case, figure] = [self.name, case, figure].map(str::to_owned);
        let (ours, other, other_case) = (ours.to_owned(), other.to_owned(), other_case.map(str::to_owned));
        self.compared.push(Compared { scenario, case, figure, ours, other, other_case });
    }

    /// Measures every case in every round, each round beginning with another one.
    pub(crate) async fn run(self, ground: &Arc<Ground>, made: &Made, results: &mut Results) {
        let name = made.name_of(self.name);
        results.forget(&name);
        println!("\n== {name}");
        let count = self.trials.len().max(1);
        for round in 0..ground.settings.rounds {
            for n in 0..self.trials.len() {
                let Some(trial) = self.trials.get((n + round) % count) else { continue };
                let what = format!("{} | {}", trial.case, trial.system);
                match (trial.measure)(Arc::clone(ground)).await {
                    Some(figures) => {
                        println!("{}/{} {what} | {}", round + 1, ground.settings.rounds, shown(&figures));
                        results.add(&name, &trial.case, trial.system, figures);
                    }
                    None => println!("SKIPPED: {what}: this machine lacks what it needs"),
                }
            }
        }
        let heading =
            Heading { name: self.name.to_owned(), about: self.about.to_owned(), made: made.clone() };
        results.scenarios.push(heading);
        let compared = self.compared.into_iter();
        results.compared.extend(compared.map(|compared| Compared { scenario: name.clone(), ..compared }));
    }
}

fn shown(figures: &Figures) -> String {
    let figures = figures.0.iter().map(|(name, value)| format!("{name} {}", super::report::number(*value)));
    figures.collect::<Vec<_>>().join(", ")
}

/// Every scenario without peers.
pub(crate) fn all(settings: &Settings) -> Vec<Scenario> {
    let is_small = settings.is_small;
    vec![
        ceiling::scenario(is_small),
        push::session_scenario(is_small),
        push::unary_scenario(is_small),
        push::lone_scenario(),
        fan_out::receipt_scenario(settings),
        fan_out::peak_scenario(settings),
        catch_up::whole_scenario(settings),
        catch_up::changed_scenario(settings),
        idle::idle_scenario(settings),
        idle::storm_scenario(settings),
        long::growth_scenario(settings),
        long::steady_scenario(settings),
    ]
}
