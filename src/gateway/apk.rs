//! What an APK says of itself: package, version, and who signed it.
//!
//! Read lazily: the central directory, the manifest and the signing block, and nothing else. The signing block is read, not verified:
//! that is for the device that installs it. What makes a file trustworthy here is the signature of the release key.

use std::fs::File;

use apk_info_axml::AXML;
use apk_info_zip::{CertificateInfo, Signature, ZipEntry};

use super::refuse::Why;
use crate::model::Digest;

const MANIFEST: &str = "AndroidManifest.xml";
/// The largest manifest, and the largest in its compressed form, which bounds what a false length can cost.
const MANIFEST_BYTES_MAX: u64 = 4 * 1_048_576;
const MANIFEST_COMPRESSED_MAX: u64 = 262_144;
/// The longest name of a package or version, in characters.
const NAME_CHARACTERS_MAX: usize = 255;

/// What an APK says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Apk {
    pub(super) package: String,
    /// `versionCode`, and above its 32 bits `versionCodeMajor`; at least 1.
    pub(super) version_code: u64,
    /// Empty when it has none, or a reference to a resource.
    pub(super) version_name: String,
    /// SHA-256 of the certificate.
    pub(super) certificate: Digest,
}

impl Apk {
    /// Of a file. Blocks the thread.
    pub(super) fn read(file: File) -> Result<Self, Why> {
        let zip = ZipEntry::from_reader(file).map_err(|_| Why::NotAnApk)?;
        let manifest = zip.entry_info(MANIFEST).ok_or(Why::NotAnApk)?;
        if manifest.uncompressed_size > MANIFEST_BYTES_MAX || manifest.compressed_size > MANIFEST_COMPRESSED_MAX {
            return Err(Why::NotAnApk);
        }
        let (bytes, _) = zip.read(MANIFEST).map_err(|_| Why::NotAnApk)?;
        let manifest = AXML::new(&mut bytes.as_slice(), None).map_err(|_| Why::NotAnApk)?;
        let attribute = |name: &str| manifest.get_attribute_value("manifest", name, None);
        let number = |name: &str| attribute(name).map_or(Ok(0), |text| text.parse::<u32>().map_err(|_| Why::NotAnApk));

        let package = attribute("package").filter(|package| is_package(package)).ok_or(Why::NotAnApk)?;
        let version_code = u64::from(number("versionCodeMajor")?) << 32 | u64::from(number("versionCode")?);
        // Signed, in SQL as on Android.
        if version_code == 0 || i64::try_from(version_code).is_err() {
            return Err(Why::NotAnApk);
        }
        let version_name = attribute("versionName").filter(|name| !name.starts_with('@')).unwrap_or_default();
        let version_name = version_name.chars().filter(|c| !c.is_control()).take(NAME_CHARACTERS_MAX).collect();
        Ok(Self { package, version_code, version_name, certificate: certificate(&zip)? })
    }
}

/// Letters, digits, underscores and dots: it becomes part of URLs.
pub(super) fn is_package(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    (1..=NAME_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(known) && !text.split('.').any(str::is_empty)
}

/// The certificate that all signing schemes of the file agree on.
fn certificate(zip: &ZipEntry) -> Result<Digest, Why> {
    let signatures = zip.get_signatures_other().map_err(|_| Why::NotSigned)?;
    let mut found: Option<Digest> = None;
    for signature in signatures {
        let (Signature::V2(certificates) | Signature::V3(certificates)) = signature else { continue };
        // With several signers Android compares sets; nobody who rotates keys needs that here.
        let [CertificateInfo { sha256_fingerprint, .. }] = certificates.as_slice() else { return Err(Why::NotSigned) };
        let digest = sha256_fingerprint.to_lowercase().parse().map_err(|_| Why::NotSigned)?;
        if found.replace(digest).is_some_and(|other| other != digest) {
            return Err(Why::NotSigned);
        }
    }
    found.ok_or(Why::NotSigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_part_of_a_url() {
        for good in ["org.example.radio", "a", "a_b.C9"] {
            assert!(is_package(good), "{good}");
        }
        for bad in ["", ".", "a..b", ".a", "a.", "a/b", "a b", "é", "../etc", &"a".repeat(256)] {
            assert!(!is_package(bad), "{bad}");
        }
    }
}
