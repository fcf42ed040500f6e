//! Scenarios: cases on systems, measured in turns.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;

use super::figures::{Compared, Figures, Heading, Made, Place, Results};
use super::ground::{Ground, Settings};
use super::{
    catch_up, ceiling, compression, crowded, fan_out, idle, long, micro, narrow, push, slow_link, wire,
};

/// Longest time that one measurement may take: more than the longest has to.
const MEASURING_MAX: Duration = Duration::from_mins(25);

type Measuring = Pin<Box<dyn Future<Output = Option<Figures>>>>;

/// What a run keeps of the figures that the results hold of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// None: all of it is measured anew.
    Nothing,
    /// Those of the cases that are not asked for.
    OtherCases,
    /// All: rounds that they hold are not measured again.
    Rounds,
}

/// Why there are no figures.
struct Failed {
    why: String,
    /// It would take as long again.
    is_late: bool,
}

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

    /// As the document names it.
    pub(crate) fn row(&self) -> String {
        format!("| {} | {} |", self.case, self.system)
    }
}

/// Some cases that are read together.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) trials: Vec<Trial>,
    compared: Vec<Compared>,
    rounds_max: usize,
}

impl Scenario {
    pub(crate) fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, trials: Vec::new(), compared: Vec::new(), rounds_max: usize::MAX }
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
    ) -> &mut Compared {
        let place = |case: &str, system: &str| Place {
            case: case.to_owned(),
            system: system.to_owned(),
            figure: figure.to_owned(),
        };
        let (ours, others) = (place(case, ours), vec![place(other_case.unwrap_or(case), other)]);
        self.compared.push(Compared { scenario: self.name.to_owned(), ours, others, target: None });
        self.compared.last_mut().expect("it was put there")
    }

    /// It takes long: no more rounds than these.
    pub(crate) fn rounds_at_most(&mut self, rounds: usize) {
        self.rounds_max = rounds;
    }

    /// Measures every case in every round, each round beginning with another one. What fails is told, and the others go
    /// on, but for what took too long; `keep` is called after each measurement.
    pub(crate) async fn run(
        self,
        ground: &Arc<Ground>,
        made: &Made,
        results: &mut Results,
        keeps: Keeps,
        keep: impl Fn(&Results),
    ) {
        let name = made.name_of(self.name);
        let is_asked = |case: &str, system: &str| {
            self.trials.iter().any(|trial| trial.case == case && trial.system == system)
        };
        match keeps {
            Keeps::Nothing => results.forget(&name, |_, _| true),
            Keeps::OtherCases => results.forget(&name, is_asked),
            Keeps::Rounds => {}
        }
        println!("\n== {name}");
        let rounds = ground.settings.rounds.min(self.rounds_max);
        let compared = self.compared.iter().cloned();
        let compared = compared.map(|compared| Compared { scenario: name.clone(), ..compared }).collect();
        let made = Made { rounds, ..made.clone() };
        results.head(Heading { name: name.clone(), about: self.about.to_owned(), made }, compared);
        let (began, count) = (Instant::now(), self.trials.len().max(1));
        let mut late = BTreeSet::new();
        for round in 0..rounds {
            for n in 0..self.trials.len() {
                let n = (n + round) % count;
                let Some(Trial { case, system, measure }) = self.trials.get(n) else {
                    continue;
                };
                if results.rounds(&name, case, system) > round || late.contains(&n) {
                    continue;
                }
                let what = format!("{case} | {system}");
                match tried(measure(Arc::clone(ground))).await {
                    Ok(Some(figures)) => {
                        println!("{}/{rounds} {what} | {}", round + 1, shown(&figures));
                        results.add(&name, case, system, figures);
                    }
                    Ok(None) => {
                        println!("SKIPPED: {what}: this machine lacks what it needs");
                        results.lacks(&name, case, system, "this machine lacks what it needs".to_owned());
                    }
                    Err(Failed { why, is_late }) => {
                        println!("FAILED: {what}: {why}");
                        late.extend(is_late.then_some(n));
                        results.lacks(&name, case, system, why);
                    }
                }
                keep(results);
            }
        }
        println!("   {name}: {:.0} s", began.elapsed().as_secs_f64());
    }
}

/// What a measurement gave, or why it did not end.
async fn tried(measuring: Measuring) -> Result<Option<Figures>, Failed> {
    match tokio::time::timeout(MEASURING_MAX, AssertUnwindSafe(measuring).catch_unwind()).await {
        Err(_) => {
            let why = format!("it did not end within {} s", MEASURING_MAX.as_secs());
            Err(Failed { why, is_late: true })
        }
        Ok(Ok(figures)) => Ok(figures),
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let first = text.as_deref().and_then(|text| text.lines().next()).unwrap_or("a panic");
            Err(Failed { why: first.to_owned(), is_late: false })
        }
    }
}

fn shown(figures: &Figures) -> String {
    let figures = figures.0.iter().map(|(name, value)| format!("{name} {}", super::report::number(*value)));
    figures.collect::<Vec<_>>().join(", ")
}

/// Every scenario without peers, the long ones last.
pub(crate) fn all(settings: &Settings) -> Vec<Scenario> {
    let mut all = vec![
        push::session_scenario(settings),
        push::unary_scenario(settings),
        push::lone_scenario(settings),
        fan_out::receipt_scenario(settings),
        fan_out::peak_scenario(settings),
        narrow::scenario(settings),
        catch_up::whole_scenario(settings),
        catch_up::changed_scenario(settings),
        idle::idle_scenario(settings),
        idle::storm_scenario(settings),
        long::growth_scenario(settings),
        ceiling::scenario(settings),
        push::mixes_scenario(settings),
        micro::scenario(settings),
        compression::scenario(settings),
        wire::scenario(settings),
        slow_link::scenario(settings),
        crowded::receipt_scenario(settings),
        crowded::idle_scenario(settings),
        long::steady_scenario(settings),
    ];
    if settings.is_full {
        all.push(long::largest_scenario(settings));
    }
    all
}
