//! Every key on Redis, with its type, fields, expiry, writer and readers. Keys of one script share a hash tag.

use crate::model::{AlertId, TenantId, TopicId, UserId};

/// STREAM of [`crate::topic::frame::InFrame`]: what goes into a shard. Written by edges, the directory and other shards; read and trimmed
/// by the shard's owner in its commit. No expiry.
pub fn input(shard: u32) -> String {
    format!("{{s{shard}}}:in")
}

/// STREAM of [`crate::topic::frame::InFrame`]: like [`input`], drained first. For alerts.
pub fn urgent(shard: u32) -> String {
    format!("{{s{shard}}}:urgent")
}

/// STREAM of [`crate::topic::frame::InFrame`]: what the shard's rooms have for the media server, seats and microphones. Made and kept alive by who works the
/// media server, written by the shard's owner after its commit, read and trimmed by who works the media server.
pub fn media(shard: u32) -> String {
    format!("{{s{shard}}}:media")
}

/// STREAM of [`crate::topic::frame::LogFrame`] under the ids `<epoch>-<commit>`: every outcome in order. Written by the shard's owner;
/// read by the archive, by a new owner, and for replays; trimmed by the archive.
pub fn log(shard: u32) -> String {
    format!("{{s{shard}}}:log")
}

/// HASH: `epoch`, `commit` (the last one), `nonce` (the owner's), `turn` (rises with every write of an owner), `token` (rises with every
/// claim), `clean` (1 after a clean stop), `deaths` (since the last commit: owners that may have died over the work in front), `trying` (the
/// turn at which an owner took suspicious work in hand), `item` (which item of the first frame), `in` and `urgent` (ids up to
/// which the input is taken in), `checkpoint` (`<epoch>-<commit>` that [`state`] holds; everything up to there is forwarded too), `run_id`
/// (of the Redis in which the epoch began), `lost` (what was found lost since; a new epoch clears it). Written by the owner's scripts;
/// read by owners and the doctor. No expiry.
pub fn meta(shard: u32) -> String {
    format!("{{s{shard}}}:meta")
}

/// HASH from [`crate::topic::frame::RowKind::key`] to [`crate::topic::frame::Row`]: the checkpoint of a shard's state. Written by the
/// owner about once a second; read by a new owner. No expiry.
pub fn state(shard: u32) -> String {
    format!("{{s{shard}}}:state")
}

/// STRING: who works on the shard for `job`: `deliver` or `archive`, and on shard 0 `outbox` for the directory's relay. Expires after the
/// lease's lifetime. Written and renewed by its holder; read by the others who would be, and by the doctor.
pub fn lease(shard: u32, job: &str) -> String {
    format!("{{s{shard}}}:lease:{job}")
}

/// STRING `<epoch>-<commit>`: up to where SQL holds the log. Written by the archive; read by the doctor and the owner. No expiry.
pub fn archived(shard: u32) -> String {
    format!("{{s{shard}}}:archived")
}

/// STREAM of [`crate::topic::frame::FloorFrame`]: the answer to one floor request. Made by the owner that asks; written by offline, only while it
/// exists; read and deleted by that owner; expires soon unless an answer comes.
pub fn floor_reply(shard: u32, nonce: u64) -> String {
    format!("{}{nonce:x}", floor_replies(shard))
}

/// How the keys of a shard's streams like [`floor_reply`] begin.
pub fn floor_replies(shard: u32) -> String {
    format!("{{s{shard}}}:floor:")
}

/// STRING: that offline is gathering the answer to a floor request of the shard. Written by the job `floor`, again and again; read by the
/// archive, which takes no epoch for forgotten meanwhile. Expires within seconds of the last word.
pub fn floor_under_way(shard: u32) -> String {
    format!("{{s{shard}}}:gathering")
}

/// STREAM of [`crate::topic::frame::FloorRequest`], consumer group `offline`: shards that lost state. Written by their owners; read
/// by offline. No expiry.
pub fn floor() -> String {
    "floor".to_owned()
}

/// STREAM of [`crate::topic::frame::ReplayRequest`], consumer group `offline`: sessions that lack something. Written by edges; read
/// by offline. No expiry.
pub fn replay() -> String {
    "replay".to_owned()
}

/// STREAM of [`crate::location::frame::FixFrame`], consumer group `gps`: reports of positions. Written by edges and the gateway; read by gps,
/// which deletes what SQL has. No expiry; near `gps.backlog_bytes_max` nothing more is let in.
pub fn fix() -> String {
    "fix".to_owned()
}

/// GEO set of the devices of a tenant, by id, where they are now; those beyond the latitudes that Redis takes (85.05) are in [`polar`]. Written
/// by gps; read by the directory. No expiry: the last word stands.
pub fn near(tenant: TenantId) -> String {
    format!("{{near{tenant}}}:geo")
}

/// HASH from device to `<latitude> <longitude>`: devices near the poles. Written by gps; read by
/// the directory. No expiry.
pub fn polar(tenant: TenantId) -> String {
    format!("{{near{tenant}}}:polar")
}

/// SORTED SET of the devices in [`near`] and [`polar`] by the time of their fix (UTC ms), so that an older fix changes nothing.
/// Written and read by gps. No expiry.
pub fn near_at(tenant: TenantId) -> String {
    format!("{{near{tenant}}}:at")
}

/// SORTED SET of `<account> <edge>` by the time the watch lapses (UTC ms): edges with sessions that want to see where the devices of an account
/// are. Written and swept by the edges; read by gps. No expiry.
pub fn watchers() -> String {
    "watchers".to_owned()
}

/// STREAM of [`crate::alert::frame::SosFrame`], consumer group `sos`: presses of SOS, and what dispatchers do to alerts. On the Redis of
/// `sos.redis_url`, as all keys that begin with `{sos}`. Written by edges and the gateway; read by sos. No expiry.
pub fn sos() -> String {
    "{sos}:in".to_owned()
}

/// HASH of an alert: `version`, `device`, `state` (JSON [`crate::alert::Alert`]). Written and read by sos; read by operators. Expires days
/// after the alert is over; SQL has it then.
pub fn alert(id: AlertId) -> String {
    format!("{{sos}}:alert:{id}")
}

/// HASH from device to its open alert. Written and read by sos; read by operators. No expiry: fields leave when alerts are over.
pub fn alerts_open() -> String {
    "{sos}:open".to_owned()
}

/// SORTED SET of open alerts by when something is to happen by itself (UTC ms). Written and read by sos. No expiry.
pub fn alerts_due() -> String {
    "{sos}:due".to_owned()
}

/// STRING that a press is known by: `<device>:<installation hex>:<press hex>`. Written and read by sos. Expires after two days.
pub fn alert_press(press: &str) -> String {
    format!("{{sos}}:press:{press}")
}

/// HASH from device to the id of the entry of [`sos`] by which it took SOS back last: a press before it opens nothing any more. Written and read by
/// sos. No expiry.
pub fn alert_cancels() -> String {
    "{sos}:cancels".to_owned()
}

/// STREAM of [`crate::alert::frame::TellFrame`], consumer group `sos`: what topics are to be told. Written and read by sos. No expiry.
pub fn alert_tells() -> String {
    "{sos}:tell".to_owned()
}

/// STREAM of [`crate::alert::frame::TextFrame`], consumer group `sos`: texts to telephones. Written and read by sos. No expiry.
pub fn alert_texts() -> String {
    "{sos}:text".to_owned()
}

/// STREAM of [`crate::alert::frame::EventFrame`], consumer group `sos`: what happened to alerts, for SQL. Written and read by sos. No expiry.
pub fn alert_events() -> String {
    "{sos}:events".to_owned()
}

/// HASH from account to JSON [`crate::alert::Desk`], and the field `made` once it was filled: how the alerts of an account's devices are escalated.
/// Written and read by sos. No expiry.
pub fn alert_desks() -> String {
    "{sos}:desks".to_owned()
}

/// HASH: what came of the probe of SOS: `passed_ms` (when it came through last, UTC ms), `took_ms` (how long that took), `tried_ms` (when the last one
/// ended), `failed` (how many failed since one came through), `why` (of the last one that failed). Written by sos; read by operators. No expiry: it is
/// one.
pub fn sos_probe() -> String {
    "{sos}:probe".to_owned()
}

/// STRING: the boot name of the sos program whose turn it is to probe. Written and read by sos. Expires when the next turn begins, or some seconds
/// later when whoever had it died.
pub fn sos_probe_turn() -> String {
    "{sos}:probe:turn".to_owned()
}

/// HASH from entry id to how often the attempt at it failed, and from `<id>:why` to what went wrong first, for a stream that a consumer group reads. Written by the group's consumers;
/// fields leave with their entries. No expiry.
pub fn failures(stream: &str) -> String {
    // In the slot of the stream: one script changes both.
    if stream.contains('{') { format!("{stream}:failures") } else { format!("{{{stream}}}:failures") }
}

/// STREAM of JSON, one field `letter`: work that was given up, with its reason and whole payload. Written by workers; read, redriven and
/// dropped by `roger dead`. No expiry: a human decides.
pub fn dead() -> String {
    "dead".to_owned()
}

/// STRING, JSON: the letters that an entry of a stream was redriven from. Written when it is, read when it fails again. Expires after thirty days.
pub fn dead_history(stream: &str, entry: &str) -> String {
    format!("dead:history:{stream}:{entry}")
}

/// HASH from a job, or `<job>/<shard>`, to JSON [`crate::broker::Pause`]: what operators stopped for a while. On the Redis of what it works
/// on. Written by operators; read by workers and the doctor. No expiry: a pause has an end of its own.
pub fn paused() -> String {
    "paused".to_owned()
}

/// HASH: the time of the fleet, `fleet_ms`, when it was `redis_ms` by the clock of Redis (both UTC ms). Written and read once a second by every program;
/// read by operators. No expiry.
pub fn clock() -> String {
    "clock".to_owned()
}

/// SORTED SET of workers of a job by the time their heartbeat lapses (UTC ms). Written by each worker, on the Redis of what it works on; read by
/// operators, and by all of a job that share shards among them. No expiry.
pub fn workers(job: &str) -> String {
    format!("workers:{job}")
}

/// SORTED SET of edges (their boot names) by the time their heartbeat lapses (UTC ms). Written by each edge; read by owners and operators.
/// No expiry.
pub fn edges() -> String {
    "edges".to_owned()
}

/// HASH about an edge: `name`, `listen`, `sessions`, `started_ms`. Written by the edge with its heartbeat; read by
/// operators; expires with it.
pub fn edge(boot: &str) -> String {
    format!("edge:{{{boot}}}")
}

/// How the keys of edges' streams like [`out`] begin; the boot name follows, and a brace.
pub const OUT_PREFIX: &str = "out:{";

/// STREAM of [`crate::topic::frame::OutFrame`]: what an edge's sessions need. Written by owners, only while it exists; read and trimmed
/// by the edge; expires with the edge's heartbeat.
pub fn out(boot: &str) -> String {
    format!("out:{{{boot}}}")
}

/// STREAM of [`crate::topic::frame::OutFrame`]: like [`out`], read first. Alerts and session control.
pub fn out_urgent(boot: &str) -> String {
    format!("out:{{{boot}}}:urgent")
}

/// STREAM of [`crate::topic::frame::OutFrame`]: pages of replays for an edge. Written by offline; otherwise like [`out`].
pub fn out_replay(boot: &str) -> String {
    format!("out:{{{boot}}}:replay")
}

/// STREAM of [`crate::topic::frame::OutFrame`]: where devices are, for who watches at an edge. Written by gps, which keeps only the last few
/// entries; otherwise like [`out`], read last.
pub fn out_positions(boot: &str) -> String {
    format!("out:{{{boot}}}:positions")
}

/// HASH from installation id (hex) to JSON [`crate::session::Presence`]: the sessions of a user. Written by edges; read by
/// them, by owners and operators; fields leave by sign-out and by the sweep of [`deadlines`]. No expiry.
pub fn presence(user: UserId, shards: u32) -> String {
    format!("{{s{}}}:presence:{user}", TopicId::inbox(user).shard(shards))
}

/// SORTED SET of `<user> <installation hex> <session hex>` by the time the session lapses without a heartbeat (UTC ms). Written by edges;
/// read and swept by the shard's owner, read by operators. No expiry.
pub fn deadlines(shard: u32) -> String {
    format!("{{s{shard}}}:deadlines")
}

/// HASH from installation id (hex), `0` for all without a field of their own, to the time (UTC ms) up to which their access tokens are void
/// when they were signed then or before. Written by the directory when tokens are called back, and again every few seconds; read when
/// sessions open. Expires when all such tokens have run out.
pub fn revoked(user: UserId, shards: u32) -> String {
    format!("{{s{}}}:revoked:{user}", TopicId::inbox(user).shard(shards))
}

/// HASH about a user: `battery` (percent) and `battery_ms` (UTC ms, when it was said), written by edges with heartbeats; `position`, JSON
/// [`crate::model::Position`], written by whoever takes fixes in; `quality`, JSON [`crate::model::TalkQuality`], written by whoever works talk off
/// while the user has a session, and gone with the last one. Read by the directory and by operators. No expiry: the last word stands.
pub fn live(user: UserId, shards: u32) -> String {
    format!("{{s{}}}:live:{user}", TopicId::inbox(user).shard(shards))
}

/// STRING: the process that switches primaries by plan. Written and read by `roger redis switch`, which refuses while it is there. Expires when the
/// pause of writes is over at the latest.
pub fn switch() -> String {
    "switch".to_owned()
}

/// STRING: the number of shards of this deployment. Written by the first program ever started; read by all when they start, which refuse
/// another number. No expiry.
pub fn shards() -> String {
    "shards".to_owned()
}

/// STRING, empty: written to ask how far replicas are; in a cluster of a number that has a slot of the server that is asked. Written by whoever has to
/// know; read by nobody. Expires after a minute.
pub fn replicated(number: u32) -> String {
    format!("replicated:{number}")
}

/// STRING: the highest epoch of the SQL primary that any program or `roger sql` has seen. Written and read once a second by every program that
/// uses MariaDB. No expiry.
pub fn sql_epoch() -> String {
    "sql:epoch".to_owned()
}

/// STREAM of what Janus says, or of commands to it, JSON as it came, in the slot of the list that was written to, whose name is configured. Written
/// (moved there from that list), read in order and trimmed by the janus program that holds the lease. No expiry.
pub fn talk(list: &str) -> String {
    beside(list, "in")
}

/// LIST: an item of that list which somebody waited for, on its way to [`talk`]. Written and read by that program. No expiry.
pub fn talk_hand(list: &str) -> String {
    beside(list, "hand")
}

/// STRING: the process that waits for the answer to a request to a media server, as it is called in [`answers`]. Written by who asks; read by the janus
/// program. Expires with the deadline of the request.
pub fn command_asker(id: &str) -> String {
    format!("command:{{{id}}}:asker")
}

/// HASH about a request to a media server that was answered: `command` (which one it was), `item` (the answer as it went onto the list). Written and
/// read by the janus program that has commands carried out. Expires ten minutes later.
pub fn command_answer(id: &str) -> String {
    format!("command:{{{id}}}:answer")
}

/// STREAM of answers of a media server to a process, JSON. Made, read and trimmed by that process; written by the janus program, only while it exists.
/// Expires soon unless the process lives.
pub fn answers(process: &str) -> String {
    format!("answers:{{{process}}}")
}

/// HASH of the seats at Janus, values JSON: `session <url>`, the number of the session they belong to there, `stale <url>`, that of one to be
/// ended; `place <group>`, the URL of the Janus of several that has a room, `away <group>` for one that was told it is away; `user <id>`, `room <group>`. Written and read by the
/// bridge of the program janus. No expiry.
pub fn seats() -> String {
    "seats".to_owned()
}

/// STRING: that the recording of an id was put onto that list. Written, with the item, and read by the recorder on Janus's host. Expires after a week:
/// whoever works the list off knows the id for ever.
pub fn talk_announced(list: &str, id: &str) -> String {
    beside(list, &format!("announced:{id}"))
}

/// A key in the slot of another.
fn beside(key: &str, name: &str) -> String {
    if key.contains('{') { format!("{key}:{name}") } else { format!("{{{key}}}:{name}") }
}
