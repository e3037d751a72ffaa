//! What an error means for whoever might try again.

/// What an error means for whoever might try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The same call may succeed later: try again with backoff.
    Transient,
    /// It fails again until somebody changes the input or the configuration.
    Permanent,
    /// The program, or what it wrote before, is wrong.
    Defect,
}
