//! Where devices are and were, pure: what a report must say, how it stands on the queue, and what is made of it. No I/O, no clock.
//!
//! [`judge`] decides what of a report counts: what it lets through is a [`frame::Fix`], what it does not has a reason and a field. Positions are
//! WGS 84 degrees; [`gcj02`] says where maps of mainland China draw them. [`trace`] makes stops, gaps and fewer points of where a device was,
//! [`Export`] a file, [`fence`] what it did at geofences. [`wifi`] places who hears access points.

mod degrees;
mod export;
pub mod fence;
#[expect(missing_docs, reason = "fields of wire records are documented where their name does not say it")]
pub mod frame;
mod gcj;
mod judge;
mod report;
mod row;
pub mod trace;
pub mod wifi;

pub use degrees::Degrees;
pub use export::{Export, ExportFormat};
pub use gcj::gcj02;
pub use judge::{Flag, Judged, Refusal, address_of, address_text, judge};
pub use report::{Cell, Gps, Heard, REPORTS_MAX, Report};
pub use row::{TraceKey, TraceRow};
