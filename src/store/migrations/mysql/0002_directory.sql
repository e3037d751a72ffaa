-- People and groups, and what has to be said about them to the shards.

-- The last number given out of each kind. The row stays locked until its transaction ends, so numbers become visible in their order.
CREATE TABLE IF NOT EXISTS counter (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO counter (name, value) VALUES ('tenant', 0), ('account', 0), ('grp', 0), ('outbox', 0);

CREATE TABLE IF NOT EXISTS tenant (
    id BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL UNIQUE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS account (
    id BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL UNIQUE,
    nickname VARCHAR(128) NOT NULL,
    kind BIGINT NOT NULL,              -- 1 device, 2 dispatcher
    tenant BIGINT NOT NULL REFERENCES tenant (id),
    password VARCHAR(255) NOT NULL,    -- an Argon2id hash; empty: no login
    version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    disabled BIGINT NOT NULL           -- 0 or 1
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS grp (
    id BIGINT NOT NULL PRIMARY KEY,
    tenant BIGINT NOT NULL REFERENCES tenant (id),
    name VARCHAR(128) NOT NULL,
    version BIGINT NOT NULL,           -- of the last change of a member
    UNIQUE (tenant, name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS grp_member (
    grp BIGINT NOT NULL REFERENCES grp (id),
    account BIGINT NOT NULL REFERENCES account (id),
    version BIGINT NOT NULL,           -- of the group, at this member's last change
    present BIGINT NOT NULL,           -- 0: a former member
    PRIMARY KEY (grp, account)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS grp_member_account ON grp_member (account, grp);

CREATE TABLE IF NOT EXISTS outbox (
    id BIGINT NOT NULL PRIMARY KEY,
    topic VARCHAR(24) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    item LONGBLOB NOT NULL,                -- an InItem
    created_ms BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS resume_token (
    hash VARBINARY(32) NOT NULL PRIMARY KEY,
    account BIGINT NOT NULL REFERENCES account (id),
    installation BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    used BIGINT NOT NULL               -- 0 or 1
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS resume_token_account ON resume_token (account, installation);

CREATE TABLE IF NOT EXISTS login_record (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    account BIGINT NOT NULL,
    installation BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    outcome VARCHAR(64) NOT NULL,
    peer VARCHAR(64) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX IF NOT EXISTS login_record_account ON login_record (account, id);
