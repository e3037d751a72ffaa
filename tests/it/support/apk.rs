//! Real APKs: aapt compiles the manifest, apksigner signs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::process::run;

const FRAMEWORK: &str = "/usr/share/android-framework-res/framework-res.apk";

/// An APK to be built.
#[derive(Clone, Copy, Debug)]
pub struct ApkSpec<'a> {
    pub package: &'a str,
    pub version_code: u32,
    /// Which of the test's keys signs it: `crew`, `stranger`; `None` for an unsigned one.
    pub key: Option<&'a str>,
    /// The length of an asset that does not compress.
    pub payload_bytes: usize,
}

impl ApkSpec<'_> {
    /// Builds it; its bytes.
    pub fn build(self) -> Vec<u8> {
        let Self { package, version_code, key, payload_bytes } = self;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let manifest = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <manifest xmlns:android=\"http://schemas.android.com/apk/res/android\" package=\"{package}\"\n\
               android:versionCode=\"{version_code}\" android:versionName=\"1.{version_code}\">\n\
             <uses-sdk android:minSdkVersion=\"24\" android:targetSdkVersion=\"28\"/>\n\
             <application android:label=\"Radio\" android:hasCode=\"false\"/>\n\
             </manifest>\n"
        );
        fs::write(at("AndroidManifest.xml"), manifest).unwrap();
        fs::create_dir(at("assets")).unwrap();
        fs::write(at("assets/payload"), noise(payload_bytes, version_code)).unwrap();
        assert!(Path::new(FRAMEWORK).exists(), "{FRAMEWORK} is missing; it is in the Debian package android-framework-res: scripts/setup");
        let (unsigned, assets, xml) = (at("unsigned.apk"), at("assets"), at("AndroidManifest.xml"));
        run("aapt", "aapt", &["package", "-f", "-0", "", "-M", &xml, "-A", &assets, "-I", FRAMEWORK, "-F", &unsigned]);
        let Some(key) = key else { return fs::read(unsigned).unwrap() };
        let (store, signed) = (keystore(key).display().to_string(), at("signed.apk"));
        run("apksigner", "apksigner", &["sign", "--ks", &store, "--ks-pass", "pass:secret", "--out", &signed, &unsigned]);
        fs::read(signed).unwrap()
    }
}

/// Bytes that nothing compresses, the same for the same seed.
pub fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) | 1 << 40;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..bytes).map(|_| step()).collect()
}

/// A key to sign with, made once for this target folder.
fn keystore(name: &str) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(parent).unwrap();
    let store = parent.join(format!("apk-{name}.p12"));
    let lock = File::create(parent.join(format!("apk-{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !store.exists() {
        let unfinished = parent.join(format!("apk-{name}.new"));
        let _ = fs::remove_file(&unfinished);
        let (path, dname) = (unfinished.display().to_string(), format!("CN={name}"));
        let fixed = ["-genkeypair", "-storepass", "secret", "-alias", "key", "-keyalg", "EC", "-validity", "10000", "-storetype", "PKCS12"];
        let args: Vec<&str> = fixed.into_iter().chain(["-keystore", &path, "-dname", &dname]).collect();
        run("default-jre-headless", "keytool", &args);
        fs::rename(&unfinished, &store).unwrap();
    }
    store
}
