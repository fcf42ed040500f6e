//! Where a score is going: a straight line through the last points, by least squares.

use serde::{Deserialize, Serialize};

/// How many points are looked at, the latest.
pub const POINTS_MAX: usize = 10;
/// Fewer points than this say nothing.
pub const POINTS_MIN: usize = 3;
/// How far the line rises or falls over the points before that is a trend.
const CHANGE_MIN: f64 = 0.1;
/// How far the points lie from the line (root of the mean square) before they are called volatile, if that is
/// also more than half of what the line itself rises or falls.
const NOISE_MIN: f64 = 0.25;

/// Where a score is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// Rising.
    Improving,
    /// Neither rising nor falling.
    Stable,
    /// Falling.
    Declining,
    /// Up and down by more than it rises or falls.
    Volatile,
}

impl Trend {
    /// Name in JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Improving => "improving",
            Self::Stable => "stable",
            Self::Declining => "declining",
            Self::Volatile => "volatile",
        }
    }
}

/// The trend of scores in the order of their time, evenly spaced. `None` below [`POINTS_MIN`] points.
#[must_use]
pub fn of(scores: &[f64]) -> Option<Trend> {
    let from = scores.len().saturating_sub(POINTS_MAX);
    let points: Vec<(f64, f64)> = (0_u32..).map(f64::from).zip(scores.get(from..)?.iter().copied()).collect();
    if points.len() < POINTS_MIN {
        return None;
    }
    let count: f64 = points.iter().map(|_| 1.0).sum();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let slope = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>() / spread;
    let square = |(x, y): &(f64, f64)| (y - y_mean - slope * (x - x_mean)).powi(2);
    let noise = (points.iter().map(square).sum::<f64>() / count).sqrt();
    let change = slope * (count - 1.0);
    Some(if noise > NOISE_MIN && 2.0 * noise > change.abs() {
        Trend::Volatile
    } else if change > CHANGE_MIN {
        Trend::Improving
    } else if change < -CHANGE_MIN {
        Trend::Declining
    } else {
        Trend::Stable
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_it_goes() {
        assert_eq!(of(&[3.0, 3.1, 3.2, 3.3]), Some(Trend::Improving));
        assert_eq!(of(&[5.13, 4.56, 3.9, 3.28, 2.64, 2.04]), Some(Trend::Declining));
        assert_eq!(of(&[3.0, 3.02, 2.99, 3.01]), Some(Trend::Stable));
        assert_eq!(of(&[3.0, 2.0, 3.1, 1.9, 3.0]), Some(Trend::Volatile));
    }

    #[test]
    fn steps_down_are_a_decline_and_no_noise() {
        assert_eq!(of(&[4.75, 3.96, 3.64, 2.82, 1.91, 1.16, 0.96]), Some(Trend::Declining));
    }

    #[test]
    fn two_points_say_nothing() {
        assert_eq!((of(&[]), of(&[3.0, 1.0])), (None, None));
    }

    #[test]
    fn only_the_latest_points_count() {
        let mut scores = vec![7.0; 50];
        scores.extend([1.0; 10]);
        assert_eq!(of(&scores), Some(Trend::Stable));
    }
}
