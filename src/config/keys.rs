//! The table of all keys: name, default, rule.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::Value as Json;

/// A key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table of the file it stands in.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it is when nobody sets it.
    pub default: Value,
    /// What it may be.
    pub rule: Rule,
}

/// A default.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// An integer.
    Integer(u64),
    /// A string.
    Text(&'static str),
    /// true or false.
    Switch(bool),
    /// An empty list of strings.
    Nothing,
}

/// What a value must be. Its text follows "must be".
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// An integer between the two, both included.
    Integer(u64, u64),
    /// true or false.
    Switch,
    /// 1 to 32 lower-case letters, digits and hyphens: it becomes part of Redis keys.
    Name,
    /// 1 to 64 letters, digits and `_:.-{}`: a key on Redis.
    RedisKey,
    /// An IP address with a port.
    Address,
    /// An IP address of the machine itself with a port, or empty.
    LoopbackOrOff,
    /// A URL that begins with one of these.
    Url(&'static [&'static str]),
    /// A URL that begins with one of these, or empty.
    UrlOrOff(&'static [&'static str]),
    /// URLs that begin with one of these, separated by spaces, or empty.
    UrlsOrOff(&'static [&'static str]),
    /// An absolute path.
    File,
    /// An absolute path, or empty.
    FileOrOff,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of origins, as a browser sends them.
    Origins,
    /// A list of telephone numbers, each whole or as a start with `*`.
    Numbers,
    /// A list of absolute paths.
    Files,
}

use Rule::{
    Address, File, FileOrOff, Files, Integer, LoopbackOrOff, Name, Numbers, OneOf, Origins, RedisKey, Switch, Url, UrlOrOff, UrlsOrOff,
};

const fn key(section: &'static str, name: &'static str, default: Value, rule: Rule) -> Key {
    Key { section, name, default, rule }
}

const fn int(default: u64) -> Value {
    Value::Integer(default)
}

const fn text(default: &'static str) -> Value {
    Value::Text(default)
}

/// How the URL of a Redis begins.
const REDIS: &[&str] = &["redis://", "redis+unix:///", "redis-sentinel://", "redis-cluster://"];

/// What a receipt can wait for.
const DURABILITY: &[&str] = &["memory", "written", "fsync", "replica"];
/// The same of messages; alerts and positions wait for no SQL.
const DURABILITY_OF_MESSAGES: &[&str] = &["memory", "written", "fsync", "replica", "sql"];

/// Every key, in the order of `config/roger.toml`.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("fleet", "shards", int(16), Integer(1, 1024)),
    key("redis", "url", text("redis://127.0.0.1:6379"), Url(REDIS)),
    key("redis", "connect_timeout_ms", int(1000), Integer(10, 60_000)),
    key("redis", "response_timeout_ms", int(2000), Integer(10, 60_000)),
    key("redis", "replicas", int(1), Integer(0, 16)),
    key("redis", "replica_wait_ms", int(200), Integer(1, 10_000)),
    key("durability", "messages", text("fsync"), OneOf(DURABILITY_OF_MESSAGES)),
    key("durability", "alerts", text("replica"), OneOf(DURABILITY)),
    key("durability", "reports", text("memory"), OneOf(DURABILITY)),
    key("durability", "sql_wait_ms", int(2_000), Integer(100, 60_000)),
    key("sql", "url", text("sqlite:/var/lib/roger/roger.db"), Url(&["sqlite:/", "mysql://"])),
    key("sql", "standby_url", text(""), UrlOrOff(&["mysql://"])),
    key("sql", "read_from_standby", Value::Switch(false), Switch),
    key("sql", "standby_lag_max_s", int(10), Integer(1, 3_600)),
    key("sql", "admin_file", text(""), FileOrOff),
    key("sql", "statement_timeout_ms", int(10_000), Integer(100, 600_000)),
    key("auth", "public_key_file", text("/etc/roger/token.pub"), File),
    key("auth", "secret_key_file", text("/etc/roger/token.secret"), File),
    key("auth", "token_lifetime_s", int(900), Integer(10, 86_400)),
    key("auth", "resume_lifetime_s", int(2_592_000), Integer(60, 31_536_000)),
    key("edge", "name", text("edge"), Name),
    key("edge", "listen", text("127.0.0.1:7701"), Address),
    key("edge", "cleartext_beyond_loopback", Value::Switch(false), Switch),
    key("edge", "heartbeat_interval_ms", int(20_000), Integer(100, 600_000)),
    key("edge", "sessions_max", int(20_000), Integer(1, 1_000_000)),
    key("edge", "rate_messages_per_s", int(100), Integer(0, 1_000_000)),
    key("edge", "rate_burst", int(200), Integer(0, 1_000_000)),
    key("edge", "queue_entries_max", int(1024), Integer(16, 1_000_000)),
    key("edge", "queue_bytes_max", int(1_048_576), Integer(131_072, 1_073_741_824)),
    key("edge", "unacked_entries_max", int(1024), Integer(1, 1_000_000)),
    key("edge", "slow_consumer_ms", int(30_000), Integer(100, 3_600_000)),
    key("edge", "mark_linger_ms", int(200), Integer(0, 10_000)),
    key("edge", "cors_origins", Value::Nothing, Origins),
    key("directory", "listen", text("127.0.0.1:7711"), Address),
    key("directory", "cleartext_beyond_loopback", Value::Switch(false), Switch),
    key("directory", "connections_max", int(4096), Integer(1, 1_000_000)),
    key("directory", "account_logins_per_min", int(10), Integer(0, 1_000_000)),
    key("directory", "address_logins_per_min", int(600), Integer(0, 1_000_000)),
    key("directory", "releases_url", text(""), UrlOrOff(&["https://", "http://"])),
    key("directory", "cors_origins", Value::Nothing, Origins),
    key("gateway", "listen", text("127.0.0.1:7721"), Address),
    key("gateway", "cleartext_beyond_loopback", Value::Switch(false), Switch),
    key("gateway", "connections_max", int(4096), Integer(1, 1_000_000)),
    key("gateway", "uploads_max", int(16), Integer(1, 10_000)),
    key("gateway", "stall_ms", int(30_000), Integer(100, 3_600_000)),
    key("gateway", "object_url", text("file:///var/lib/roger/objects"), Url(&["file:///", "s3://"])),
    key("gateway", "spool_dir", text("/var/lib/roger/spool"), File),
    key("gateway", "release_public_key_file", text(""), FileOrOff),
    key("gateway", "release_bytes_max", int(536_870_912), Integer(1024, 4_294_967_296)),
    key("gateway", "file_bytes_max", int(104_857_600), Integer(1024, 4_294_967_296)),
    key("gateway", "tenant_bytes_max", int(0), Integer(0, 1_125_899_906_842_624)),
    key("gateway", "attachment_days", int(365), Integer(0, 36_500)),
    key("gateway", "log_days", int(30), Integer(0, 36_500)),
    key("gateway", "nodes_file", text(""), FileOrOff),
    key("gateway", "address_requests_per_min", int(120), Integer(0, 1_000_000)),
    key("gateway", "phone_reports_per_min", int(1200), Integer(0, 1_000_000)),
    key("gateway", "cors_origins", Value::Nothing, Origins),
    key("delivery", "lease_ttl_ms", int(2000), Integer(200, 60_000)),
    key("delivery", "batch_frames_max", int(256), Integer(1, 10_000)),
    key("delivery", "backlog_frames_max", int(100_000), Integer(16, 10_000_000)),
    key("delivery", "checkpoint_interval_ms", int(1000), Integer(10, 600_000)),
    key("floor", "burst_ms", int(60_000), Integer(1_000, 600_000)),
    key("floor", "prepare_ms", int(1_000), Integer(100, 10_000)),
    key("floor", "vanish_ms", int(1_500), Integer(500, 60_000)),
    key("floor", "queue_max", int(16), Integer(0, 256)),
    key("floor", "age_bursts", int(4), Integer(1, 1_000)),
    key("offline", "retention_s", int(600), Integer(0, 604_800)),
    key("offline", "log_bytes_max", int(268_435_456), Integer(65_536, 1_099_511_627_776)),
    key("offline", "archive_batch_entries_max", int(5000), Integer(1, 100_000)),
    key("offline", "archive_linger_ms", int(200), Integer(0, 10_000)),
    key("gps", "backlog_bytes_max", int(268_435_456), Integer(65_536, 1_099_511_627_776)),
    key("gps", "learn_wifi", Value::Switch(false), Switch),
    key("sos", "redis_url", text(""), UrlOrOff(REDIS)),
    key("sos", "probe_interval_s", int(60), Integer(0, 86_400)),
    key("janus", "list", text("janusImUrlList"), RedisKey),
    key("janus", "url", text(""), UrlsOrOff(&["ws://"])),
    key("janus", "api_secret_file", text(""), FileOrOff),
    key("janus", "recordings_dir", text(""), FileOrOff),
    key("janus", "recordings_done_days", int(7), Integer(0, 3650)),
    key("janus", "recordings_keep_days", int(365), Integer(0, 36_500)),
    key("janus", "burst_s_max", int(300), Integer(1, 86_400)),
    key("janus", "commands", text("WebNotifyJanus"), RedisKey),
    key("janus", "request_timeout_ms", int(2000), Integer(10, 60_000)),
    key("janus", "command_timeout_ms", int(5000), Integer(100, 60_000)),
    key("janus", "session_timeout_s", int(60), Integer(3, 3600)),
    key("sms", "provider", text("file"), OneOf(&["off", "file", "console", "http", "smpp"])),
    key("sms", "file", text("/var/lib/roger/sms.jsonl"), File),
    key("sms", "http_file", text(""), FileOrOff),
    key("sms", "smpp_file", text(""), FileOrOff),
    key("sms", "timeout_ms", int(10_000), Integer(100, 15_000)),
    key("sms", "allow", Value::Nothing, Numbers),
    key("listener", "dir", text("/var/lib/roger/listener"), File),
    key("listener", "rules_file", text(""), FileOrOff),
    key("listener", "group_ms", int(10_000), Integer(0, 600_000)),
    key("listener", "repeat_s", int(300), Integer(0, 86_400)),
    key("listener", "steady_s", int(60), Integer(0, 3_600)),
    key("listener", "messages_per_hour_max", int(12), Integer(2, 1_000)),
    key("listener", "text_parts_max", int(3), Integer(1, 6)),
    key("listener", "peer_silent_s", int(60), Integer(2, 3_600)),
    key("listener", "revive_first_s", int(60), Integer(0, 86_400)),
    key("listener", "revive_longest_s", int(1_800), Integer(1, 86_400)),
    key("listener", "heartbeat_url", text(""), UrlOrOff(&["https://", "http://"])),
    key("listener", "heartbeat_interval_s", int(60), Integer(1, 86_400)),
    key("doctor", "certificate_files", Value::Nothing, Files),
    key("metrics", "edge_listen", text(""), LoopbackOrOff),
    key("metrics", "directory_listen", text(""), LoopbackOrOff),
    key("metrics", "gateway_listen", text(""), LoopbackOrOff),
    key("metrics", "delivery_listen", text(""), LoopbackOrOff),
    key("metrics", "offline_listen", text(""), LoopbackOrOff),
    key("metrics", "sos_listen", text(""), LoopbackOrOff),
    key("metrics", "gps_listen", text(""), LoopbackOrOff),
    key("metrics", "janus_listen", text(""), LoopbackOrOff),
    key("metrics", "listener_listen", text(""), LoopbackOrOff),
    key("trace", "otlp_url", text(""), UrlOrOff(&["http://"])),
    key("trace", "one_in", int(100), Integer(1, 1_000_000)),
    key("processor", "yield", Value::Switch(true), Switch),
    key("log", "format", text("text"), OneOf(&["text", "json"])),
    key("log", "level", text("info"), OneOf(&["error", "warn", "info", "debug", "trace"])),
    key("shutdown", "grace_ms", int(6000), Integer(0, 9000)),
];

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that overrides it.
    pub fn variable(&self) -> String {
        format!("ROGER_{}_{}", self.section, self.name).to_uppercase()
    }

    pub(super) fn default_json(&self) -> Json {
        match self.default {
            Value::Integer(number) => number.into(),
            Value::Text(text) => text.into(),
            Value::Switch(on) => on.into(),
            Value::Nothing => Json::Array(Vec::new()),
        }
    }

    /// The value of a text from the environment or a flag. What does not fit stays a text, which its rule then refuses.
    pub(super) fn json_of(&self, text: &str) -> Json {
        let as_text = || Json::from(text);
        match self.rule {
            Integer(..) => text.parse::<u64>().map_or_else(|_| as_text(), Json::from),
            Switch => text.parse::<bool>().map_or_else(|_| as_text(), Json::from),
            Origins | Numbers | Files => text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect(),
            Name | RedisKey | Address | LoopbackOrOff | Url(_) | UrlOrOff(_) | UrlsOrOff(_) | File | FileOrOff | OneOf(_) => as_text(),
        }
    }

    /// The value as an error shows it: a password in a URL is left out.
    pub(super) fn shown(&self, value: &Json) -> String {
        match (self.rule, value.as_str()) {
            (Url(_) | UrlOrOff(_), Some(url)) => format!("\"{}\"", without_password(url)),
            _ => value.to_string(),
        }
    }
}

impl Rule {
    pub(super) fn holds(&self, value: &Json) -> bool {
        let text = value.as_str();
        match self {
            Integer(min, max) => value.as_u64().is_some_and(|number| (*min..=*max).contains(&number)),
            Switch => value.is_boolean(),
            Name => text.is_some_and(is_name),
            RedisKey => text.is_some_and(is_redis_key),
            Address => text.is_some_and(|text| text.parse::<SocketAddr>().is_ok()),
            LoopbackOrOff => text.is_some_and(|text| text.is_empty() || text.parse().is_ok_and(is_loopback)),
            Url(starts) => text.is_some_and(|text| is_url(text, starts)),
            UrlOrOff(starts) => text.is_some_and(|text| text.is_empty() || is_url(text, starts)),
            UrlsOrOff(starts) => text.is_some_and(|text| text.split_whitespace().all(|url| is_url(url, starts))),
            File => text.is_some_and(|text| Path::new(text).is_absolute()),
            FileOrOff => text.is_some_and(|text| text.is_empty() || Path::new(text).is_absolute()),
            OneOf(words) => text.is_some_and(|text| words.contains(&text)),
            Files => value
                .as_array()
                .is_some_and(|paths| paths.iter().all(|path| path.as_str().is_some_and(|path| Path::new(path).is_absolute()))),
            Numbers => value.as_array().is_some_and(|numbers| numbers.iter().all(|number| number.as_str().is_some_and(is_number_or_start))),
            Origins => value.as_array().is_some_and(|origins| origins.iter().all(|origin| origin.as_str().is_some_and(is_origin))),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Integer(min, max) => write!(f, "an integer from {min} to {max}"),
            Switch => f.write_str("true or false"),
            Name => f.write_str("1 to 32 lower-case letters, digits and hyphens"),
            RedisKey => f.write_str("1 to 64 letters, digits and any of _:.-{}"),
            Address => f.write_str("an IP address with a port, as 127.0.0.1:7701"),
            LoopbackOrOff => f.write_str("a loopback address with a port, as 127.0.0.1:7801, or empty for off"),
            Url(starts) => write!(f, "a URL that begins with {}", starts.join(" or ")),
            UrlOrOff(starts) => write!(f, "a URL that begins with {}, or empty for off", starts.join(" or ")),
            UrlsOrOff(starts) => write!(f, "URLs that begin with {}, separated by spaces, or empty for off", starts.join(" or ")),
            File => f.write_str("an absolute path"),
            FileOrOff => f.write_str("an absolute path, or empty for off"),
            OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Files => f.write_str("a list of absolute paths"),
            Numbers => f.write_str("a list of telephone numbers, as +4712345678, or how they begin, as +47*"),
            Origins => f.write_str("a list of origins, as https://console.example.org"),
        }
    }
}

/// Whether only the machine itself reaches the address.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.to_canonical().is_loopback(),
    }
}

fn is_url(text: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| text.len() > start.len() && text.starts_with(start))
}

fn is_redis_key(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_:.-{}".contains(c))
}

fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'))
}

fn is_number_or_start(text: &str) -> bool {
    let digits = text.strip_prefix('+').map(|digits| digits.strip_suffix('*').unwrap_or(digits));
    digits.is_some_and(|digits| (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // The last @ before the path: a password may hold one itself.
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match authority.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}:***@{host}{path}", user.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}
