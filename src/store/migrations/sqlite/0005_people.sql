-- The tree of accounts, devices, kinds of groups and roles in them, friends, rooms.

ALTER TABLE account ADD COLUMN parent BIGINT NOT NULL DEFAULT 0;     -- the account above; 0: none
ALTER TABLE account ADD COLUMN deleted_ms BIGINT NOT NULL DEFAULT 0; -- 0: not deleted. A deleted account's name is free: it is called deleted/<id>
CREATE INDEX account_parent ON account (parent, id);
CREATE INDEX account_tenant ON account (tenant, id);
-- kind: 1 device, 2 dispatcher, 3 distributor, 4 company, 5 root

CREATE TABLE account_profile (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES account (id),
    email VARCHAR(254) NOT NULL,
    phone VARCHAR(32) NOT NULL,
    address VARCHAR(255) NOT NULL,
    contact VARCHAR(128) NOT NULL,
    remark VARCHAR(1000) NOT NULL
) WITHOUT ROWID;

CREATE TABLE device (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES account (id),
    imei VARCHAR(15) NOT NULL UNIQUE,
    model VARCHAR(64) NOT NULL,
    activated_ms BIGINT NOT NULL,      -- 0: not said
    sold_ms BIGINT NOT NULL,           -- 0: not said
    log_upload BIGINT NOT NULL         -- 0 or 1: whether it is to send its log
) WITHOUT ROWID;

-- Names of groups are unique among the live ones of an owner, which is checked under the lock of the counter. SQLite drops no constraint, so
-- the table is made anew, and with it the one that refers to it.
CREATE TABLE grp_new (
    id BIGINT NOT NULL PRIMARY KEY,
    tenant BIGINT NOT NULL REFERENCES tenant (id),
    name VARCHAR(128) NOT NULL,
    version BIGINT NOT NULL,           -- of the last change of a member
    owner BIGINT NOT NULL DEFAULT 0,        -- the account it belongs to; 0: the tenant's operators alone
    kind BIGINT NOT NULL DEFAULT 1,         -- 1 normal, 2 temporary, 3 call
    created_ms BIGINT NOT NULL DEFAULT 0,
    dissolved_ms BIGINT NOT NULL DEFAULT 0, -- 0: live
    installation BIGINT NOT NULL DEFAULT 0, -- of a temporary group: whose session it lives as long as
    session BIGINT NOT NULL DEFAULT 0
) WITHOUT ROWID;
INSERT INTO grp_new (id, tenant, name, version) SELECT id, tenant, name, version FROM grp;
CREATE TABLE grp_member_new (
    grp BIGINT NOT NULL REFERENCES grp_new (id),
    account BIGINT NOT NULL REFERENCES account (id),
    version BIGINT NOT NULL,           -- of the group, at this member's last change
    present BIGINT NOT NULL,           -- 0: a former member
    role BIGINT NOT NULL DEFAULT 1,    -- 1 member, 2 manager, 3 owner
    PRIMARY KEY (grp, account)
) WITHOUT ROWID;
INSERT INTO grp_member_new (grp, account, version, present) SELECT grp, account, version, present FROM grp_member;
DROP TABLE grp_member;
DROP TABLE grp;
ALTER TABLE grp_new RENAME TO grp;
ALTER TABLE grp_member_new RENAME TO grp_member;
CREATE INDEX grp_member_account ON grp_member (account, grp);
CREATE INDEX grp_name ON grp (tenant, name);
CREATE INDEX grp_owner ON grp (owner, kind, id);
CREATE INDEX grp_kind ON grp (kind, dissolved_ms, id);

CREATE TABLE friend (
    account BIGINT NOT NULL REFERENCES account (id),
    other BIGINT NOT NULL REFERENCES account (id),
    state BIGINT NOT NULL,             -- 1 account asked other, 2 friends: then the pair stands both ways round
    since_ms BIGINT NOT NULL,
    PRIMARY KEY (account, other)
) WITHOUT ROWID;
CREATE INDEX friend_other ON friend (other, state);

-- Access tokens that were called back: those of an installation (0: of all) signed before a moment. Rows leave when no such token lives.
CREATE TABLE token_revocation (
    account BIGINT NOT NULL,
    installation BIGINT NOT NULL,
    before_ms BIGINT NOT NULL,
    PRIMARY KEY (account, installation)
) WITHOUT ROWID;

ALTER TABLE login_record ADD COLUMN app VARCHAR(64) NOT NULL DEFAULT '';

-- Which room each user is in, as their inbox says: the row that is joined. Written by the archive.
CREATE TABLE topic_room (
    shard BIGINT NOT NULL,
    topic VARCHAR(24) NOT NULL,
    grp BIGINT NOT NULL,
    version BIGINT NOT NULL,
    joined BIGINT NOT NULL,
    PRIMARY KEY (shard, topic, grp)
) WITHOUT ROWID;
CREATE INDEX topic_room_grp ON topic_room (grp, joined);

ALTER TABLE topic_head ADD COLUMN manager BIGINT NOT NULL DEFAULT 0;
ALTER TABLE topic_head ADD COLUMN nickname VARCHAR(128) NOT NULL DEFAULT '';
