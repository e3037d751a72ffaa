//! A press of SOS, as every door makes it of what came in.

use super::frame::Press;
use crate::location::{Report, judge};
use crate::model::{InstallationId, TenantId, UserId};
use crate::token::Claims;
use crate::topic::frame::Located;

/// The most bytes of what is said with a press, or of a remark.
pub const WORDS_BYTES_MAX: usize = 1_000;

/// Who presses.
#[derive(Clone, Copy, Debug)]
pub struct Presser<'a> {
    /// The device.
    pub device: UserId,
    /// Its company.
    pub tenant: TenantId,
    /// Its nickname.
    pub name: &'a str,
    /// Presses are numbered by installation.
    pub installation: InstallationId,
}

impl<'a> From<&'a Claims> for Presser<'a> {
    fn from(claims: &'a Claims) -> Self {
        Self { device: claims.user, tenant: claims.tenant, name: &claims.name, installation: claims.installation }
    }
}

impl Presser<'_> {
    /// The press of a number, or what takes it back, with what a report that came with it says of where they are. What is wrong with that is
    /// left out and changes nothing else; words beyond [`WORDS_BYTES_MAX`] are cut off.
    pub fn press(&self, number: u64, report: Option<&Report>, words: &str, cancel: bool, arrival_ms: u64) -> Press {
        let fix = report.and_then(|report| judge(report, self.device, self.tenant, arrival_ms).ok());
        let located = fix.and_then(|fix| Some(Located::new(self.device, fix.position()?, fix.battery)));
        let end = (0..=words.len().min(WORDS_BYTES_MAX)).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
        Press {
            device: self.device.0,
            tenant: self.tenant.0,
            name: self.name.to_owned(),
            installation: self.installation.0,
            press: number,
            cancel,
            arrival_ms,
            located,
            text: words[..end].to_owned(),
        }
    }
}
