//! A headless Chromium whose microphone plays a file, over and over.

use std::path::Path;

use super::process::{Process, Program};

/// Opens a page. What the page logs, and what the browser has to say, is in the log in its folder, which has to be there.
#[track_caller]
pub fn open(url: &str, microphone: &Path, folder: &Path) -> Process {
    let profile = folder.join("profile");
    let args = [
        "--headless=new".to_owned(),
        format!("--user-data-dir={}", profile.display()),
        // A test may run as root, and in containers with little shared memory.
        "--no-sandbox".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--disable-gpu".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--enable-logging=stderr".to_owned(),
        "--use-fake-ui-for-media-stream".to_owned(),
        "--use-fake-device-for-media-stream".to_owned(),
        format!("--use-file-for-fake-audio-capture={}", microphone.display()),
        // Addresses and no names of them, which nobody resolves here.
        "--disable-features=WebRtcHideLocalIpsWithMdns".to_owned(),
        url.to_owned(),
    ];
    let env = ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"].map(|variable| (variable.to_owned(), folder.display().to_string())).to_vec();
    Process::start(Program {
        name: "chromium".to_owned(),
        executable: "chromium".into(),
        package: "chromium",
        args: args.to_vec(),
        env,
        log: folder.join("chromium.log"),
        show: Vec::new(),
    })
}
