//! What an operator may set.

/// The bounds of a floor. They may change between two steps; what runs is judged by those of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest burst, ms, from when it was granted: 1,000 to 600,000.
    pub burst_ms: u64,
    /// The longest the media side may take to confirm a grant, ms: 100 to 10,000. Then the request is denied, and the next one's turn comes.
    pub prepare_ms: u64,
    /// How long somebody who asks, waits or talks is there without being heard of, ms: 500 to 60,000.
    pub vanish_ms: u64,
    /// The most requests that wait: 0 to 256. A further one pushes out the last in the order, which may be itself.
    pub queue_max: usize,
    /// How often a waiting request may be passed over by later ones before it stands above every level: 1 to 1,000.
    pub age_bursts: u32,
}

/// A bound outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} = {value}: must be {min} to {max}")]
pub struct LimitError {
    /// The field.
    pub name: &'static str,
    /// What it is.
    pub value: u64,
    /// The least it may be.
    pub min: u64,
    /// The most it may be.
    pub max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { burst_ms: 60_000, prepare_ms: 1_000, vanish_ms: 2_000, queue_max: 16, age_bursts: 4 }
    }
}

impl Limits {
    /// The same limits, if each is in its range.
    ///
    /// # Errors
    /// [`LimitError`] names the first that is not.
    pub fn checked(self) -> Result<Self, LimitError> {
        let ranges = [
            ("burst_ms", self.burst_ms, 1_000, 600_000),
            ("prepare_ms", self.prepare_ms, 100, 10_000),
            ("vanish_ms", self.vanish_ms, 500, 60_000),
            ("queue_max", self.queue_max as u64, 0, 256),
            ("age_bursts", self.age_bursts.into(), 1, 1_000),
        ];
        match ranges.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value)) {
            Some((name, value, min, max)) => Err(LimitError { name, value, min, max }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_outside_its_range_is_named() {
        assert_eq!(Limits::default().checked(), Ok(Limits::default()));
        let check = |limits: Limits, text: &str| assert_eq!(limits.checked().unwrap_err().to_string(), text);
        check(Limits { burst_ms: 999, ..Limits::default() }, "burst_ms = 999: must be 1000 to 600000");
        check(Limits { prepare_ms: 99, ..Limits::default() }, "prepare_ms = 99: must be 100 to 10000");
        check(Limits { vanish_ms: 60_001, ..Limits::default() }, "vanish_ms = 60001: must be 500 to 60000");
        check(Limits { queue_max: 257, ..Limits::default() }, "queue_max = 257: must be 0 to 256");
        check(Limits { age_bursts: 0, ..Limits::default() }, "age_bursts = 0: must be 1 to 1000");
    }
}
