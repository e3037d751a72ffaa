//! Where devices are now, as fixes say that may come late and in any order: only a newer one replaces what is known.

use std::collections::BTreeMap;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::{NEAR, POSITION};
use crate::location::Flag;
use crate::location::frame::Fix;
use crate::model::{Position, TenantId, UserId};
use crate::topic::frame::Located;

/// The most devices of one round trip.
const DEVICES: usize = 1_000;
/// The most devices one call of a script places.
const PLACED: usize = 256;

/// The newest of a device among some fixes.
#[derive(Clone, Copy, Debug)]
struct Newest {
    tenant: TenantId,
    position: Position,
    /// Percent, and when it was said.
    battery: Option<(u32, u64)>,
}

impl Redis {
    /// Notes where devices are, what their batteries say, and who of a tenant is where, as far as it is newer than what is known. Fixes that were
    /// not placed, or whose clock was ahead, say nothing of now. Returns where those are whose position changed, by device.
    pub async fn note_fixes(&self, fixes: &[Fix], shards: u32) -> Result<Vec<Located>, Error> {
        let newest: Vec<(UserId, Newest)> = newest(fixes).into_iter().collect();
        let mut moved = Vec::new();
        for devices in newest.chunks(DEVICES) {
            let mut pipeline = redis::Pipeline::with_capacity(devices.len());
            let mut tenants: BTreeMap<TenantId, Vec<(UserId, Position)>> = BTreeMap::new();
            for (device, newest) in devices {
                let Newest { tenant, position, battery } = newest;
                // A record of numbers always serialises.
                let json = serde_json::to_string(position).unwrap_or_default();
                let mut call = POSITION.call(&[&keys::live(*device, shards)]);
                call.arg(position.fix_ms).arg(json);
                match battery {
                    Some((percent, said_ms)) => call.arg(percent).arg(said_ms),
                    None => call.arg("").arg(""),
                };
                pipeline.add_command(call);
                tenants.entry(*tenant).or_default().push((*device, *position));
            }
            for (tenant, placed) in tenants {
                for placed in placed.chunks(PLACED) {
                    let mut call = NEAR.call(&[&keys::near(tenant), &keys::polar(tenant), &keys::near_at(tenant)]);
                    for (device, position) in placed {
                        call.arg(device.0).arg(position.fix_ms).arg(position.longitude).arg(position.latitude);
                    }
                    pipeline.add_command(call).ignore();
                }
            }
            let newer: Vec<u32> = self.pipe("note where devices are", &pipeline).await?;
            let newer = devices.iter().zip(newer).filter(|(_, newer)| newer & 1 != 0);
            let located =
                |(device, newest): &(UserId, Newest)| Located::new(*device, newest.position, newest.battery.map(|(percent, _)| percent));
            moved.extend(newer.map(|(placed, _)| located(placed)));
        }
        Ok(moved)
    }
}

fn newest(fixes: &[Fix]) -> BTreeMap<UserId, Newest> {
    let mut newest: BTreeMap<UserId, Newest> = BTreeMap::new();
    for fix in fixes {
        let Some(position) = fix.position().filter(|_| fix.flags & Flag::ClockAhead.bit() == 0) else { continue };
        let battery = fix.battery.map(|percent| (percent, fix.fix_ms));
        let tenant = TenantId(fix.tenant);
        let known = newest.entry(UserId(fix.device)).or_insert(Newest { tenant, position, battery });
        if position.fix_ms > known.position.fix_ms {
            (known.tenant, known.position) = (tenant, position);
        }
        if battery.is_some_and(|(_, said_ms)| known.battery.is_none_or(|(_, known_ms)| said_ms > known_ms)) {
            known.battery = battery;
        }
    }
    newest
}
