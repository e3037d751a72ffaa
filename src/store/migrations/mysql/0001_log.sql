-- What outlives Redis of the shards: settings, positions, the topics' messages, and what a floor needs.
-- Ids are unsigned 64-bit values in signed columns; times are UTC milliseconds; topics are texts such as g:17.

CREATE TABLE IF NOT EXISTS setting (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value VARCHAR(255) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS shard (
    shard BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,             -- the highest one ever allocated
    archived_epoch BIGINT NOT NULL,    -- with archived_commit: the last commit of the log whose effect is here
    archived_commit BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- No secondary index: this is the hot path.
CREATE TABLE IF NOT EXISTS message (
    topic VARCHAR(24) NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    sender BIGINT NOT NULL,            -- 0: the fleet itself
    installation BIGINT NOT NULL,
    client_seq BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    body LONGBLOB NOT NULL,
    shard BIGINT NOT NULL,
    PRIMARY KEY (topic, epoch, seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS topic_head (
    topic VARCHAR(24) NOT NULL PRIMARY KEY,
    shard BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    tenant BIGINT NOT NULL,
    profile_version BIGINT NOT NULL    -- 0: no profile
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS topic_head_shard ON topic_head (shard, topic);

CREATE TABLE IF NOT EXISTS topic_member (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    account BIGINT NOT NULL,
    version BIGINT NOT NULL,
    spans LONGBLOB NOT NULL,               -- a MemberRow of which only the spans are filled
    PRIMARY KEY (shard, topic, account)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS topic_register (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    grp BIGINT NOT NULL,
    version BIGINT NOT NULL,
    joined BIGINT NOT NULL,
    name VARCHAR(128) NOT NULL,
    PRIMARY KEY (shard, topic, grp)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS topic_producer (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    account BIGINT NOT NULL,
    installation BIGINT NOT NULL,
    client_seq BIGINT NOT NULL,
    PRIMARY KEY (shard, topic, account, installation)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS topic_mark (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    account BIGINT NOT NULL,
    installation BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (shard, topic, account, installation)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
