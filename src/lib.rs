//! Roger: the back-end of a push-to-talk dispatch platform. A receipt ("roger") means that a message is stored, and whoever it is for gets
//! it exactly once, in order.
//!
//! The rooms, each with what it is for; a room imports only those above it (`tests/it/tidy.rs` holds that). `ARCHITECTURE.md` has the
//! invariants and walks one message through.
//!
//! | room | holds |
//! |---|---|
//! | [`model`] | ids, places, messages, reasons: pure values |
//! | [`config`] | what an operator may set, judged before a port is bound |
//! | [`retry`], [`telemetry`], [`shutdown`], [`clock`], [`throttle`] | plumbing that knows nothing of dispatch |
//! | [`topic`] | the core, pure: a shard of topics as a state machine, and the frames that stand on Redis |
//! | [`talk`] | what Janus says of talk, pure |
//! | [`location`] | reports of positions, pure: what is good, where access points place a device, traces, what devices do at geofences |
//! | [`alert`] | emergency alerts, pure: from the first press to the end |
//! | [`audio`] | sound: WAV, Opus, RTP, the recordings that Janus and Roger keep |
//! | [`floor`] | who may talk in a group's room, pure: requests, grants, the queue |
//! | [`token`] | access tokens: signed by the directory, verified by edges |
//! | [`broker`] | Redis: connections, keys, streams, scripts |
//! | [`sms`] | texts to telephones |
//! | [`listener`] | what supervisord says of programs, told by text to whoever is on call |
//! | [`store`] | SQL: SQLite and MariaDB |
//! | [`janus`] | the client of the media server, a stock Janus |
//! | [`objects`] | the bytes of files, releases and recordings: a folder, or S3 |
//! | [`session`] | who is connected, where, until when |
//! | [`worker`] | the engine: ordered work by lease, competing work by consumer group, dead letters |
//! | [`proto`] | the client protocol, its conversions, its statuses, its server |
//! | [`jobs`] | the kinds of work, one file or folder each |
//! | [`edge`] | sessions of clients |
//! | [`directory`] | login, accounts, devices, groups, friends |
//! | [`gateway`] | HTTP: app releases, files, server addresses |
//! | [`client`] | the library an app in Rust uses: a session that survives the death of edges and of the app |
//! | [`cli`] | the commands of `roger` |
//! | [`program`] | the frame of every program |
//!
//! The flow: client -> edge -> `{s}:in` -> deliver -> `{s}:log` and `out:{edge}` -> edge -> client; archive: `{s}:log` -> SQL -> replay.

pub mod alert;
pub mod audio;
pub mod broker;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod directory;
pub mod edge;
pub mod floor;
pub mod gateway;
pub mod janus;
pub mod jobs;
pub mod listener;
pub mod location;
pub mod model;
pub mod objects;
pub mod program;
pub mod proto;
pub mod retry;
pub mod session;
pub mod shutdown;
pub mod sms;
pub mod store;
pub mod talk;
pub mod telemetry;
pub mod throttle;
pub mod token;
pub mod topic;
pub mod worker;
