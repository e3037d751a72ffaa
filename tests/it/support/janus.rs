//! A private Janus with its AudioBridge: the API over WebSocket, recordings in a folder of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::{Process, Program};
use super::{ports, wait_until};

const PACKAGE: &str = "janus";
/// Where the package has plugins, transports and event handlers.
const LIBRARIES: &str = "/usr/lib";

/// How a Janus is set up.
#[derive(Clone, Debug)]
pub struct JanusOptions {
    /// What every request has to name.
    pub api_secret: String,
    /// How long a session lives without a sign of life. Seconds.
    pub session_timeout_s: u32,
    /// How long a session waits for somebody to claim it once its connection is gone. Seconds.
    pub reclaim_session_timeout_s: u32,
    /// Whether the API is also there over HTTP, as [`Janus::http_url`].
    pub http: bool,
    /// Whether it gives an answer to a browser at once and its own addresses later.
    pub full_trickle: bool,
    /// Where events go by WebSocket, as `ws://127.0.0.1:4000`; `None` for nowhere.
    pub events: Option<String>,
}

impl Default for JanusOptions {
    /// As in production, with sessions that end sooner when nobody keeps them.
    fn default() -> Self {
        let api_secret = "only for this test".to_owned();
        Self { api_secret, session_timeout_s: 60, reclaim_session_timeout_s: 30, http: false, full_trickle: false, events: None }
    }
}

/// A janus on free ports, with configuration, log and recordings in a temporary folder.
#[derive(Debug)]
pub struct Janus {
    // Before the folder: the program is gone when that is removed.
    process: Process,
    options: JanusOptions,
    ws_port: u16,
    http_port: u16,
    folder: TempDir,
}

impl Janus {
    /// Starts one, and waits until it takes connections.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(JanusOptions::default())
    }

    /// Starts one that is set up in another way, and waits until it takes connections.
    #[track_caller]
    pub fn start_with(options: JanusOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("roger-janus-").tempdir().unwrap();
        let (ws_port, http_port) = (ports::free(), ports::free());
        let config = folder.path().join("config");
        fs::create_dir(&config).unwrap();
        fs::create_dir(folder.path().join("recordings")).unwrap();
        write_config(&config, &options, ws_port, http_port);
        let secret = folder.path().join("api.secret");
        fs::write(&secret, &options.api_secret).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let program = Program {
            name: format!("janus:{ws_port}"),
            executable: "janus".into(),
            package: PACKAGE,
            args: ["-o", "-F", config.to_str().unwrap()].map(str::to_owned).to_vec(),
            env: Vec::new(),
            log: folder.path().join("janus.log"),
            show: vec![config.join("janus.jcfg"), config.join("janus.plugin.audiobridge.jcfg")],
        };
        let mut janus = Self { process: Process::start(program), options, ws_port, http_port, folder };
        janus.wait_until_ready();
        janus
    }

    /// `ws://127.0.0.1:<port>`, where the API is.
    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.ws_port)
    }

    /// The port of [`Janus::ws_url`].
    pub fn ws_port(&self) -> u16 {
        self.ws_port
    }

    /// `http://127.0.0.1:<port>/janus`, when it was started with HTTP.
    pub fn http_url(&self) -> String {
        assert!(self.options.http, "this Janus was started without HTTP");
        format!("http://127.0.0.1:{}/janus", self.http_port)
    }

    /// What every request has to name.
    pub fn api_secret(&self) -> &str {
        &self.options.api_secret
    }

    /// The keys of the configuration that make a fleet use this Janus.
    pub fn overrides(&self) -> Vec<(&'static str, String)> {
        vec![
            ("janus.url", format!("{:?}", self.ws_url())),
            ("janus.api_secret_file", format!("{:?}", self.folder().join("api.secret"))),
            ("janus.recordings_dir", format!("{:?}", self.recordings())),
            ("janus.session_timeout_s", self.options.session_timeout_s.to_string()),
        ]
    }

    /// The folder for recordings, which is there and empty at first.
    pub fn recordings(&self) -> PathBuf {
        self.folder.path().join("recordings")
    }

    /// The names of the recordings that are closed, in order; those that are being written end in `.tmp` and are not among them.
    pub fn recorded(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.recordings()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".mjr"));
        names.sort();
        names
    }

    /// Its configuration, log and recordings.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What this run has written so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGSTOP: its port stays open and it answers nothing.
    #[track_caller]
    pub fn stop(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// SIGCONT, after [`Janus::stop`].
    pub fn cont(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// SIGKILL: sessions and rooms are gone, recordings stay.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and waits for its end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Starts it again on the same ports and folders, and waits until it takes connections; kills it first when it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = Process::start(self.process.program().clone());
        self.wait_until_ready();
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        // It opens them one after the other.
        let ports = if self.options.http { vec![self.ws_port, self.http_port] } else { vec![self.ws_port] };
        let process = &mut self.process;
        wait_until("Janus takes connections", || {
            assert!(process.ended().is_none(), "janus ended at once");
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
    }
}

fn write_config(folder: &Path, options: &JanusOptions, ws_port: u16, http_port: u16) {
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    let libraries = libraries();
    let JanusOptions { api_secret, session_timeout_s, reclaim_session_timeout_s, http, full_trickle, events } = options;
    let mut general = format!("configs_folder = {folder:?}\n");
    for kind in ["plugins", "transports", "events", "loggers"] {
        writeln!(general, "{kind}_folder = {:?}", libraries.join(kind)).unwrap();
    }
    let off = |kind: &str, kept: &[&str]| others(&libraries.join(kind), kept).join(",");
    let transports = if *http { vec!["libjanus_websockets.so", "libjanus_http.so"] } else { vec!["libjanus_websockets.so"] };
    let (plugins, transports) = (off("plugins", &["libjanus_audiobridge.so"]), off("transports", &transports));
    let handlers = off("events", &["libjanus_wsevh.so"]);
    write(
        "janus.jcfg",
        format!(
            "general: {{\n{general}debug_level = 4\ndebug_colors = false\nserver_name = \"roger-test\"\napi_secret = {api_secret:?}\n\
             session_timeout = {session_timeout_s}\nreclaim_session_timeout = {reclaim_session_timeout_s}\nrecordings_tmp_ext = \"tmp\"\n}}\n\
             media: {{\nrtp_port_range = \"40000-49999\"\n}}\nnat: {{\nfull_trickle = {full_trickle}\n}}\n\
             plugins: {{\ndisable = {plugins:?}\n}}\ntransports: {{\ndisable = {transports:?}\n}}\n\
             loggers: {{\ndisable = \"libjanus_jsonlog.so\"\n}}\n\
             events: {{\nbroadcast = {}\ndisable = {handlers:?}\nstats_period = 0\n}}\n",
            events.is_some(),
        ),
    );
    // A port that another Janus has is passed over; a test of its rooms holds that.
    write(
        "janus.plugin.audiobridge.jcfg",
        "general: {\nrtp_port_range = \"50000-59999\"\nlocal_ip = \"127.0.0.1\"\nrecord_tmp_ext = \"tmp\"\nstring_ids = true\n}\n"
            .to_owned(),
    );
    write(
        "janus.transport.websockets.jcfg",
        format!(
            "general: {{\njson = \"compact\"\nws = true\nws_port = {ws_port}\nws_ip = \"127.0.0.1\"\nwss = false\n}}\nadmin: {{\nadmin_ws = false\n}}\n"
        ),
    );
    write(
        "janus.transport.http.jcfg",
        format!(
            "general: {{\njson = \"compact\"\nbase_path = \"/janus\"\nhttp = true\nport = {http_port}\nip = \"127.0.0.1\"\nhttps = false\n}}\n\
             admin: {{\nadmin_http = false\n}}\n"
        ),
    );
    let (enabled, backend) = (events.is_some(), events.as_deref().unwrap_or("ws://127.0.0.1:1"));
    write(
        "janus.eventhandler.wsevh.jcfg",
        format!(
            "general: {{\nenabled = {enabled}\nevents = \"plugins,core\"\ngrouping = false\njson = \"compact\"\nbackend = {backend:?}\n\
             subprotocol = \"janus-events\"\n}}\n"
        ),
    );
}

/// Where the libraries of the package are: below the folder of the machine's architecture.
#[track_caller]
fn libraries() -> PathBuf {
    let folders = fs::read_dir(LIBRARIES).unwrap().map(|entry| entry.unwrap().path().join("janus"));
    let found = folders.into_iter().find(|path| path.join("plugins").is_dir());
    found
        .unwrap_or_else(|| panic!("no janus/plugins below {LIBRARIES}/*; it is in the Debian package {PACKAGE}: scripts/setup installs it"))
}

/// The libraries of a folder, without those kept: what has no configuration would fill the log with complaints.
fn others(folder: &Path, kept: &[&str]) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".so") && !kept.contains(&name.as_str())).collect();
    names.sort();
    names
}
