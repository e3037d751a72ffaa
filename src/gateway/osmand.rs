//! What phones say of where they are: the parameters of OsmAnd, which Traccar Client speaks too, and the JSON of its newer versions.
//!
//! Sources, read on 2026-11-28: `OsmAndProtocolDecoder` of traccar/traccar, `ProtocolFormatter` of traccar/traccar-client-android. Parameters stand
//! in the query or, as a form, in the body. What is not known is passed over, as there.

use serde_json::Value as Json;
use time::format_description::well_known::Iso8601;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::refuse::{Refusal, Why};
use crate::location::{self, Gps, Report};
use crate::model::Reason;

/// Metres per second of a knot: 1,852 metres an hour.
const KNOT_MPS: f64 = 1_852.0 / 3_600.0;
/// Below, a number is seconds since 1970, up to the year 5138; from then on milliseconds, since 1973.
const SECONDS_END: u64 = 100_000_000_000;

/// A report, as somebody claims to be a phone.
#[derive(Debug)]
pub(super) struct Asked {
    /// What the phone is known by.
    pub(super) id: String,
    /// The report; or why it is none, with the field as a path in a report.
    pub(super) report: Result<Report, location::Refusal>,
    /// Somebody pressed SOS.
    pub(super) sos: bool,
}

/// The words of a report, before they are read. A field that is absent or empty was not said.
#[derive(Debug, Default)]
struct Words {
    id: Option<String>,
    timestamp: Option<String>,
    latitude: Option<String>,
    longitude: Option<String>,
    /// Metres per second.
    speed: Option<f64>,
    bearing: Option<f64>,
    altitude: Option<f64>,
    accuracy: Option<f64>,
    /// Percent.
    battery: Option<f64>,
    alarm: Option<String>,
}

/// Reads a request: its query, and its body.
pub(super) fn read(query: &str, body: &[u8]) -> Result<Asked, Refusal> {
    let mut words = Words::default();
    words.parameters(query.as_bytes());
    if body.first() == Some(&b'{') {
        words.json(&serde_json::from_slice(body).map_err(|_| Refusal::of(Why::FieldInvalid, "body"))?);
    } else {
        words.parameters(body);
    }
    let id = words.id.take().ok_or(Refusal::of(Why::FieldMissing, "id"))?;
    let sos = words.alarm.as_deref().is_some_and(|alarm| alarm.eq_ignore_ascii_case("sos"));
    Ok(Asked { id, report: words.report(), sos })
}

impl Words {
    fn parameters(&mut self, text: &[u8]) {
        for (name, value) in form_urlencoded::parse(text).filter(|(_, value)| !value.is_empty()) {
            let value = value.into_owned();
            match name.as_ref() {
                "id" | "deviceid" => self.id = Some(value),
                "timestamp" => self.timestamp = Some(value),
                "lat" => self.latitude = Some(value),
                "lon" => self.longitude = Some(value),
                "location" => {
                    let (latitude, longitude) = value.split_once(',').unwrap_or((&value, ""));
                    (self.latitude, self.longitude) = (Some(latitude.trim().to_owned()), Some(longitude.trim().to_owned()));
                }
                "speed" => self.speed = Some(number(&value) * KNOT_MPS),
                "bearing" | "heading" => self.bearing = Some(number(&value)),
                "altitude" => self.altitude = Some(number(&value)),
                "accuracy" => self.accuracy = Some(number(&value)),
                "batt" => self.battery = Some(number(&value)),
                "alarm" => self.alarm = Some(value),
                _ => {}
            }
        }
    }

    /// Speed is in metres per second here, the battery is full at 1, and what is below 0 is not known.
    fn json(&mut self, body: &Json) {
        let text = |value: &Json| match value {
            Json::String(text) if !text.is_empty() => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let location = &body["location"];
        let coords = &location["coords"];
        let known = |value: &Json| text(value).map(|value| number(&value)).filter(|value| value.is_nan() || *value >= 0.0);
        self.id = text(&body["device_id"]).or(self.id.take());
        self.timestamp = text(&location["timestamp"]);
        (self.latitude, self.longitude) = (text(&coords["latitude"]), text(&coords["longitude"]));
        (self.speed, self.bearing, self.accuracy) = (known(&coords["speed"]), known(&coords["heading"]), known(&coords["accuracy"]));
        self.altitude = text(&coords["altitude"]).map(|value| number(&value));
        self.battery = known(&location["battery"]["level"]).map(|level| level * 100.0);
        self.alarm = text(&location["alarm"]).or_else(|| text(&location["extras"]["alarm"])).or_else(|| text(&body["alarm"]));
    }

    fn report(&self) -> Result<Report, location::Refusal> {
        let gps = match (&self.latitude, &self.longitude) {
            (None, None) => None,
            (None, Some(_)) => return Err(missing("fix.latitude")),
            (Some(_), longitude) if longitude.as_ref().is_none_or(String::is_empty) => return Err(missing("fix.longitude")),
            (Some(latitude), longitude) => Some((number(latitude), longitude.as_deref().map_or(f64::NAN, number))),
        };
        let field = if gps.is_some() { "fix.time_ms" } else { "time_ms" };
        let time_ms = match &self.timestamp {
            // That it is missing is for the judge to say.
            None => 0,
            Some(text) => time_ms(text).ok_or(location::Refusal { reason: Reason::FieldInvalid, field })?,
        };
        let narrow = |value: Option<f64>| value.map(|value| value as f32);
        let gps = gps.map(|(latitude, longitude)| Gps {
            time_ms,
            latitude,
            longitude,
            accuracy_m: narrow(self.accuracy),
            altitude_m: narrow(self.altitude),
            speed_mps: narrow(self.speed),
            course_deg: narrow(self.bearing),
        });
        // What is no number is none of 0 to 100 either, and is flagged.
        let battery = self.battery.map(|percent| if percent.is_nan() { -1 } else { percent.round() as i32 });
        Ok(Report { time_ms, gps, battery, ..Report::default() })
    }
}

fn missing(field: &'static str) -> location::Refusal {
    location::Refusal { reason: Reason::FieldMissing, field }
}

/// A number; what is none becomes NaN, which lies in no range.
fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or(f64::NAN)
}

/// Seconds or milliseconds since 1970, or ISO 8601, which is UTC unless it says otherwise; in UTC milliseconds.
fn time_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        return Some(if number < SECONDS_END { number * 1_000 } else { number });
    }
    // A plus that was not escaped is a space by now: only between the date and the time one is meant.
    let iso = text.replacen(' ', if text.contains('T') { "+" } else { "T" }, 1);
    let time = OffsetDateTime::parse(&iso, &Iso8601::PARSING)
        .or_else(|_| PrimitiveDateTime::parse(&iso, &Iso8601::PARSING).map(PrimitiveDateTime::assume_utc));
    u64::try_from(time.ok()?.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_query(query: &str) -> Asked {
        read(query, b"").unwrap()
    }

    #[test]
    fn what_traccar_client_sends_is_a_report() {
        let query = "id=123456&timestamp=1377177267&lat=60.0&lon=30.0&speed=10.0&bearing=90.5&altitude=12.5&accuracy=10.0&batt=57.0";
        for asked in [of_query(query), read("", query.as_bytes()).unwrap()] {
            let report = asked.report.unwrap();
            let gps = report.gps.unwrap();
            assert_eq!((asked.id.as_str(), asked.sos, gps.time_ms, report.battery), ("123456", false, 1_377_177_267_000, Some(57)));
            assert_eq!((gps.latitude, gps.longitude, gps.speed_mps), (60.0, 30.0, Some(5.144_444_5)));
            assert_eq!((gps.course_deg, gps.altitude_m, gps.accuracy_m), (Some(90.5), Some(12.5), Some(10.0)));
        }
        assert!(of_query("id=1&alarm=sos").sos && of_query("id=1&alarm=SOS").sos && !of_query("id=1&alarm=lowBattery").sos);
    }

    #[test]
    fn what_its_newer_versions_send_is_one_too() {
        let body =
            br#"{"location":{"timestamp":"2026-11-24T03:35:23.500Z","coords":{"latitude":45.27,"longitude":13.71,"accuracy":5,"speed":-1,
            "heading":-1,"altitude":210.5},"is_moving":true,"odometer":12.5,"battery":{"level":0.57,"is_charging":false},
            "extras":{"alarm":"sos"}},"device_id":"123456"}"#;
        let asked = read("", body).unwrap();
        let report = asked.report.unwrap();
        let gps = report.gps.unwrap();
        assert_eq!((asked.id.as_str(), asked.sos, gps.time_ms, report.battery), ("123456", true, 1_795_491_323_500, Some(57)));
        assert_eq!((gps.latitude, gps.longitude, gps.accuracy_m, gps.altitude_m), (45.27, 13.71, Some(5.0), Some(210.5)));
        assert_eq!((gps.speed_mps, gps.course_deg), (None, None));
        assert_eq!(read("", b"{\"location\":").unwrap_err().field, "body");
        assert_eq!(read("", b"{}").unwrap_err().field, "id");
    }

    #[test]
    fn times_are_read_in_every_way_phones_write_them() {
        for text in ["1795491323", "1795491323000", "2026-11-24T03:35:23Z", "2026-11-24 03:35:23", "2026-11-24T04:35:23 01:00"] {
            assert_eq!(time_ms(text), Some(1_795_491_323_000), "{text}");
        }
        for text in ["", "soon", "-1", "2026-13-24T03:35:23Z", "NaN"] {
            assert_eq!(time_ms(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_field() {
        let check = |query: &str, reason: Reason, field: &str| {
            let report = of_query(query).report;
            let judged =
                report.and_then(|report| location::judge(&report, crate::model::UserId(7), crate::model::TenantId(1), 1_795_491_323_000));
            assert_eq!(judged.map(|fix| fix.fix_ms), Err(location::Refusal { reason, field: field.to_owned().leak() }), "{query}");
        };
        check("id=1&timestamp=1795491323&lat=91&lon=1", Reason::FieldInvalid, "fix.latitude");
        check("id=1&timestamp=1795491323&lat=north&lon=1", Reason::FieldInvalid, "fix.latitude");
        check("id=1&timestamp=1795491323&lat=1", Reason::FieldMissing, "fix.longitude");
        check("id=1&timestamp=1795491323&lon=1", Reason::FieldMissing, "fix.latitude");
        check("id=1&timestamp=1795491323&location=1", Reason::FieldMissing, "fix.longitude");
        check("id=1&timestamp=soon&lat=1&lon=1", Reason::FieldInvalid, "fix.time_ms");
        check("id=1&lat=1&lon=1", Reason::FieldMissing, "fix.time_ms");
        check("id=1&timestamp=1795491323", Reason::FieldMissing, "fix");
        let place = of_query("id=1&timestamp=1795491323&location=45.27,13.71&speed=fast&batt=low").report.unwrap();
        let fix = location::judge(&place, crate::model::UserId(7), crate::model::TenantId(1), 1_795_491_323_000).unwrap();
        assert_eq!((fix.latitude, fix.longitude, fix.speed_mps, fix.battery), (45.27, 13.71, None, None));
        assert_eq!(location::Flag::of(fix.flags).count(), 2);
    }
}
