//! A small deterministic simulator: a whole fleet over the real core, in one thread, with chance from a seed.
//!
//! Clients, edges, owners, archives, a replay worker and the directory's relay are short programs; Redis with its replica and SQL are models
//! whose methods are atomic. How big a fleet is follows from the seed, too. Every step is one action of one program, so a kill, a sleep or a loss falls between any two. Then the faults stop, all
//! comes to rest, and [`check`] judges without asking the core.
//!
//! What the programs here do, the real ones must do. The rules:
//!
//! **Edge.**
//! - One frame in flight for a shard and lane. A failed push is tried again with the same number before any other; a receipt follows a
//!   push that succeeded, and nothing else.
//! - Frames of an owner below the highest (epoch, token) heard are dropped, and so are counters at or below the last. Another owner, or a
//!   counter that is not the next: every session of the shard attaches again, the refused and the ended ones too. To a new owner an edge
//!   pushes a frame at once, even an empty one.
//! - A session attaches with [`roger::topic::Cursor::mark`]. An answer that the cursor does not take is answered by attaching again.
//! - After everything that moves a cursor, and before it asks: `skip` until there is none, and tell it.
//! - An inbox's answer names the groups of the register, and those left: all are attached, those too of which only what was said before a
//!   departure is still on its way. Notices at or below that answer's head are
//!   history and change nothing; later ones do. A joined notice attaches even what is followed, and a departure attaches once more:
//!   inbox and group belong to two shards, whose frames have no order.
//! - What the register names and is refused or ended is attached again by a timer, until the register no longer names it.
//! - A request for replay is given up only when nothing is left to read on the page stream; each has a number never used before.
//! - What a page names as lost is told in its place: the entries that a cursor kept come with the last page and lie behind it.
//! - A shard that is silent for three heartbeats is attached again.
//! - A receipt says `replica` once the replica was asked after the push and has it. What a server took that is the primary no more is pushed
//!   again. Nobody waits for a replica that does not follow; the receipt says less then.
//!
//! **Owner.**
//! - Claim: with the lease, write a new nonce and a token above the last *claimed* one, whatever the lease's counter says. Nobody else can
//!   write from then on; then read rows and log.
//! - Every write checks nonce and turn, and adds one to the turn, checkpoints included: a checkpoint that Redis forgot is noticed although
//!   the number of the last commit still fits. A write without an answer voids the memory.
//! - A connection belongs to one run of Redis. When it breaks or the run changes, the memory is void: also pushes to other shards may be
//!   gone, which no turn shows.
//! - Forwards are pushed in order, each until it succeeded, before the next checkpoint; a new owner first pushes those in the log behind
//!   the checkpoint, before it begins an epoch too.
//! - Where SQL goes on in a later epoch than the log of the server, another server outran it: rows, log and forwards are void, and the epoch begins from SQL
//!   alone; what the log has on messages that SQL knows nothing of is decided anew.
//! - A loss that only the owner knows of (an edge or the archive saw a later commit) is first marked in `meta`; only the beginning of an
//!   epoch clears the mark. The epoch is allocated after the state was read.
//! - An epoch is answered once sentinels, asked after SQL allocated it, still name the server of the request.
//! - An epoch begins with [`roger::topic::Shard::restart`]: its rows first, then in one script position, run, mark and first commit.
//! - A checkpoint holds no commit whose forwards are not pushed; its position is written with the last of its rows.
//! - Edges are told of a commit once the replica has it; not later than it becomes clear that none follows.
//! - Something is said to every living edge at every turn of the heartbeat, attached or not. The counter of an edge whose heartbeat lapsed
//!   skips a number.
//! - Only where Redis may lose writes under the same run id: nothing is decided before every living edge spoke since the claim.
//!
//! **Archive.**
//! - It reads the log only where the newest epoch of SQL began, or a later one: on a primary of before an owner may go on in an epoch that is
//!   over. An epoch that nobody begins, for whoever asked for it was too late, is told to the owner.
//! - The epoch SQL has is read before the log. A transaction names it and its position, and is refused if either moved; then both and the
//!   log are read anew.
//! - Rows are the core's own: SQL's rows as a checkpoint at the archive's position, the log folded over them. Not the feeds: a frame that
//!   Redis has again after a loss must be judged again.
//! - The log is trimmed behind the lower of archived and checkpointed. A log that ends before the archive is told to the owner with a
//!   frame whose `seen` is the archive's position.
//! - A replay answers alone from a [`roger::topic::replay::Window`] on the log what that proves to be all. In a log that ends far ahead the window
//!   leaps over what Redis says SQL has, and counts it as left, for that may be of an SQL that is gone. Otherwise it reads SQL, and the window
//!   for what lies behind. Seq has no holes over epochs either, so it sees what it lacks. That is lost once something
//!   behind it is archived; until then nothing is answered, for the archive may have it in hand. What seems lost is looked
//!   for once more: the archive may have brought it in between the first look and what shows that it is lost.
//!
//! **Directory.**
//! - A change goes into the group, then into the inbox, each under a number of its own: both may live in one shard.
//! - A change is relayed once the primary, asked for anew after the push, is the server that took it: every later epoch begins with the truth.
//! - The truth for a new epoch names former members, with their versions.
//!
//! **Client.**
//! - A message's predecessor is fixed with its number. After a reconnect all without a receipt are sent again in order, before new ones.
//! - A refusal is final for its number: the text is sent again only under a new one. `predecessor_missing` says as well that everything
//!   above its `client_seq_high` was lost, receipts or not.

mod check;
mod client;
mod edge;
mod faults;
mod fleet;
pub(crate) mod nemeses;
mod offline;
mod owner;
mod pair;
mod redis;
mod replay;
pub(crate) mod run;
mod sql;
mod uplink;
mod world;
