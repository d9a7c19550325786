//! How a figure grows: the simplest law that describes it, with its constants.

use std::fmt;

use crate::report::number;

/// What was fitted to a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Law {
    Flat { at: f64 },
    Linear { start: f64, slope: f64 },
    Logarithmic { at_one: f64, per_tenfold: f64 },
    Power { factor: f64, exponent: f64 },
}

impl Law {
    /// The first of flat, linear and logarithmic that the points do not contradict by more than a fifth on average;
    /// else a power.
    pub(crate) fn of(points: &[(f64, f64)]) -> Self {
        let (start, slope) = line(points, |x| x);
        let (at_one, per_tenfold) = line(points, f64::log10);
        let laws = [
            Self::Flat { at: mean(points) },
            Self::Linear { start, slope },
            Self::Logarithmic { at_one, per_tenfold },
            power(points),
        ];
        let good = laws.iter().find(|law| law.error(points) <= TOLERANCE);
        let best = || {
            laws.iter()
                .min_by(|a, b| a.error(points).total_cmp(&b.error(points)))
        };
        *good.or_else(best).expect("there are four laws")
    }

    pub(crate) fn at(self, x: f64) -> f64 {
        match self {
            Self::Flat { at } => at,
            Self::Linear { start, slope } => start + slope * x,
            Self::Logarithmic { at_one, per_tenfold } => at_one + per_tenfold * x.log10(),
            Self::Power { factor, exponent } => factor * x.powf(exponent),
        }
    }

    /// The root of the mean square of the relative errors.
    pub(crate) fn error(self, points: &[(f64, f64)]) -> f64 {
        let squares = points.iter().map(|&(x, y)| (self.at(x) / y - 1.0).powi(2));
        (squares.sum::<f64>() / points.len() as f64).sqrt()
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Flat { at } => write!(f, "flat, about {}", number(at)),
            Self::Linear { start, slope } => {
                write!(f, "linear: {} + {} each", number(start), significant(slope))
            }
            Self::Logarithmic { at_one, per_tenfold } => write!(
                f,
                "logarithmic: {} at one, {} more per tenfold",
                number(at_one),
                significant(per_tenfold)
            ),
            Self::Power { factor, exponent } => write!(
                f,
                "a power: {} at one, × {:.2} per doubling",
                significant(factor),
                2_f64.powf(exponent)
            ),
        }
    }
}

fn mean(points: &[(f64, f64)]) -> f64 {
    // Of the inverses, as errors are relative.
    let (inverse, square) = points.iter().fold((0.0, 0.0), |(one, two), (_, y)| {
        (one + 1.0 / y, two + 1.0 / (y * y))
    });
    inverse / square
}

/// Least squares of the relative errors.
fn line(points: &[(f64, f64)], of: fn(f64) -> f64) -> (f64, f64) {
    let mut sums = [0.0; 5];
    for &(x, y) in points {
        let (x, weight) = (of(x), 1.0 / (y * y));
        for (sum, term) in sums.iter_mut().zip([1.0, x, x * x, y, x * y]) {
            *sum += weight * term;
        }
    }
    let [w, x, xx, y, xy] = sums;
    let determinant = w * xx - x * x;
    if determinant.abs() < f64::EPSILON * w * xx {
        return (y / w, 0.0);
    }
    ((y * xx - x * xy) / determinant, (w * xy - x * y) / determinant)
}

fn power(points: &[(f64, f64)]) -> Law {
    let count = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.max(1e-9).ln(), y.ln())).collect();
    let (mx, my) = logs
        .iter()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + x / count, b + y / count));
    let (products, squares) = logs.iter().fold((0.0, 0.0), |(a, b), (x, y)| {
        (a + (x - mx) * (y - my), b + (x - mx).powi(2))
    });
    let exponent = if squares == 0.0 { 0.0 } else { products / squares };
    Law::Power {
        factor: (my - exponent * mx).exp(),
        exponent,
    }
}

fn significant(value: f64) -> String {
    match value.abs() {
        size if size >= 0.1 || size == 0.0 => number(value),
        size => format!("{value:.*}", (2.0 - size.log10()).floor() as usize),
    }
}

const TOLERANCE: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    fn law(y: impl Fn(f64) -> f64) -> Law {
        let points: Vec<_> = [1.0, 10.0, 100.0, 1_000.0, 10_000.0].map(|x| (x, y(x))).into();
        Law::of(&points)
    }

    #[test]
    fn the_simplest_law_that_fits_is_chosen() {
        assert!(matches!(law(|x| 7.0 + (x % 3.0) / 10.0), Law::Flat { .. }));
        let Law::Linear { start, slope } = law(|x| 5.0 + 0.25 * x) else {
            panic!("a line is a line")
        };
        assert!((start - 5.0).abs() < 1e-6 && (slope - 0.25).abs() < 1e-6);
        assert!(matches!(
            law(|x| 10.0 + 10.0 * x.log10()),
            Law::Logarithmic { .. }
        ));
        let Law::Power { exponent, .. } = law(|x| 2.0 * x.powf(0.5)) else {
            panic!("a root is a power")
        };
        assert!((exponent - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_single_point_is_flat() {
        assert_eq!(Law::of(&[(1.0, 3.0)]), Law::Flat { at: 3.0 });
    }
}
