-- The tree of accounts, devices, kinds of groups and roles in them, friends, rooms.

ALTER TABLE account
    ADD COLUMN IF NOT EXISTS parent BIGINT NOT NULL DEFAULT 0,     -- the account above; 0: none
    ADD COLUMN IF NOT EXISTS deleted_ms BIGINT NOT NULL DEFAULT 0; -- 0: not deleted. A deleted account's name is free: it is called deleted/<id>
CREATE INDEX IF NOT EXISTS account_parent ON account (parent, id);
CREATE INDEX IF NOT EXISTS account_tenant ON account (tenant, id);
-- kind: 1 device, 2 dispatcher, 3 distributor, 4 company, 5 root

CREATE TABLE IF NOT EXISTS account_profile (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES account (id),
    email VARCHAR(254) NOT NULL,
    phone VARCHAR(32) NOT NULL,
    address VARCHAR(255) NOT NULL,
    contact VARCHAR(128) NOT NULL,
    remark VARCHAR(1000) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS device (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES account (id),
    imei VARCHAR(15) NOT NULL UNIQUE,
    model VARCHAR(64) NOT NULL,
    activated_ms BIGINT NOT NULL,      -- 0: not said
    sold_ms BIGINT NOT NULL,           -- 0: not said
    log_upload BIGINT NOT NULL         -- 0 or 1: whether it is to send its log
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Names of groups are unique among the live ones of an owner, which is checked under the lock of the counter.
-- The new index first: a foreign key needs one that begins with tenant.
CREATE INDEX IF NOT EXISTS grp_name ON grp (tenant, name);
ALTER TABLE grp DROP INDEX IF EXISTS tenant;
ALTER TABLE grp
    ADD COLUMN IF NOT EXISTS owner BIGINT NOT NULL DEFAULT 0,        -- the account it belongs to; 0: the tenant's operators alone
    ADD COLUMN IF NOT EXISTS kind BIGINT NOT NULL DEFAULT 1,         -- 1 normal, 2 temporary, 3 call
    ADD COLUMN IF NOT EXISTS created_ms BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS dissolved_ms BIGINT NOT NULL DEFAULT 0, -- 0: live
    ADD COLUMN IF NOT EXISTS installation BIGINT NOT NULL DEFAULT 0, -- of a temporary group: whose session it lives as long as
    ADD COLUMN IF NOT EXISTS session BIGINT NOT NULL DEFAULT 0;
CREATE INDEX IF NOT EXISTS grp_owner ON grp (owner, kind, id);
CREATE INDEX IF NOT EXISTS grp_kind ON grp (kind, dissolved_ms, id);

ALTER TABLE grp_member
    ADD COLUMN IF NOT EXISTS role BIGINT NOT NULL DEFAULT 1;         -- 1 member, 2 manager, 3 owner

CREATE TABLE IF NOT EXISTS friend (
    account BIGINT NOT NULL REFERENCES account (id),
    other BIGINT NOT NULL REFERENCES account (id),
    state BIGINT NOT NULL,             -- 1 account asked other, 2 friends: then the pair stands both ways round
    since_ms BIGINT NOT NULL,
    PRIMARY KEY (account, other)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS friend_other ON friend (other, state);

-- Access tokens that were called back: those of an installation (0: of all) signed before a moment. Rows leave when no such token lives.
CREATE TABLE IF NOT EXISTS token_revocation (
    account BIGINT NOT NULL,
    installation BIGINT NOT NULL,
    before_ms BIGINT NOT NULL,
    PRIMARY KEY (account, installation)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

ALTER TABLE login_record
    ADD COLUMN IF NOT EXISTS app VARCHAR(64) NOT NULL DEFAULT '';

-- Which room each user is in, as their inbox says: the row that is joined. Written by the archive.
CREATE TABLE IF NOT EXISTS topic_room (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    grp BIGINT NOT NULL,
    version BIGINT NOT NULL,
    joined BIGINT NOT NULL,
    PRIMARY KEY (shard, topic, grp)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS topic_room_grp ON topic_room (grp, joined);

ALTER TABLE topic_head
    ADD COLUMN IF NOT EXISTS manager BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS nickname VARCHAR(128) NOT NULL DEFAULT '';
