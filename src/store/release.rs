//! Releases of the app: which there are, and whom each is for. Their bytes are objects, which never change.

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;
use xxhash_rust::xxh3::xxh3_64;

use super::conn::{Conn, Value, values};
use super::directory::{Noted, lock_counter, next_numbers, note};
use super::{Error, Store};
use crate::model::{Digest, InstallationId, ReleaseId};

/// A release of an app.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Release {
    /// From 1, in the order of uploads.
    pub id: ReleaseId,
    /// The Android package, as `org.example.radio`.
    pub package: String,
    /// Rises with each release of the package.
    pub version_code: u64,
    /// What people call the version; may be empty.
    pub version_name: String,
    /// The length of the APK.
    pub bytes: u64,
    /// Of the APK. Also where it lies: `releases/<sha256>`.
    pub sha256: Digest,
    /// Ed25519 by the release key, 128 hexadecimal digits; see [`crate::token::ReleaseVerifier`].
    pub signature: String,
    /// SHA-256 of the certificate that the APK is signed with: the same for all releases of a package.
    pub certificate: Digest,
    /// How many of a hundred installations it is for.
    pub percent: u8,
    /// For nobody, until it is resumed.
    pub halted: bool,
    /// When it was uploaded, UTC milliseconds.
    pub created_ms: u64,
}

impl Release {
    /// Whether it is meant for an installation. The same at each call, and with a higher percentage only more are reached.
    pub fn reaches(&self, installation: InstallationId) -> bool {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[8..].copy_from_slice(&installation.0.to_le_bytes());
        !self.halted && xxh3_64(&bytes) % 100 < u64::from(self.percent)
    }
}

/// A release about to be added. Nobody gets it until it is staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRelease {
    /// 1 to 255 characters.
    pub package: String,
    /// At least 1.
    pub version_code: u64,
    /// At most 255 characters.
    pub version_name: String,
    /// The length of the APK.
    pub bytes: u64,
    /// Of the APK.
    pub sha256: Digest,
    /// 128 hexadecimal digits.
    pub signature: String,
    /// SHA-256 of the signing certificate.
    pub certificate: Digest,
}

/// What became of a release that was to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseAdded {
    /// It is there, at 0 percent.
    Added(Release),
    /// The package has this release, which is as new or newer.
    NotNewer(Release),
    /// The package's releases are signed with this certificate.
    OtherCertificate(Digest),
}

/// A change of whom a release is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseChange {
    /// So many of a hundred installations, 0 to 100; more count as 100.
    Stage(u8),
    /// Nobody: those it was for are told the release before it.
    Halt,
    /// Those again that it was for.
    Resume,
}

type ReleaseRow = (i64, String, i64, String, i64, String, String, String, i64, i64, i64);

const COLUMNS: &str = "id, package, version_code, version_name, bytes, sha256, signature, certificate, percent, halted, created_ms";

/// The most releases of a package that are looked at for an installation, from the newest: staged ones overlap by two or three.
const LOOK_BACK: u32 = 100;

impl Store {
    /// What [`Store::add_release`] would refuse of this package, version and certificate, without adding anything.
    pub async fn judge_release(&self, package: &str, version_code: u64, certificate: Digest) -> Result<Option<ReleaseAdded>, Error> {
        let package = package.to_owned();
        self.read(format!("judge release {version_code} of {package}"), move |conn| {
            Box::pin(async move { judge(conn, &package, version_code, certificate).await })
        })
        .await
    }

    /// Adds a release whose object is in its place. Of two at a time for one package the second is judged by the first.
    pub async fn add_release(&self, release: NewRelease, now_ms: u64) -> Result<ReleaseAdded, Error> {
        self.write(format!("add release {} of {}", release.version_code, release.package), move |conn| {
            Box::pin(async move {
                lock_counter(conn, "app_release").await?;
                let NewRelease { package, version_code, version_name, bytes, sha256, signature, certificate } = release;
                if let Some(refused) = judge(conn, &package, version_code, certificate).await? {
                    return Ok(refused);
                }
                let id = next_numbers(conn, "app_release", 1).await?;
                let (sha256_text, certificate_text) = (sha256.to_string(), certificate.to_string());
                let sql = format!("INSERT INTO app_release ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?)");
                let values = values![
                    id,
                    package.as_str(),
                    version_code,
                    version_name.as_str(),
                    bytes,
                    sha256_text.as_str(),
                    signature.as_str(),
                    certificate_text.as_str(),
                    now_ms,
                ];
                conn.execute(AssertSqlSafe(sql), values).await?;
                let after = json!({ "package": package, "version_code": version_code, "sha256": sha256, "certificate": certificate });
                note(conn, Noted { what: "release.added", subject: format!("release:{id}"), before: Json::Null, after }).await?;
                Ok(ReleaseAdded::Added(Release {
                    id: ReleaseId(id),
                    package,
                    version_code,
                    version_name,
                    bytes,
                    sha256,
                    signature,
                    certificate,
                    percent: 0,
                    halted: false,
                    created_ms: now_ms,
                }))
            })
        })
        .await
    }

    /// What an installation should run of a package: the newest release that is not halted and reaches it. `None` when there is none, or
    /// no such package.
    pub async fn release_for(&self, package: &str, installation: InstallationId) -> Result<Option<Release>, Error> {
        let package = package.to_owned();
        self.read(format!("release of {package} for installation {installation}"), move |conn| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT {COLUMNS} FROM app_release WHERE package = ? AND halted = 0 AND percent > 0 ORDER BY version_code DESC LIMIT ?"
                );
                let rows: Vec<ReleaseRow> = conn.all(AssertSqlSafe(sql), values![package.as_str(), LOOK_BACK]).await?;
                for row in rows {
                    let release = release_of(conn, row)?;
                    if release.reaches(installation) {
                        return Ok(Some(release));
                    }
                }
                Ok(None)
            })
        })
        .await
    }

    /// The release of a package with this version code, halted or not.
    pub async fn release(&self, package: &str, version_code: u64) -> Result<Option<Release>, Error> {
        let package = package.to_owned();
        self.read(format!("release {version_code} of {package}"), move |conn| {
            Box::pin(async move {
                let sql = format!("SELECT {COLUMNS} FROM app_release WHERE package = ? AND version_code = ?");
                let row: Option<ReleaseRow> = conn.first(AssertSqlSafe(sql), values![package.as_str(), version_code]).await?;
                row.map(|row| release_of(conn, row)).transpose()
            })
        })
        .await
    }

    /// Releases, of a package or of all, the newest first, at most `limit`.
    pub async fn releases(&self, package: Option<&str>, limit: u32) -> Result<Vec<Release>, Error> {
        let package = package.map(str::to_owned);
        self.read("list releases".to_owned(), move |conn| {
            Box::pin(async move {
                let mut bound: Vec<Value<'_>> = Vec::new();
                let filter = package.as_ref().map_or("", |package| {
                    bound.push(package.as_str().into());
                    "WHERE package = ?"
                });
                bound.push(limit.into());
                let sql = format!("SELECT {COLUMNS} FROM app_release {filter} ORDER BY id DESC LIMIT ?");
                let rows: Vec<ReleaseRow> = conn.all(AssertSqlSafe(sql), &bound).await?;
                rows.into_iter().map(|row| release_of(conn, row)).collect()
            })
        })
        .await
    }

    /// Changes whom a release is for; what it was like before, or `None` when there is no such release.
    pub async fn change_release(&self, release: ReleaseId, change: ReleaseChange) -> Result<Option<Release>, Error> {
        self.write(format!("change release {release}: {change:?}"), move |conn| {
            Box::pin(async move {
                conn.execute("UPDATE app_release SET halted = halted WHERE id = ?", values![release.0]).await?;
                let sql = format!("SELECT {COLUMNS} FROM app_release WHERE id = ?");
                let Some(row) = conn.first::<ReleaseRow>(AssertSqlSafe(sql), values![release.0]).await? else { return Ok(None) };
                let before = release_of(conn, row)?;
                let (what, percent, halted) = match change {
                    ReleaseChange::Stage(percent) => ("release.staged", percent.min(100), before.halted),
                    ReleaseChange::Halt => ("release.halted", before.percent, true),
                    ReleaseChange::Resume => ("release.resumed", before.percent, false),
                };
                if (percent, halted) == (before.percent, before.halted) {
                    return Ok(Some(before));
                }
                let sql = "UPDATE app_release SET percent = ?, halted = ? WHERE id = ?";
                conn.execute(sql, values![u32::from(percent), halted, release.0]).await?;
                let state = |percent: u8, halted: bool| {
                    let (package, version_code) = (&before.package, before.version_code);
                    json!({ "package": package, "version_code": version_code, "percent": percent, "halted": halted })
                };
                let (was, is) = (state(before.percent, before.halted), state(percent, halted));
                note(conn, Noted { what, subject: format!("release:{release}"), before: was, after: is }).await?;
                Ok(Some(before))
            })
        })
        .await
    }
}

/// Why a release would be refused.
async fn judge(conn: &mut Conn, package: &str, version_code: u64, certificate: Digest) -> Result<Option<ReleaseAdded>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM app_release WHERE package = ? ORDER BY version_code DESC LIMIT 1");
    let Some(row) = conn.first::<ReleaseRow>(AssertSqlSafe(sql), values![package]).await? else { return Ok(None) };
    let newest = release_of(conn, row)?;
    Ok(if newest.certificate != certificate {
        Some(ReleaseAdded::OtherCertificate(newest.certificate))
    } else if newest.version_code >= version_code {
        Some(ReleaseAdded::NotNewer(newest))
    } else {
        None
    })
}

fn release_of(conn: &Conn, row: ReleaseRow) -> Result<Release, Error> {
    let (id, package, version_code, version_name, bytes, sha256, signature, certificate, percent, halted, created_ms) = row;
    let digest = |column, text: &str| text.parse::<Digest>().map_err(|source| conn.unreadable(column, source));
    Ok(Release {
        id: ReleaseId(id.cast_unsigned()),
        package,
        version_code: version_code.cast_unsigned(),
        version_name,
        bytes: bytes.cast_unsigned(),
        sha256: digest("app_release.sha256", &sha256)?,
        signature,
        certificate: digest("app_release.certificate", &certificate)?,
        percent: u8::try_from(percent).map_err(|source| conn.unreadable("app_release.percent", source))?,
        halted: halted != 0,
        created_ms: created_ms.cast_unsigned(),
    })
}
