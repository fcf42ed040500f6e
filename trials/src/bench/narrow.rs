//! Readers whose views are narrow: what a write costs that most of those who watch may not see, and what catching up costs
//! where most of the log is not for the reader.

use super::fan_out::{Room, receipt};
use super::figures::SERVING;
use super::ground::{On, Settings};
use super::scenario::Scenario;

pub(crate) fn scenario(settings: &Settings) -> Scenario {
    let (wide, all) = settings.pick((2, 4), (100, 1_000), (100, 1_000));
    let (case, alone, open) = (
        format!("{wide} of {all} subscribers see it"),
        format!("{wide} subscribers"),
        format!("{all} subscribers, all see it"),
    );
    let mut scenario = Scenario::new(
        "narrow-views",
        "As write-to-receipt, beside subscribers whose view is another kind, so that nothing of it is sent to them: latency \
         counts for those who see it. What the narrow ones cost is the distance from the same without them.",
    );
    for on in On::BOTH {
        let per_second = settings.times.per_second;
        for (case, room) in [
            (&case, Room { wide, narrow: all - wide, per_second }),
            (&alone, Room { wide, narrow: 0, per_second }),
            (&open, Room { wide: all, narrow: 0, per_second }),
        ] {
            scenario.add(
                case.clone(),
                on.name(),
                move |ground| async move { receipt(&ground, on, room).await },
            );
        }
        for other in [&alone, &open] {
            scenario.compare(&case, "p50 ms", on.name(), on.name(), Some(other));
            scenario.compare(&case, SERVING, on.name(), on.name(), Some(other));
        }
    }
    scenario
}
