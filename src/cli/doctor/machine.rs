//! What the doctor says of this machine: who tells of trouble, disks, certificates. Nothing is said of what is well.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{StatVfsMountFlags, statvfs};
use x509_cert::Certificate;

use super::{Checks, Verdict, verdict};
use crate::cli::when::utc;
use crate::config::Config;
use crate::listener;

/// A disk is told of when so little is free: both in hundredths and in bytes, for a hundredth of a large one is much.
const NEARLY_FULL: (u64, u64) = (5, 10 << 30);
const FULL: (u64, u64) = (1, 256 << 20);
/// How long before its end a certificate is told of; and when it is about to end.
const EXPIRES: Duration = Duration::from_secs(14 * 86_400);
const EXPIRES_SOON: Duration = Duration::from_secs(2 * 86_400);

pub(super) fn judge(checks: &mut Checks, config: &Config, now_ms: u64) {
    judge_listeners(checks, &listener::signs(&config.listener.dir), config.listener.peer_silent, now_ms);
    judge_disks(checks, &folders(config));
    for path in &config.doctor.certificate_files {
        judge_certificate(checks, path, now_ms);
    }
}

/// Those that ever were on this machine: none where none were set up.
fn judge_listeners(checks: &mut Checks, signs: &[(String, u64)], silent: Duration, now_ms: u64) {
    let age = |beat_ms: u64| Duration::from_millis(now_ms.saturating_sub(beat_ms));
    let quiet: Vec<_> = signs.iter().filter(|(_, beat_ms)| age(*beat_ms) > silent).collect();
    if quiet.is_empty() {
        return;
    }
    let names = quiet.iter().map(|(name, beat_ms)| format!("sms-listener-{name} for {} s", age(*beat_ms).as_secs())).collect::<Vec<_>>();
    let all = quiet.len() == signs.len();
    let seen = format!("no sign of life of {}{}", names.join(", "), if all { ": nobody is told when programs fail" } else { "" });
    let fix = "see `supervisorctl status` and its log; a listener that is gone for good: delete its folder in listener.dir";
    checks.add("listener", verdict(all, true), seen, fix);
}

/// Where programs of this configuration write on this machine, as far as it is there.
fn folders(config: &Config) -> Vec<PathBuf> {
    let file = |text: &str, scheme: &str| text.strip_prefix(scheme).map(|path| PathBuf::from(path.split('?').next().unwrap_or(path)));
    let mut paths = vec![config.gateway.spool_dir.clone(), config.listener.dir.clone(), config.sms.file.clone()];
    paths.extend(file(&config.sql.url, "sqlite:"));
    paths.extend(file(&config.gateway.object_url, "file://"));
    paths.extend(config.janus.recordings_dir.clone());
    // A file that is not there yet will stand in its folder.
    let there = |path: PathBuf| path.ancestors().take(2).find(|path| path.exists()).map(Path::to_path_buf);
    paths.into_iter().filter_map(there).collect()
}

/// Each disk once, by the first folder on it.
fn judge_disks(checks: &mut Checks, folders: &[PathBuf]) {
    let mut disks = BTreeMap::new();
    for folder in folders {
        if let Ok(metadata) = std::fs::metadata(folder) {
            disks.entry(metadata.dev()).or_insert(folder);
        }
    }
    for folder in disks.into_values() {
        let Ok(disk) = statvfs(folder) else { continue };
        if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
            let seen = format!("{} is on a disk that takes no writes", folder.display());
            checks.add("disk", Verdict::Fail, seen, "see dmesg for why it was made read-only, and mount it for writing");
            continue;
        }
        let (free, whole) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        let below = |(percent, bytes): (u64, u64)| free < whole / 100 * percent && free < bytes;
        if below(NEARLY_FULL) {
            let seen = format!("{} MiB of {} MiB are free where {} is", free >> 20, whole >> 20, folder.display());
            checks.add("disk", verdict(below(FULL), true), seen, "free it: when it is full, Redis, SQL and files take nothing more");
        }
    }
}

fn judge_certificate(checks: &mut Checks, path: &Path, now_ms: u64) {
    const CHECK: &str = "certificate";
    let fix = "renew it: behind its end no client gets in";
    let chain = std::fs::read(path).map_err(|error| error.to_string());
    let chain = chain.and_then(|pem| Certificate::load_pem_chain(&pem).map_err(|error| error.to_string()));
    // Each of the chain counts, and the first to expire ends it.
    let end =
        chain.map(|chain| chain.iter().map(|certificate| certificate.tbs_certificate().validity().not_after.to_unix_duration()).min());
    match end {
        Err(error) => {
            checks.add(CHECK, Verdict::Fail, format!("{} cannot be read: {error}", path.display()), "mend doctor.certificate_files")
        }
        Ok(None) => checks.add(CHECK, Verdict::Fail, format!("{} holds no certificate", path.display()), "mend doctor.certificate_files"),
        Ok(Some(end)) => {
            let left = end.saturating_sub(Duration::from_millis(now_ms));
            if left < EXPIRES {
                let ends = utc(u64::try_from(end.as_millis()).unwrap_or(u64::MAX));
                let seen = format!("{} {} at {ends}", path.display(), if left.is_zero() { "expired" } else { "expires" });
                checks.add(CHECK, verdict(left < EXPIRES_SOON, true), seen, fix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_listener_is_named_and_all_silent_ones_are_grave() {
        let judged = |signs: &[(&str, u64)]| {
            let signs: Vec<_> = signs.iter().map(|(name, beat)| ((*name).to_owned(), *beat)).collect();
            let mut checks = Checks::default();
            judge_listeners(&mut checks, &signs, Duration::from_secs(60), 1_000_000);
            checks.0.pop().map(|check| (check.verdict, check.reason))
        };
        assert_eq!((judged(&[]), judged(&[("a", 940_000), ("b", 999_999)])), (None, None));
        assert_eq!(
            judged(&[("a", 900_000), ("b", 999_999)]),
            Some((Verdict::Warn, "no sign of life of sms-listener-a for 100 s".to_owned()))
        );
        let (verdict, seen) = judged(&[("a", 900_000)]).unwrap();
        assert!(verdict == Verdict::Fail && seen.ends_with("nobody is told when programs fail"), "{seen}");
    }
}
