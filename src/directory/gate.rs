//! What logs in, and whether it is new enough.
//!
//! An installed app upgrades itself, so the directory may insist: one that is older than the release meant for its installation gets no
//! token but what to install. Pages and tools are kept up to date by other ways and pass, and so does an app of a package without releases.

use std::fmt;

use super::login::Desk;
use super::{store_failed, unavailable};
use crate::model::{InstallationId, Reason};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::retry::ErrorClass;
use crate::store::Release;

/// The longest name of a package, in characters.
const PACKAGE_CHARACTERS_MAX: usize = 200;
/// The longest text of an app in a login record, in characters.
const RECORD_CHARACTERS_MAX: usize = 64;

/// What logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum App {
    /// An installed app.
    Device { package: String, version_code: u64 },
    /// A page in a browser.
    Web,
    /// A program that is updated by other ways.
    Tool,
}

impl App {
    /// Reads what an app says of itself.
    ///
    /// # Errors
    /// `field_missing` and `field_invalid`, with the field.
    pub(super) fn of(app: Option<v1::App>) -> Result<Self, Refused> {
        let refused = |reason, field: &'static str| Err(Refused::new(reason).field(field));
        let app = app.unwrap_or_default();
        match app.kind() {
            v1::AppKind::Unspecified => refused(Reason::FieldMissing, "app.kind"),
            v1::AppKind::Web => Ok(Self::Web),
            v1::AppKind::Tool => Ok(Self::Tool),
            v1::AppKind::Device if app.version_code == 0 => refused(Reason::FieldMissing, "app.version_code"),
            v1::AppKind::Device => match app.package.chars().count() {
                0 => refused(Reason::FieldMissing, "app.package"),
                1..=PACKAGE_CHARACTERS_MAX => Ok(Self::Device { package: app.package, version_code: app.version_code }),
                _ => refused(Reason::FieldInvalid, "app.package"),
            },
        }
    }
}

impl fmt::Display for App {
    /// As a login record has it: `org.example.radio 12`, `web`, `tool`. A long package is cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { package, version_code } => {
                let code = version_code.to_string();
                let package: String = package.chars().take(RECORD_CHARACTERS_MAX - 1 - code.len()).collect();
                write!(f, "{package} {code}")
            }
            Self::Web => f.write_str("web"),
            Self::Tool => f.write_str("tool"),
        }
    }
}

impl Desk {
    /// What an installation must upgrade its app to before it gets a token.
    pub(super) async fn upgrade(&self, app: &App, installation: InstallationId) -> Result<Option<v1::Upgrade>, Refused> {
        let App::Device { package, version_code } = app else { return Ok(None) };
        if self.releases_url.is_empty() {
            return Ok(None);
        }
        match self.newest(package, installation).await? {
            Some(release) if release.version_code > *version_code => upgrade_to(&self.releases_url, release).map(Some),
            _ => Ok(None),
        }
    }

    /// The release of a package that is meant for an installation.
    async fn newest(&self, package: &str, installation: InstallationId) -> Result<Option<Release>, Refused> {
        self.store.release_for(package, installation).await.map_err(store_failed)
    }
}

fn upgrade_to(releases_url: &str, release: Release) -> Result<v1::Upgrade, Refused> {
    let Release { package, version_code, version_name, bytes, sha256, signature, .. } = release;
    let signature = hex::decode(signature).map_err(|error| unavailable("tell of a release", ErrorClass::Defect, &error))?;
    let url = format!("{}/releases/{package}/{version_code}.apk", releases_url.trim_end_matches('/'));
    Ok(v1::Upgrade { package, version_code, version_name, url, bytes, sha256: sha256.0.to_vec().into(), signature: signature.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(package: &str, version_code: u64) -> Option<v1::App> {
        Some(v1::App { kind: v1::AppKind::Device.into(), package: package.to_owned(), version_code })
    }

    #[test]
    fn what_an_app_does_not_say_is_named() {
        let check = |app, reason, field: &'static str| assert_eq!(App::of(app), Err(Refused::new(reason).field(field)));
        check(None, Reason::FieldMissing, "app.kind");
        check(Some(v1::App { kind: 9, ..v1::App::default() }), Reason::FieldMissing, "app.kind");
        check(device("", 1), Reason::FieldMissing, "app.package");
        check(device("org.example.radio", 0), Reason::FieldMissing, "app.version_code");
        check(device(&"x".repeat(201), 1), Reason::FieldInvalid, "app.package");
        assert!(App::of(device(&"é".repeat(200), 1)).is_ok());
        assert_eq!(App::of(Some(v1::App { kind: v1::AppKind::Web.into(), ..v1::App::default() })), Ok(App::Web));
    }

    #[test]
    fn a_record_has_the_version_of_however_long_a_package() {
        assert_eq!(App::of(device("org.example.radio", 12)).unwrap().to_string(), "org.example.radio 12");
        let long = App::of(device(&"é".repeat(200), u64::MAX)).unwrap().to_string();
        assert_eq!((long.chars().count(), long.ends_with(" 18446744073709551615")), (64, true));
        assert_eq!((App::Web.to_string(), App::Tool.to_string()), ("web".to_owned(), "tool".to_owned()));
    }
}
