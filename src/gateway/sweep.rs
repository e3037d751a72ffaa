//! Removes files whose time is over, and the objects that nothing refers to any more.
//!
//! First the rows, then the objects: whoever downloads one goes on with what was opened, and an upload of the same content stores it anew
//! under another key. Any number of gateways, and `roger file sweep`, may do it at the same time.

use std::error::Error as StdError;
use std::time::Duration;

use crate::clock::Clock;
use crate::objects::Objects;
use crate::shutdown::Shutdown;
use crate::store::{self, SWEEP_FILES_MAX, Store};

/// How often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// The most objects of one sweep; what is more goes with the next.
const OBJECTS_MAX: u32 = 1_000;

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Files whose time was over.
    pub files: u64,
    /// Objects that nothing referred to.
    pub objects: u64,
    /// Objects that could not be removed; the next sweep tries again.
    pub failed: u64,
}

/// Sweeps once.
pub(super) async fn sweep(store: &Store, objects: &Objects, now_ms: u64) -> Result<Swept, store::Error> {
    let mut swept = Swept::default();
    loop {
        let files = store.expire_files(now_ms).await?;
        swept.files += u64::from(files);
        if files < SWEEP_FILES_MAX {
            break;
        }
    }
    for object in store.stray_objects(now_ms, OBJECTS_MAX).await? {
        if let Err(error) = objects.delete(&object).await {
            tracing::warn!(error = &error as &dyn StdError, object, "object not removed");
            swept.failed += 1;
            continue;
        }
        store.forget_object(&object).await?;
        swept.objects += 1;
    }
    Ok(swept)
}

/// Sweeps until `shutdown`.
pub(super) async fn sweeping(store: &Store, objects: &Objects, clock: &Clock, shutdown: &Shutdown) {
    while !shutdown.is_cancelled() {
        match sweep(store, objects, clock.now_ms()).await {
            Ok(swept) if swept != Swept::default() => {
                let Swept { files, objects, failed } = swept;
                tracing::info!(files, objects, failed, "swept");
            }
            Ok(_) => {}
            // What stays this time goes the next.
            Err(error) => tracing::debug!(error = &error as &dyn StdError, "not swept"),
        }
        tokio::select! {
            () = clock.sleep(SWEEP_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
