-- What outlives Redis of the shards: settings, positions, the topics' messages, and what a floor needs.
-- Ids are unsigned 64-bit values in signed columns; times are UTC milliseconds; topics are texts such as g:17.

CREATE TABLE setting (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value VARCHAR(255) NOT NULL
) WITHOUT ROWID;

CREATE TABLE shard (
    shard BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,             -- the highest one ever allocated
    archived_epoch BIGINT NOT NULL,    -- with archived_commit: the last commit of the log whose effect is here
    archived_commit BIGINT NOT NULL
) WITHOUT ROWID;

-- No secondary index: this is the hot path.
CREATE TABLE message (
    topic VARCHAR(24) NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    sender BIGINT NOT NULL,            -- 0: the fleet itself
    installation BIGINT NOT NULL,
    client_seq BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    body BLOB NOT NULL,
    shard BIGINT NOT NULL,
    PRIMARY KEY (topic, epoch, seq)
) WITHOUT ROWID;

CREATE TABLE topic_head (
    topic VARCHAR(24) NOT NULL PRIMARY KEY,
    shard BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    tenant BIGINT NOT NULL,
    profile_version BIGINT NOT NULL    -- 0: no profile
) WITHOUT ROWID;
CREATE INDEX topic_head_shard ON topic_head (shard, topic);

CREATE TABLE topic_member (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    account BIGINT NOT NULL,
    version BIGINT NOT NULL,
    spans BLOB NOT NULL,               -- a MemberRow of which only the spans are filled
    PRIMARY KEY (shard, topic, account)
) WITHOUT ROWID;

CREATE TABLE topic_register (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    grp BIGINT NOT NULL,
    version BIGINT NOT NULL,
    joined BIGINT NOT NULL,
    name VARCHAR(128) NOT NULL,
    PRIMARY KEY (shard, topic, grp)
) WITHOUT ROWID;

CREATE TABLE topic_producer (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    account BIGINT NOT NULL,
    installation BIGINT NOT NULL,
    client_seq BIGINT NOT NULL,
    PRIMARY KEY (shard, topic, account, installation)
) WITHOUT ROWID;

CREATE TABLE topic_mark (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    account BIGINT NOT NULL,
    installation BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (shard, topic, account, installation)
) WITHOUT ROWID;
