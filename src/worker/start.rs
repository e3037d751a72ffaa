//! How a program begins: it waits for its servers, and says for which.

use std::future::Future;

use super::job::{Classed, chain};
use super::readiness::Part;
use crate::retry::{Delays, ErrorClass};
use crate::shutdown::Shutdown;

/// Tries until it succeeds, fails for good, or it is time to stop (`None`). What it waits for is said by `part`, which does not go on by itself: there may
/// be more to wait for; and once in the log for each way in which it fails.
///
/// # Errors
/// What trying again would not mend.
pub async fn wait_for<T, E, F>(what: &'static str, part: &Part, shutdown: &Shutdown, mut attempt: impl FnMut() -> F) -> Result<Option<T>, E>
where
    E: Classed,
    F: Future<Output = Result<T, E>>,
{
    let mut delays = Delays::reconnecting();
    let mut said = String::new();
    loop {
        match attempt().await {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.class() == ErrorClass::Transient => {
                part.waits_for(what);
                let error = chain(&error);
                if error != said {
                    tracing::warn!(error, "waits for {what}");
                    said = error;
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(delays.next_delay()) => {}
        }
    }
}
