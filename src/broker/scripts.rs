//! The Lua scripts, each a file with its keys, arguments and result in its header.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;

pub(super) struct Script {
    code: &'static str,
    sha: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, sha: redis::Script::new(code).get_hash().to_owned() }
    }

    /// `EVALSHA` with its keys; arguments follow.
    pub(super) fn call(&self, keys: &[&str]) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha).arg(keys.len()).arg(keys);
        command
    }
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file))));)*

        fn all() -> Vec<&'static Script> {
            vec![$(&$name,)*]
        }
    };
}

scripts! {
    ALERT_CANCEL = "alert_cancel.lua";
    ALERT_COMMIT = "alert_commit.lua";
    ATTEMPT = "attempt.lua";
    BEGIN = "begin.lua";
    CHECKPOINT = "checkpoint.lua";
    CLAIM = "claim.lua";
    CLOCK = "clock.lua";
    COMMIT = "commit.lua";
    FAIL = "fail.lua";
    FINISH = "finish.lua";
    GIVE_BACK = "give_back.lua";
    KEEP = "keep.lua";
    LOSE = "lose.lua";
    NEAR = "near.lua";
    POSITION = "position.lua";
    QUALITY = "quality.lua";
    REAP = "reap.lua";
    RECLAIM = "reclaim.lua";
    RELEASE = "release.lua";
    RENEW = "renew.lua";
    SESSION_BEAT = "session_beat.lua";
    SESSION_OPEN = "session_open.lua";
    SESSION_CLOSE = "session_close.lua";
    SESSION_REVOKE = "session_revoke.lua";
    SQL_EPOCH = "sql_epoch.lua";
    TALK_ANNOUNCE = "talk_announce.lua";
    TALK_MOVE = "talk_move.lua";
    WHEN_FULL = "when_full.lua";
}

/// Loads all scripts, so that `EVALSHA` finds them on this connection's server.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> Result<(), redis::RedisError> {
    let mut pipeline = redis::pipe();
    for script in all() {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.code).ignore();
    }
    pipeline.query_async::<()>(connection).await
}
