//! A private Janus, for a fleet whose rooms have a media server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Child;

use super::super::error::Error;
use super::spawn::{free_port, start, until};

/// Where Debian puts it, by architecture.
const LIBRARIES: &str = "/usr/lib";

/// A private Janus.
pub(super) struct Janus {
    _child: Child,
    url: String,
    secret: PathBuf,
    recordings: PathBuf,
}

impl Janus {
    /// Starts one with everything in a folder, and waits until it takes connections.
    pub(super) async fn start(folder: &Path, within: Duration) -> Result<Self, Error> {
        let (folder, port) = (folder.join("janus"), free_port()?);
        let (config, recordings, secret) = (folder.join("config"), folder.join("recordings"), folder.join("api.secret"));
        let api_secret = format!("{:032x}", rand::random::<u128>());
        let written = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        for folder in [&config, &recordings] {
            fs::create_dir_all(folder).map_err(written(folder))?;
        }
        fs::write(&secret, &api_secret).map_err(written(&secret))?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).map_err(written(&secret))?;
        let libraries = libraries()?;
        let path = |kind: &str| libraries.join(kind).display().to_string();
        // A plug-in without a configuration is unloaded again, and Janus has crashed over that.
        let off = |kind: &str, kept: &str| others(&libraries.join(kind), kept);
        let files = [
            (
                "janus.jcfg",
                format!(
                    "general: {{\nconfigs_folder = \"{}\"\nplugins_folder = \"{}\"\ntransports_folder = \"{}\"\nevents_folder = \"{}\"\n\
                     loggers_folder = \"{}\"\ndebug_level = 3\ndebug_colors = false\napi_secret = \"{api_secret}\"\nsession_timeout = 60\n\
                     reclaim_session_timeout = 30\nrecordings_tmp_ext = \"tmp\"\n}}\nmedia: {{\nrtp_port_range = \"40000-49999\"\n}}\n\
                     plugins: {{\ndisable = \"{}\"\n}}\ntransports: {{\ndisable = \"{}\"\n}}\nevents: {{\ndisable = \"{}\"\n}}\n\
                     loggers: {{\ndisable = \"{}\"\n}}\n",
                    config.display(),
                    path("plugins"),
                    path("transports"),
                    path("events"),
                    path("loggers"),
                    off("plugins", "libjanus_audiobridge.so")?,
                    off("transports", "libjanus_websockets.so")?,
                    off("events", "")?,
                    off("loggers", "")?,
                ),
            ),
            (
                "janus.plugin.audiobridge.jcfg",
                "general: {\nrtp_port_range = \"50000-59999\"\nlocal_ip = \"127.0.0.1\"\nrecord_tmp_ext = \"tmp\"\nstring_ids = true\n}\n"
                    .to_owned(),
            ),
            (
                "janus.transport.websockets.jcfg",
                format!("general: {{\njson = \"compact\"\nws = true\nws_port = {port}\nws_ip = \"127.0.0.1\"\n}}\n"),
            ),
        ];
        for (name, text) in files {
            let file = config.join(name);
            fs::write(&file, text).map_err(written(&file))?;
        }
        let args = ["-o", "-F", &config.display().to_string()].map(str::to_owned);
        let child = start(Path::new("janus"), &args, &folder.join("janus.log"))?;
        let there = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        until(within, "the start of a private janus (package janus)", there).await?;
        Ok(Self { _child: child, url: format!("ws://127.0.0.1:{port}"), secret, recordings })
    }

    /// The part of a configuration that makes a fleet use it.
    pub(super) fn section(&self) -> String {
        let Self { url, secret, recordings, .. } = self;
        format!("[janus]\nurl = \"{url}\"\napi_secret_file = \"{}\"\nrecordings_dir = \"{}\"\n", secret.display(), recordings.display())
    }
}

fn libraries() -> Result<PathBuf, Error> {
    let missing = || Error::Usage(format!("no folder janus under {LIBRARIES}: is the package janus installed?"));
    let folders = fs::read_dir(LIBRARIES).map_err(|source| Error::File { path: LIBRARIES.into(), source })?;
    folders.filter_map(|folder| Some(folder.ok()?.path().join("janus"))).find(|folder| folder.is_dir()).ok_or_else(missing)
}

/// The libraries of a folder but one, as the configuration lists what is not loaded.
fn others(folder: &Path, kept: &str) -> Result<String, Error> {
    let failed = |source| Error::File { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for file in fs::read_dir(folder).map_err(failed)? {
        names.push(file.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name.ends_with(".so") && name != kept);
    Ok(names.join(","))
}
