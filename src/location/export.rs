//! Traces as files, written piece by piece: a trace of years fits.

use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use xml::writer::{EmitterConfig, EventWriter, XmlEvent};

use super::row::TraceRow;
use super::trace::Stop;
use crate::model::PositionSource;

const GPX: &str = "http://www.topografix.com/GPX/1/1";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// GPX 1.1: a track for each device; a new segment behind each gap. It has no word for stops.
    Gpx,
    /// GeoJSON (RFC 7946): a point for each fix and each stop. Points and no line: one alone is good too, and nothing is cut at the date line.
    GeoJson,
}

/// A file in the making: [`Export::device`], then its pages, and so on for each device, and [`Export::end`]. What is ready is taken any time.
pub struct Export(Writer);

enum Writer {
    /// The device that is being told, if one is.
    Gpx { xml: Box<EventWriter<Vec<u8>>>, open: Option<u64> },
    /// The device, and whether something stands in the list.
    GeoJson { bytes: Vec<u8>, device: (u64, String), listed: bool },
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").finish_non_exhaustive()
    }
}

impl Export {
    /// A file that begins.
    pub fn new(format: ExportFormat) -> Self {
        match format {
            ExportFormat::Gpx => {
                let xml = EmitterConfig::new().perform_indent(true).create_writer(Vec::new());
                let mut writer = Writer::Gpx { xml: Box::new(xml), open: None };
                writer.emit(XmlEvent::start_element("gpx").attr("version", "1.1").attr("creator", "roger").default_ns(GPX));
                Self(writer)
            }
            ExportFormat::GeoJson => Self(Writer::GeoJson {
                bytes: br#"{"type":"FeatureCollection","features":["#.to_vec(),
                device: (0, String::new()),
                listed: false,
            }),
        }
    }

    /// A device begins, the one before ends.
    pub fn device(&mut self, id: u64, name: &str) {
        self.0.end_device();
        // XML has no way to write these.
        let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
        match &mut self.0 {
            Writer::Gpx { open, .. } => *open = Some(id),
            Writer::GeoJson { device, .. } => *device = (id, name.clone()),
        }
        self.0.emit(XmlEvent::start_element("trk"));
        self.0.text("name", &name);
        self.0.emit(XmlEvent::start_element("trkseg"));
    }

    /// Fixes of the device in the order of time, with the times of the fixes behind which a gap ends.
    pub fn page(&mut self, rows: &[TraceRow], gaps: &[u64], stops: &[Stop]) {
        let mut gaps = gaps.iter().copied().peekable();
        for row in rows {
            if gaps.next_if(|ends_ms| *ends_ms <= row.key.fix_ms).is_some() {
                while gaps.next_if(|ends_ms| *ends_ms <= row.key.fix_ms).is_some() {}
                self.0.emit(XmlEvent::end_element());
                self.0.emit(XmlEvent::start_element("trkseg"));
            }
            self.0.fix(row);
        }
        stops.iter().for_each(|stop| self.0.stop(*stop));
    }

    /// The file ends.
    pub fn end(&mut self) {
        self.0.end_device();
        self.0.emit(XmlEvent::end_element());
        match &mut self.0 {
            Writer::Gpx { xml, .. } => xml.inner_mut().push(b'\n'),
            Writer::GeoJson { bytes, .. } => bytes.extend_from_slice(b"]}\n"),
        }
    }

    /// What is ready since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Writer::Gpx { xml, .. } => std::mem::take(xml.inner_mut()),
            Writer::GeoJson { bytes, .. } => std::mem::take(bytes),
        }
    }
}

impl Writer {
    /// Does nothing to what is no XML.
    fn emit<'a>(&mut self, event: impl Into<XmlEvent<'a>>) {
        if let Self::Gpx { xml, .. } = self {
            // A Vec takes everything, and the order of the elements is this file's.
            let written = xml.write(event.into());
            debug_assert!(written.is_ok(), "{written:?}");
        }
    }

    fn text(&mut self, element: &str, text: &str) {
        self.emit(XmlEvent::start_element(element));
        self.emit(XmlEvent::characters(text));
        self.emit(XmlEvent::end_element());
    }

    fn end_device(&mut self) {
        if let Self::Gpx { open, .. } = self
            && open.take().is_some()
        {
            self.emit(XmlEvent::end_element());
            self.emit(XmlEvent::end_element());
        }
    }

    fn fix(&mut self, row: &TraceRow) {
        match self {
            Self::Gpx { .. } => {
                let (latitude, longitude) = (row.latitude.to_string(), row.longitude.to_string());
                self.emit(XmlEvent::start_element("trkpt").attr("lat", &latitude).attr("lon", &longitude));
                if let Some(altitude_m) = row.altitude_m {
                    self.text("ele", &altitude_m.to_string());
                }
                self.text("time", &rfc3339(row.key.fix_ms));
                self.emit(XmlEvent::end_element());
            }
            Self::GeoJson { device, .. } => {
                let properties = json!({
                    "device_id": device.0,
                    "device": device.1,
                    "time": rfc3339(row.key.fix_ms),
                    "fix_ms": row.key.fix_ms,
                    "arrival_ms": row.arrival_ms,
                    "source": match row.key.source { PositionSource::Gps => "gps", PositionSource::Wifi => "wifi" },
                    "accuracy_m": row.accuracy_m,
                    "speed_mps": row.speed_mps,
                    "course_deg": row.course_deg,
                    "battery_percent": row.battery,
                    "group_id": row.group.0,
                    "flags": row.flags,
                });
                let mut place = vec![row.longitude, row.latitude];
                place.extend(row.altitude_m.map(f64::from));
                self.feature(&json!(place), &properties);
            }
        }
    }

    fn stop(&mut self, stop: Stop) {
        if let Self::GeoJson { device, .. } = self {
            let Stop { from_ms, to_ms, latitude, longitude } = stop;
            let (from, to) = (rfc3339(from_ms), rfc3339(to_ms));
            let properties = json!({ "device_id": device.0, "device": device.1, "stop": true, "from": from, "to": to });
            self.feature(&json!([longitude, latitude]), &properties);
        }
    }

    fn feature(&mut self, coordinates: &Json, properties: &Json) {
        let Self::GeoJson { bytes, listed, .. } = self else { return };
        if std::mem::replace(listed, true) {
            bytes.extend_from_slice(b",\n");
        }
        let geometry = json!({ "type": "Point", "coordinates": coordinates });
        bytes.extend(json!({ "type": "Feature", "geometry": geometry, "properties": properties }).to_string().bytes());
    }
}

/// A time of a fix, which is below the year 2100.
fn rfc3339(time_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::TraceKey;
    use crate::model::{GroupId, UserId};

    fn row(fix_ms: u64, latitude: f64) -> TraceRow {
        let key = TraceKey { fix_ms, device: UserId(7), source: PositionSource::Gps };
        TraceRow {
            key,
            arrival_ms: fix_ms + 1,
            latitude,
            longitude: -13.000_000_000_1,
            accuracy_m: None,
            altitude_m: Some(7.5),
            speed_mps: None,
            course_deg: None,
            battery: None,
            group: GroupId(0),
            flags: 0,
        }
    }

    /// Two devices, the first one in two pages with a gap between them.
    fn file(format: ExportFormat) -> Vec<u8> {
        let mut export = Export::new(format);
        export.device(7, "a <radio> & \u{1}more");
        export.page(&[row(1_000, 45.0), row(2_500, 45.5)], &[], &[]);
        let mut file = export.take();
        export.page(&[row(90_000, 46.0)], &[90_000], &[Stop { from_ms: 1, to_ms: 2, latitude: 1.0, longitude: 2.0 }]);
        export.device(8, "none");
        export.end();
        file.extend(export.take());
        file
    }

    #[test]
    fn gpx_reads_back_as_it_was() {
        let gpx = gpx::read(&file(ExportFormat::Gpx)[..]).unwrap();
        assert_eq!(gpx.tracks.iter().map(|track| track.name.as_deref().unwrap()).collect::<Vec<_>>(), ["a <radio> & more", "none"]);
        let segments = &gpx.tracks[0].segments;
        assert_eq!(segments.iter().map(|segment| segment.points.len()).collect::<Vec<_>>(), [2, 1]);
        let point = &segments[0].points[1];
        assert_eq!((point.point().y(), point.point().x(), point.elevation), (45.5, -13.000_000_000_1, Some(7.5)));
        assert_eq!(point.time.unwrap().format().unwrap(), "1970-01-01T00:00:02.500000000Z");
        assert!(gpx.tracks[1].segments.iter().all(|segment| segment.points.is_empty()));
    }

    #[test]
    fn geojson_has_every_fix_and_every_stop() {
        let json: Json = serde_json::from_slice(&file(ExportFormat::GeoJson)).unwrap();
        let features = json["features"].as_array().unwrap();
        assert_eq!(features.len(), 4);
        assert_eq!(features[0]["geometry"]["coordinates"], json!([-13.000_000_000_1, 45.0, 7.5]));
        assert_eq!((&features[0]["properties"]["fix_ms"], &features[3]["properties"]["stop"]), (&json!(1_000), &json!(true)));
        let empty = {
            let mut export = Export::new(ExportFormat::GeoJson);
            export.end();
            export.take()
        };
        assert_eq!(serde_json::from_slice::<Json>(&empty).unwrap()["features"], json!([]));
    }
}
