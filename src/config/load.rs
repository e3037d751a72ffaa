//! From file, environment and flags to a [`Config`], or to an error that says who set what wrongly.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::keys::{KEYS, Key, is_loopback};
use super::{BadSecret, Config, Program, Secret, SmsProvider};

/// Where a configuration comes from; later ones override earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None` for defaults alone.
    pub file: Option<PathBuf>,
    /// The environment: names and values. Names that do not begin with `ROGER_` and a section are ignored.
    pub environment: Vec<(String, String)>,
    /// What flags set: the path of the key as `edge.listen`, the flag as `--listen`, the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// The file of `--config`, and the environment of this process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        // A variable that is not UTF-8 is not one of ours, or its text is wrong: lossy text fails its rule by name.
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Self { file, environment, flags: Vec::new() }
    }

    /// Adds what a flag says of a key, if it was given.
    pub fn flag(mut self, key: &'static str, flag: &'static str, value: Option<String>) -> Self {
        self.flags.extend(value.map(|value| (key, flag, value)));
        self
    }
}

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Nobody: it is the default.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "from {}", path.display()),
            Self::Environment(name) => write!(f, "from the environment, {name}"),
            Self::Flag(flag) => write!(f, "from the flag {flag}"),
        }
    }
}

/// A configuration a program does not start with. All are permanent: exit code [`super::EXIT_CODE`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not TOML", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// There is no such key.
    #[error("{key}: there is no such key ({origin})")]
    UnknownKey {
        /// `section.name`.
        key: String,
        /// Who set it.
        origin: Origin,
    },
    /// A value breaks its rule.
    #[error("{key} = {value}: must be {rule} ({origin})")]
    Value {
        /// `section.name`.
        key: String,
        /// The value, without passwords.
        value: String,
        /// What it must be.
        rule: String,
        /// Who set it.
        origin: Origin,
    },
    /// A file that a key names cannot be read.
    #[error("{key} = {value}: cannot be read ({origin})")]
    KeyFile {
        /// `section.name`.
        key: String,
        /// The path.
        value: String,
        /// Who set it.
        origin: Origin,
        /// Why.
        source: io::Error,
    },
}

/// All values with who set them.
struct Draft {
    sections: Map<String, Json>,
    origins: HashMap<String, Origin>,
}

impl Config {
    /// Puts the sources together and judges every value.
    ///
    /// # Errors
    ///
    /// When a source cannot be read, names an unknown key, or a value breaks its rule: the first one found.
    pub fn load(program: Program, sources: &Sources) -> Result<Self, Error> {
        let mut draft = Draft::of_defaults();
        if let Some(path) = &sources.file {
            draft.add_file(path)?;
        }
        draft.add_environment(&sources.environment)?;
        for (path, flag, text) in &sources.flags {
            let (section, name) = path.split_once('.').unwrap_or((path, ""));
            let origin = Origin::Flag(flag);
            let key = find(section, name).ok_or_else(|| Error::UnknownKey { key: (*path).to_owned(), origin: origin.clone() })?;
            draft.set(key, key.json_of(text), origin)?;
        }
        let config: Self = serde_json::from_value(Json::Object(draft.sections.clone())).map_err(|error| Error::Value {
            key: "configuration".to_owned(),
            value: error.to_string(),
            rule: "of the types of its keys".to_owned(),
            origin: Origin::Default,
        })?;
        draft.check_together(&config)?;
        draft.check_files(program, &config)?;
        Ok(config)
    }

    /// The defaults alone, without a look at files or environment; for tests and tools.
    ///
    /// # Errors
    ///
    /// None as long as [`KEYS`] and the types agree, which a test holds.
    pub fn defaults() -> Result<Self, Error> {
        Self::load(Program::Roger, &Sources::default())
    }
}

impl Draft {
    fn of_defaults() -> Self {
        let mut draft = Self { sections: Map::new(), origins: HashMap::new() };
        for key in KEYS {
            draft.put(key, key.default_json(), Origin::Default);
        }
        draft
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        let table: Map<String, Json> =
            toml::from_str(&text).map_err(|source| Error::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        let origin = Origin::File(path.to_owned());
        for (section, value) in table {
            if !KEYS.iter().any(|key| key.section == section) {
                return Err(Error::UnknownKey { key: section, origin });
            }
            let Json::Object(values) = value else {
                return Err(Error::Value { key: section, value: value.to_string(), rule: "a table".to_owned(), origin });
            };
            for (name, value) in values {
                let key =
                    find(&section, &name).ok_or_else(|| Error::UnknownKey { key: format!("{section}.{name}"), origin: origin.clone() })?;
                self.set(key, value, origin.clone())?;
            }
        }
        Ok(())
    }

    fn add_environment(&mut self, environment: &[(String, String)]) -> Result<(), Error> {
        for (variable, text) in environment {
            let Some(rest) = variable.strip_prefix("ROGER_") else { continue };
            let Some((section, name)) = rest.split_once('_') else { continue };
            let (section, name) = (section.to_lowercase(), name.to_lowercase());
            if !KEYS.iter().any(|key| key.section == section) {
                continue;
            }
            let origin = Origin::Environment(variable.clone());
            match find(&section, &name) {
                Some(key) => self.set(key, key.json_of(text), origin)?,
                None => return Err(Error::UnknownKey { key: format!("{section}.{name}"), origin }),
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &Key, value: Json, origin: Origin) -> Result<(), Error> {
        if key.rule.holds(&value) {
            self.put(key, value, origin);
            return Ok(());
        }
        Err(Error::Value { key: key.path(), value: key.shown(&value), rule: key.rule.to_string(), origin })
    }

    fn put(&mut self, key: &Key, value: Json, origin: Origin) {
        self.origins.insert(key.path(), origin);
        let section = self.sections.entry(key.section).or_insert_with(|| Json::Object(Map::new()));
        if let Json::Object(values) = section {
            values.insert(key.name.to_owned(), value);
        }
    }

    /// The rules that concern two keys.
    fn check_together(&self, config: &Config) -> Result<(), Error> {
        let (edge, directory, gateway) = (&config.edge, &config.directory, &config.gateway);
        self.check_listen("edge", edge.listen, edge.cleartext_beyond_loopback)?;
        self.check_listen("directory", directory.listen, directory.cleartext_beyond_loopback)?;
        self.check_listen("gateway", gateway.listen, gateway.cleartext_beyond_loopback)?;
        let require = |holds: bool, section: &str, name: &str, rule: &str| {
            if holds { Ok(()) } else { Err(self.refuse(section, name, rule)) }
        };
        let sql = &config.sql;
        let pair = sql.standby_url.is_empty() || (sql.url.starts_with("mysql://") && sql.url != sql.standby_url);
        require(pair, "sql", "standby_url", "empty unless sql.url is of another server of MariaDB")?;
        require(config.auth.resume_lifetime >= config.auth.token_lifetime, "auth", "resume_lifetime_s", "at least auth.token_lifetime_s")?;
        require(
            (edge.rate_burst == 0) == (edge.rate_messages_per_s == 0),
            "edge",
            "rate_burst",
            "0 when edge.rate_messages_per_s is 0, and only then",
        )?;
        require(
            config.delivery.backlog_frames_max >= config.delivery.batch_frames_max,
            "delivery",
            "backlog_frames_max",
            "at least delivery.batch_frames_max",
        )?;
        require(
            config.sms.provider != SmsProvider::Http || config.sms.http_file.is_some(),
            "sms",
            "http_file",
            "set when sms.provider is http",
        )?;
        let smpp = config.sms.provider != SmsProvider::Smpp || config.sms.smpp_file.is_some();
        require(smpp, "sms", "smpp_file", "set when sms.provider is smpp")?;
        let listener = &config.listener;
        require(listener.revive_longest >= listener.revive_first, "listener", "revive_longest_s", "at least listener.revive_first_s")?;
        let janus = &config.janus;
        require(janus.url.is_none() || janus.api_secret_file.is_some(), "janus", "api_secret_file", "set when janus.url is")?;
        require(janus.commands != janus.list, "janus", "commands", "another list than janus.list")?;
        require(janus.command_timeout >= janus.request_timeout, "janus", "command_timeout_ms", "at least janus.request_timeout_ms")
    }

    fn check_listen(&self, section: &str, address: SocketAddr, beyond: bool) -> Result<(), Error> {
        if beyond || is_loopback(address) {
            return Ok(());
        }
        Err(self.refuse(section, "listen", &format!("a loopback address unless {section}.cleartext_beyond_loopback is true")))
    }

    /// The keys a program cannot run without. Not read here, but looked at: a program must not bind a port and then find it cannot serve.
    fn check_files(&self, program: Program, config: &Config) -> Result<(), Error> {
        if matches!(program, Program::Edge | Program::Directory | Program::Gateway) {
            self.open("auth", "public_key_file", &config.auth.public_key_file)?;
        }
        if program == Program::Gateway {
            let optional =
                [("release_public_key_file", &config.gateway.release_public_key_file), ("nodes_file", &config.gateway.nodes_file)];
            for (name, path) in optional {
                path.as_deref().map(|path| self.open("gateway", name, path)).transpose()?;
            }
        }
        if program == Program::Directory {
            self.open_secret("auth", "secret_key_file", &config.auth.secret_key_file)?;
        }
        if matches!(program, Program::Sos | Program::Listener) && config.sms.provider == SmsProvider::Http {
            config.sms.http_file.as_deref().map(|path| self.open("sms", "http_file", path)).transpose()?;
        }
        if matches!(program, Program::Sos | Program::Listener) && config.sms.provider == SmsProvider::Smpp {
            config.sms.smpp_file.as_deref().map(|path| self.open("sms", "smpp_file", path)).transpose()?;
        }
        if program == Program::Listener {
            config.listener.rules_file.as_deref().map(|path| self.open("listener", "rules_file", path)).transpose()?;
        }
        if let (Program::Janus, Some(_), Some(path)) = (program, &config.janus.url, &config.janus.api_secret_file) {
            self.open_secret("janus", "api_secret_file", path)?;
            // What cannot be read any more, after it could just now, is told when it is used.
            if let Err(BadSecret::Rule { rule, .. }) = Secret::read(path) {
                return Err(self.refuse("janus", "api_secret_file", &format!("a file whose secret is {rule}")));
            }
        }
        Ok(())
    }

    /// Refuses a file that others may read or write.
    fn open_secret(&self, section: &str, name: &str, path: &Path) -> Result<(), Error> {
        let mode = self.open(section, name, path)?;
        if mode & !0o640 != 0 {
            return Err(self.refuse(section, name, &format!("a file whose mode is at most 0640, not {mode:04o}")));
        }
        Ok(())
    }

    /// The permission bits of a file that can be opened.
    fn open(&self, section: &str, name: &str, path: &Path) -> Result<u32, Error> {
        let metadata = File::open(path).and_then(|file| file.metadata()).map_err(|source| {
            let (key, value, origin) = self.describe(section, name);
            Error::KeyFile { key, value, origin, source }
        })?;
        Ok(metadata.permissions().mode() & 0o777)
    }

    fn refuse(&self, section: &str, name: &str, rule: &str) -> Error {
        let (key, value, origin) = self.describe(section, name);
        Error::Value { key, value, rule: rule.to_owned(), origin }
    }

    fn describe(&self, section: &str, name: &str) -> (String, String, Origin) {
        let path = format!("{section}.{name}");
        let value = self.sections.get(section).and_then(|values| values.get(name)).unwrap_or(&Json::Null);
        let value = find(section, name).map_or_else(|| value.to_string(), |key| key.shown(value));
        let origin = self.origins.get(&path).cloned().unwrap_or(Origin::Default);
        (path, value, origin)
    }
}

fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}
