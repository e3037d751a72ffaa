//! Which devices may lie near a place.

use std::collections::BTreeSet;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use crate::location::trace::distance_m;
use crate::model::{TenantId, UserId};

/// The highest latitude that Redis takes, degrees.
const HIGHEST: f64 = 85.05;
/// Redis rounds places to less than a metre, and takes the earth for a little larger.
const MARGIN: f64 = 1.01;
const MARGIN_M: f64 = 10.0;
const METRES_A_DEGREE: f64 = 111_195.0;
/// From which latitude on it is searched from all around.
const AROUND: f64 = 80.0;
const OPERATION: &str = "ask which devices are near";

impl Redis {
    /// The devices of a tenant that lie within `radius_m` metres of a place (degrees north and east), and a few that lie a little beyond: a position
    /// may also have changed meanwhile. Costs as much as there are devices within the distance.
    pub async fn near(&self, tenant: TenantId, place: (f64, f64), radius_m: f64) -> Result<Vec<UserId>, Error> {
        let radius_m = radius_m * MARGIN + MARGIN_M;
        let centres = centres(place, radius_m);
        let mut near = BTreeSet::new();
        let mut pipeline = redis::Pipeline::new();
        for centre in &centres {
            // Whatever is within the radius of the place is within the reach of each centre.
            let reach_m = radius_m + distance_m(place, *centre) * MARGIN;
            let search = pipeline.cmd("GEOSEARCH").arg(keys::near(tenant)).arg("FROMLONLAT").arg(centre.1).arg(centre.0);
            search.arg("BYRADIUS").arg(reach_m).arg("m").arg("WITHCOORD");
        }
        let found: Vec<Vec<(u64, (f64, f64))>> = self.pipe(OPERATION, &pipeline).await?;
        let is_near = |at: (f64, f64)| distance_m(place, at) <= radius_m;
        near.extend(
            found.into_iter().flatten().filter(|(_, (longitude, latitude))| is_near((*latitude, *longitude))).map(|(device, _)| device),
        );
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::polar(tenant));
        let polar: Vec<(u64, String)> = self.command(OPERATION, command).await?;
        near.extend(polar.into_iter().filter(|(_, at)| read(at).is_some_and(is_near)).map(|(device, _)| device));
        Ok(near.into_iter().map(UserId).collect())
    }
}

/// From where to search. Redis 7.0 searches neither over the date line nor, at its highest latitudes, all the way around.
fn centres((latitude, longitude): (f64, f64), radius_m: f64) -> Vec<(f64, f64)> {
    let latitude_at = latitude.clamp(-HIGHEST, HIGHEST);
    let mut centres = vec![(latitude_at, longitude)];
    let highest = latitude.abs() + radius_m / METRES_A_DEGREE;
    if highest >= AROUND {
        centres.extend([-180.0, -90.0, 0.0, 90.0, 180.0].map(|longitude| (latitude_at, longitude)));
    } else if longitude.abs() + radius_m / METRES_A_DEGREE / highest.to_radians().cos() >= 180.0 {
        centres.push((latitude_at, 180.0_f64.copysign(-longitude)));
    }
    centres
}

/// `<latitude> <longitude>`.
fn read(place: &str) -> Option<(f64, f64)> {
    let (latitude, longitude) = place.split_once(' ')?;
    Some((latitude.parse().ok()?, longitude.parse().ok()?))
}
