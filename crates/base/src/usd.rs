//! Money, exact: whole micro-dollars.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Sub},
};

use serde::{Deserialize, Serialize};

/// Millionths of a US dollar. Adding and subtracting saturate: an absurd price must not wrap into a small one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Usd(pub i64);

impl Usd {
    pub const ZERO: Usd = Usd(0);
    pub const MAX: Usd = Usd(i64::MAX);

    /// From dollars as an operator writes them; rounded to the nearest micro-dollar. `None`: not finite, or too large.
    pub fn from_dollars(dollars: f64) -> Option<Usd> {
        let micros = (dollars * 1e6).round();
        // Beyond 2^53 an f64 does not know every whole number any more.
        (micros.abs() <= 9.0e15).then_some(Usd(micros as i64))
    }

    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Add for Usd {
    type Output = Usd;

    fn add(self, other: Usd) -> Usd {
        Usd(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Usd) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Usd;

    fn sub(self, other: Usd) -> Usd {
        Usd(self.0.saturating_sub(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(parts: I) -> Usd {
        parts.fold(Usd::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    /// Dollars with six places: `$0.001250`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each call of a model says two of them in its answer's head: digit by digit costs a tenth of what padding does.
        let mut text = [b'0'; LONGEST];
        let (mut rest, mut length) = (self.0.unsigned_abs(), 0);
        for (index, letter) in text.iter_mut().rev().enumerate() {
            length = index + 1;
            if index == PLACES {
                *letter = b'.';
                continue;
            }
            *letter += (rest % 10) as u8;
            rest /= 10;
            if rest == 0 && index > PLACES {
                break;
            }
        }
        let mut start = LONGEST - length - 1;
        text[start] = b'$';
        if self.0 < 0 {
            start -= 1;
            text[start] = b'-';
        }
        formatter.write_str(std::str::from_utf8(&text[start..]).map_err(|_| fmt::Error)?)
    }
}

const PLACES: usize = 6;
/// The largest amount has 19 digits and a point, and before them its signs.
const LONGEST: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_and_shown_to_the_micro() {
        for (dollars, shown) in
            [(0.00125, "$0.001250"), (3.0, "$3.000000"), (-0.5, "-$0.500000"), (0.0, "$0.000000")]
        {
            assert_eq!(Usd::from_dollars(dollars).unwrap().to_string(), shown);
        }
        assert_eq!(Usd::from_dollars(f64::NAN), None);
        assert_eq!(Usd::from_dollars(1e12), None);
    }

    #[test]
    fn every_amount_has_six_places() {
        for (micros, shown) in [
            (1, "$0.000001"),
            (999_999, "$0.999999"),
            (1_000_000, "$1.000000"),
            (10_000_001, "$10.000001"),
            (-1, "-$0.000001"),
            (i64::MAX, "$9223372036854.775807"),
            (i64::MIN, "-$9223372036854.775808"),
        ] {
            assert_eq!(Usd(micros).to_string(), shown);
        }
    }

    #[test]
    fn sums_do_not_wrap() {
        assert_eq!([Usd::MAX, Usd(1)].into_iter().sum::<Usd>(), Usd::MAX);
    }
}
