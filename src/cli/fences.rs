//! `roger fence`: areas at which it is told what devices do.

use serde_json::json;

use super::args;
use super::context::{Context, user_of};
use super::error::Error;
use super::output::table;
use crate::location::fence::{Fence, Shape};
use crate::model::FenceId;
use crate::store::FENCES_MAX;

pub(super) async fn fence(context: &Context, command: args::Fence) -> Result<(), Error> {
    let store = context.store()?;
    store.migrate().await?;
    match command {
        args::Fence::Add(args) => {
            let owner = user_of(&store, &args.account).await?;
            let changes = args.id != 0;
            let (name, of) = (args.name.clone(), args.account.clone());
            let id = store.put_fence(owner, wanted(args)).await?;
            context.out.answer(&json!({ "fence_id": id, "account": of, "name": name }), |_| {
                let done = if changes { "is changed" } else { "is added" };
                format!("Geofence {id} of {of}, {name:?}, {done}.")
            });
        }
        args::Fence::List { account: name } => {
            let fences = store.fences(user_of(&store, &name).await?, FenceId(0), FENCES_MAX as u32).await?;
            context.out.answer(&fences, |fences| list_text(fences));
        }
        args::Fence::Remove { account: name, id } => {
            let id = FenceId(id);
            store.delete_fence(user_of(&store, &name).await?, id).await?;
            context.out.answer(&json!({ "fence_id": id, "account": name }), |_| format!("Geofence {id} of {name} is no more."));
        }
    }
    Ok(())
}

fn wanted(args: args::NewFence) -> Fence {
    let args::NewFence { account: _, name, id, circle, corners, enter, leave, stay } = args;
    let shape = match circle {
        Some((latitude, longitude, radius_m)) => Shape::Circle { latitude, longitude, radius_m },
        None => Shape::Polygon(corners),
    };
    let stay_ms = stay.map_or(0, |stay| u64::try_from(stay.as_millis()).unwrap_or(u64::MAX));
    Fence { id: FenceId(id), name, shape, enter, leave, stay_ms }
}

fn list_text(fences: &[Fence]) -> String {
    if fences.is_empty() {
        return "No geofences.".to_owned();
    }
    let row = |fence: &Fence| {
        let place = match &fence.shape {
            Shape::Circle { latitude, longitude, radius_m } => format!("{radius_m} m around {latitude:.6},{longitude:.6}"),
            Shape::Polygon(corners) => {
                let (latitude, longitude) = corners.first().copied().unwrap_or_default();
                format!("{} corners from {latitude:.6},{longitude:.6}", corners.len())
            }
        };
        let stay = (fence.stay_ms > 0).then(|| format!("stay {} s", fence.stay_ms as f64 / 1_000.0));
        let told = [fence.enter.then(|| "enter".to_owned()), fence.leave.then(|| "leave".to_owned()), stay];
        [fence.id.to_string(), fence.name.clone(), place, told.into_iter().flatten().collect::<Vec<_>>().join(", ")]
    };
    table(&["FENCE", "NAME", "WHERE", "TOLD"], fences.iter().map(row))
}
