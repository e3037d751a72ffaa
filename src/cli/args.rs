//! The arguments of `roger`.

mod account;
mod alert;
mod bench;
mod dead;
mod device;
mod fence;
mod group;
mod media;
mod pause;
mod primary;
mod sessions;
mod sql;
mod talk;
mod trace;
mod track;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub(super) use account::{Account, Kind};
pub(super) use alert::{Alerts, Escalation, Sos};
pub(super) use bench::{Appendfsync, Bench, Load, Sql};
pub(super) use dead::{Dead, DeadCommand, Many, Which};
pub(super) use device::{Device, Import, Switch};
pub(super) use fence::{Fence, NewFence};
pub(super) use group::{Friend, Group, Member, Membership, OneGroup, Role};
pub(super) use media::{Files, GatewayDoor, Keys, Release, ReleaseUpload};
pub(super) use pause::{Pause, Resume};
pub(super) use primary::RedisCommand;
pub(super) use sessions::{EndSessions, Sessions};
pub(super) use sql::SqlCommand;
pub(super) use talk::{Floor, Talk};
pub(super) use trace::{Trace, TraceFormat};
pub(super) use track::Track;

use super::when::{Day, Since, day, since};

/// Operates a fleet of Roger, the back-end of push-to-talk dispatch, and is a client of it.
#[derive(Debug, Parser)]
#[command(
    name = "roger",
    version,
    about = "Operates a fleet of Roger, the back-end of a push-to-talk dispatch platform, and is a client of it.",
    max_term_width = 110,
    after_help = "A fleet to try: scripts/demo. As a client: roger login NAME, roger groups, roger listen, roger send --group NAME TEXT. \
                  As an operator: roger doctor, which says what is wrong and what to do.\n\nExit codes: 0 done, 1 found something wrong, 64 usage, 69 a server is missing, 70 defect, 78 configuration."
)]
pub(super) struct Cli {
    /// The configuration file of the fleet, as config/roger.toml; without it every key has its default.
    #[arg(long, global = true, env = "ROGER_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Answer with JSON on stdout instead of text; a command that goes on prints one value a line.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Log in; further commands use the login, which is kept in $XDG_STATE_HOME/roger or ~/.local/state/roger.
    Login(Login),
    /// End a login and forget it.
    Logout(As),
    /// Send a text to a group or a user, and wait for the receipt: then the fleet has it stored.
    Send(Send),
    /// Print what comes for an account, and acknowledge it; goes on until it is interrupted.
    Listen(Listen),
    /// Move into the room of a group, or out of any.
    Room(Room),
    /// Talk in the room of a group: wait for the floor, say what WAV files hold, and let go.
    Talk(Talk),
    /// Press SOS, or take it back; the answer says how safely the fleet has it.
    Sos(Sos),
    /// List emergency alerts, show what happened to one, acknowledge and close them.
    #[command(subcommand)]
    Alerts(Alerts),
    /// Say who is told of alerts when nobody acknowledges them, and how soon.
    #[command(subcommand)]
    Escalation(Escalation),
    /// Add, change, list and remove geofences, at which it is told what devices do.
    #[command(subcommand)]
    Fence(Fence),
    /// List the groups of an account with their members.
    Groups(As),
    /// List the edges that live, and who is connected to them until when; show by what an account is used, and end it.
    Sessions(Sessions),
    /// List the rooms in which somebody is: who, with a seat at the media server or without, and whose microphone is open since when.
    Rooms,
    /// Show who talks in the room of a group, by which grant, and who waits in which order.
    Floor(Floor),
    /// Show what waits on each shard, who delivers and archives it, what SQL does not have yet, and what waits for offline, gps and sos.
    Queues,
    /// Let a job stand still for a while, what waits for it kept; list what is paused by whom until when.
    Pause(Pause),
    /// End a pause before its time.
    Resume(Resume),
    /// Look at the primary of Redis and its replicas; make another server the primary.
    #[command(subcommand)]
    Redis(RedisCommand),
    /// Watch the fleet in the terminal: edges, workers, shards, streams, dead letters and open SOS; keys scroll, pause and end it.
    Top(Top),
    /// Look into dead letters: work the fleet has given up. Put it back, or drop it.
    Dead(Dead),
    /// Check everything the fleet needs, and say what to do about what is wrong; exit 1 when something fails.
    Doctor {
        /// Mend first what can be mended without harm, and say so: Redis evicts nothing, streams of edges that are gone are deleted.
        #[arg(long)]
        fix: bool,
    },
    /// Work on SQL: how a pair of servers stands, the switch to the standby, the way back in; copies of an SQLite file.
    #[command(subcommand)]
    Sql(SqlCommand),
    /// Judge the configuration without any server.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prove from SQL that no message was lost, doubled or disordered; exit 1 on findings.
    Audit,
    /// List who changed which account, group or member, and revoked logins; the newest first.
    Changes(Changes),
    /// Show where a device was: a table, JSON, GPX or GeoJSON.
    Trace(Trace),
    /// Show what became of the position reports of a device that arrived on a day; exit 1 when they do not add up.
    Fate(Fate),
    /// Make the keys that sign and verify access tokens.
    #[command(subcommand)]
    Keys(Keys),
    /// Make tenants, accounts and groups as a seed file wants them; applying it again changes nothing.
    Apply(Apply),
    /// Add accounts, show their tree, set passwords, forbid and allow logins.
    #[command(subcommand)]
    Account(Account),
    /// Import, show, change, hand over and retire devices.
    #[command(subcommand)]
    Device(Device),
    /// Import devices for an account, as `roger device import` does.
    Import(Import),
    /// Add, rename and dissolve groups; list them, show one, say who is a manager.
    #[command(subcommand)]
    Group(Group),
    /// Make accounts members of groups, and end memberships.
    #[command(subcommand)]
    Member(Member),
    /// Show who is a friend of whom.
    #[command(subcommand)]
    Friend(Friend),
    /// Sign, upload, stage, halt and resume releases of the app.
    #[command(subcommand)]
    Release(Release),
    /// Send and fetch files; list them all, and remove what is over.
    #[command(subcommand)]
    File(Files),
    /// Play a recording through the fleet.
    #[command(subcommand)]
    Replay(Replay),
    /// Play the sample dialogue while parts of the fleet are killed; scripts/demo starts a fleet and this.
    Demo(Demo),
    /// Measure latency, throughput and memory; JSON on stdout.
    Bench(Bench),
    /// Print the completions of a shell, as: roger completions bash > ~/.local/share/bash-completion/completions/roger.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(super) struct Top {
    /// Seconds between two looks, 1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) interval: u64,
    /// Look once, print it as text, and end: for a pipe.
    #[arg(long)]
    pub(super) once: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration, the files it names, and whether the files of supervisord go with it; exit 1 on findings.
    Check {
        /// The folder with the files of supervisord, as Roger's own supervisor/; without it they are not looked at.
        #[arg(long, value_name = "FOLDER")]
        supervisor: Option<PathBuf>,
    },
}

/// Where the fleet is, for commands that are its clients.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Doors {
    /// An edge; several are tried in turn. Without it edge.listen of the configuration.
    #[arg(long = "edge", value_name = "http://HOST:PORT", value_delimiter = ',', env = "ROGER_CLIENT_EDGES")]
    pub(super) edges: Vec<String>,
    /// The directory. Without it directory.listen of the configuration; a login goes on with the one it was made at.
    #[arg(long, value_name = "http://HOST:PORT", env = "ROGER_CLIENT_DIRECTORY")]
    pub(super) directory: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Login {
    /// The login name.
    pub(super) name: String,
    /// The password; seen by others on this machine. Without it, it is asked for.
    #[arg(long, conflicts_with = "password_stdin")]
    pub(super) password: Option<String>,
    /// Take the password from the first line of stdin.
    #[arg(long)]
    pub(super) password_stdin: bool,
    #[command(flatten)]
    pub(super) doors: Doors,
}

#[derive(Args, Debug)]
pub(super) struct As {
    /// As which of the logins on this machine, by login name; without it the only one there is.
    #[arg(long = "as", value_name = "NAME")]
    pub(super) account: Option<String>,
    #[command(flatten)]
    pub(super) doors: Doors,
}

#[derive(Args, Debug)]
pub(super) struct Send {
    #[command(flatten)]
    pub(super) who: As,
    /// To a group of this name or id.
    #[arg(long, value_name = "NAME|ID", required_unless_present = "user", conflicts_with = "user")]
    pub(super) group: Option<String>,
    /// To the inbox of the user with this id, as `roger groups` lists it.
    #[arg(long, value_name = "ID")]
    pub(super) user: Option<u64>,
    /// How long to wait for the receipt, as `30s`; later the text is kept, and goes out with the next `roger send`.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(super) within: Duration,
    /// The text; without it each line of stdin is a message.
    pub(super) text: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Listen {
    #[command(flatten)]
    pub(super) who: As,
    /// End after this many entries.
    #[arg(long, value_name = "COUNT")]
    pub(super) count: Option<u64>,
    /// End after this time, as `10s` or `5m`.
    #[arg(long = "for", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Keep each recorded burst of talk that is heard as a file in this folder, fetched by the gateway.
    #[arg(long, value_name = "DIR")]
    pub(super) audio: Option<PathBuf>,
    #[command(flatten)]
    pub(super) door: GatewayDoor,
}

#[derive(Args, Debug)]
pub(super) struct Room {
    #[command(flatten)]
    pub(super) who: As,
    /// The group, by its name or id; `none` to be in no room.
    pub(super) group: String,
}

#[derive(Args, Debug)]
pub(super) struct Changes {
    /// Only from then on: how long ago, as `90s`, `30m`, `12h`, `7d`, or when in UTC, as `2026-11-24` or `2026-11-24T03:35`.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub(super) since: Option<Since>,
    /// Only by this operator (the name of the user on the machine) or account (its id).
    #[arg(long, value_name = "NAME|ID")]
    pub(super) who: Option<String>,
    /// Only of this kind, as `account.added`, or all of a sort, as `account`, `device`, `group`, `member`, `tokens`, `tenant`, `seed`.
    #[arg(long, value_name = "KIND")]
    pub(super) what: Option<String>,
    /// The most to list; the answer says when there are more.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(super) limit: u32,
}

#[derive(Args, Debug)]
pub(super) struct Fate {
    /// Its IMEI or login name.
    #[arg(value_name = "IMEI")]
    pub(super) device: String,
    /// On which they arrived, UTC: as `2026-11-25`, `today` or `yesterday`.
    #[arg(value_name = "DAY", value_parser = day)]
    pub(super) day: Day,
}

#[derive(Args, Debug)]
pub(super) struct Apply {
    /// A TOML file of tenants, accounts and groups with their members; config/demo.toml is one.
    pub(super) seed: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Replay {
    /// Each speaker of a recorded conversation becomes a device of one new group.
    Radio(Radio),
    /// A track of a GPX file becomes the position reports of a device.
    Track(Track),
}

#[derive(Args, Debug)]
pub(super) struct Radio {
    /// One transmission a line: {"t_s": seconds, "speaker": name, "text": text}.
    pub(super) file: PathBuf,
    /// How much faster than recorded, or `max`.
    #[arg(long, value_name = "TIMES", default_value = "max", value_parser = speed)]
    pub(super) speed: Speed,
    /// Take the crew (CDR, CMP, LMP) off the air in silences of theirs longer than 10 minutes, and bring them back on another edge.
    #[arg(long)]
    pub(super) los: bool,
    /// Only the first so many transmissions.
    #[arg(long, value_name = "COUNT")]
    pub(super) limit: Option<usize>,
    /// How long to wait at the end until everybody has everything.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "120s")]
    pub(super) within: Duration,
    #[command(flatten)]
    pub(super) doors: Doors,
}

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    /// As many times faster than recorded.
    Times(f64),
    /// Without waiting.
    Max,
}

#[derive(Args, Debug)]
pub(super) struct Demo {
    /// The configuration of the fleet's supervisorctl, to kill programs with.
    #[arg(long, value_name = "FILE")]
    pub(super) supervisorctl: PathBuf,
    #[command(flatten)]
    pub(super) doors: Doors,
}

fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|digit: char| !digit.is_ascii_digit() && digit != '.').unwrap_or(text.len());
    let number: f64 = text[..at].parse().map_err(|_| "write a number and a unit: 500ms, 30s, 5m".to_owned())?;
    let factor = match &text[at..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("the unit is ms, s, m or h".to_owned()),
    };
    Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string())
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if times > 0.0 && f64::is_finite(times) => Ok(Speed::Times(times)),
        _ => Err("write a number above 0, or max".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_and_speeds_are_read() {
        for (text, expected) in
            [("500ms", Some(500)), ("30s", Some(30_000)), ("1.5", Some(1_500)), ("2m", Some(120_000)), ("x", None), ("3d", None)]
        {
            assert_eq!(duration(text).ok().map(|duration| duration.as_millis()), expected, "{text}");
        }
        for (text, expected) in [("max", Some(Speed::Max)), ("60", Some(Speed::Times(60.0))), ("0", None), ("-1", None), ("inf", None)] {
            assert_eq!(speed(text).ok(), expected, "{text}");
        }
    }
}
