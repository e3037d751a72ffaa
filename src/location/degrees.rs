//! Degrees as people post them: decimal, kept to the last of fifteen decimals.

use std::fmt;

use rust_decimal::Decimal;

/// Decimals that are kept.
const DECIMALS: u32 = 15;
const ONE: f64 = 1e15;

/// Degrees times 10^15. As text `45.273518851012345`; zeros at the end are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Degrees(pub i64);

impl Degrees {
    /// Reads decimal degrees between `-most` and `most`; `None` for anything else, and for more than fifteen decimals.
    pub fn parse(text: &str, most: u8) -> Option<Self> {
        let mut decimal = Decimal::from_str_exact(text.trim()).ok()?;
        if decimal.abs() > Decimal::from(most) || decimal.normalize().scale() > DECIMALS {
            return None;
        }
        decimal.rescale(DECIMALS);
        i64::try_from(decimal.mantissa()).ok().map(Self)
    }

    /// The nearest to a number of degrees, which is -180 to 180.
    pub fn of(degrees: f64) -> Self {
        Self((degrees * ONE) as i64)
    }

    /// As a number; the last decimals may be rounded.
    pub fn degrees(self) -> f64 {
        self.0 as f64 / ONE
    }
}

impl fmt::Display for Degrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Decimal::from_i128_with_scale(self.0.into(), DECIMALS).normalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decimal_is_kept_and_anything_else_refused() {
        for text in ["45.273518851012345", "-179.999999999999999", "180", "0", "-0.000000000000001", "13.5"] {
            assert_eq!(Degrees::parse(text, 180).unwrap().to_string(), text);
        }
        assert_eq!(Degrees::parse(" 45.1000 ", 90).unwrap().to_string(), "45.1");
        assert_eq!(Degrees::parse("45.2735188510123450", 90).unwrap().to_string(), "45.273518851012345");
        for text in
            ["", "north", "1e1", "NaN", "90.000000000000001", "-91", "1.0000000000000001", "1,5", "99999999999999999999999999999999"]
        {
            assert_eq!(Degrees::parse(text, 90), None, "{text}");
        }
        assert_eq!(Degrees::parse("-12.25", 90).unwrap().degrees(), -12.25);
        assert_eq!(Degrees::of(-12.25).to_string(), "-12.25");
    }
}
