-- A history of version 3, the last before conversations, in SQLite, as commit d5b6b9e6 made it.
PRAGMA application_id = 1986945585;
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE blind (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    deployment TEXT NOT NULL,
    first TEXT NOT NULL, second TEXT NOT NULL,
    seed INTEGER NOT NULL, question TEXT NOT NULL,
    signature TEXT NOT NULL,
    created INTEGER NOT NULL, ended INTEGER
, generation INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE blind_pairs (
    session TEXT NOT NULL, position INTEGER NOT NULL,
    number INTEGER NOT NULL, case_id TEXT NOT NULL,
    first TEXT NOT NULL, second TEXT NOT NULL, same INTEGER NOT NULL,
    PRIMARY KEY (session, position)
) STRICT;
CREATE TABLE blind_ratings (
    seq INTEGER PRIMARY KEY,
    session TEXT NOT NULL, position INTEGER NOT NULL,
    choice TEXT NOT NULL, a_first INTEGER NOT NULL, note TEXT NOT NULL,
    rated INTEGER NOT NULL, undone INTEGER, sent INTEGER
) STRICT;
CREATE TABLE deletions (number INTEGER PRIMARY KEY AUTOINCREMENT, deleted_at INTEGER NOT NULL, why TEXT NOT NULL) STRICT;
CREATE TABLE large_values (hash TEXT PRIMARY KEY, size INTEGER NOT NULL, value TEXT NOT NULL) STRICT;
CREATE TABLE leases (
    sweep TEXT PRIMARY KEY, token TEXT NOT NULL, holder TEXT NOT NULL, expires_at INTEGER NOT NULL
) STRICT;
CREATE TABLE payloads (
    seq INTEGER PRIMARY KEY,
    inputs TEXT NOT NULL, outputs TEXT NOT NULL, output_types TEXT NOT NULL,
    not_sent TEXT NOT NULL, metadata TEXT, desired TEXT, nodes TEXT,
    large TEXT
) STRICT;
INSERT INTO "payloads" VALUES(1,'{"text":"hello"}','{"said":"hello"}','{"said":"STRING"}','[]',NULL,'{"said":"hello"}',NULL,NULL);
INSERT INTO "payloads" VALUES(2,'{"text":"again"}','{"said":"hello | again"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(3,'{"text":"a"}','{"said":"a"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(4,'{"text":"a"}','{"said":"a"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(5,'{"text":"rejected"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(6,'{"text":"rejected"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(7,'{"text":"part 0"}','{"said":"part 0"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(8,'{"text":"part 1"}','{"said":"part 1"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    execution_id TEXT,
    external_id TEXT UNIQUE,
    deployment TEXT NOT NULL,
    release_tag TEXT NOT NULL, release_id TEXT,
    environment TEXT,
    timestamp INTEGER NOT NULL, finished_at INTEGER, latency_s REAL,
    state TEXT NOT NULL,
    error_code TEXT, error_message TEXT,
    case_id TEXT NOT NULL,
    sweep_id TEXT, repeat INTEGER NOT NULL,
    previous_execution_id TEXT,
    quality REAL, note TEXT, tags TEXT,
    cost_usd REAL, tokens_in INTEGER, tokens_out INTEGER, model TEXT,
    tag_moved INTEGER NOT NULL,
    author TEXT,
    deletion INTEGER
, doubt TEXT, doubt_since INTEGER) STRICT;
INSERT INTO "runs" VALUES(1,'65203596-33a5-444a-ba97-b7220bc635b0','ab4b8281-9316-4620-8815-14135afb3368','65203596-33a5-444a-ba97-b7220bc635b0','count','v1','a4dc5abd-cca1-4261-8c40-fb764919ad48','local',1796278028377897,1796278028394706,0.016104,'FULFILLED',NULL,NULL,'cbbbdcd27692344d',NULL,0,NULL,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(2,'cc46326e-4bb7-41b5-bb1e-f4fe12e2c8d2','2d9fd86f-40bf-4d02-b886-4a27197ebe57','cc46326e-4bb7-41b5-bb1e-f4fe12e2c8d2','count','v1','a4dc5abd-cca1-4261-8c40-fb764919ad48','local',1796278028415377,1796278028446010,0.030075,'FULFILLED',NULL,NULL,'e978b6dc5d0a70ec',NULL,0,'ab4b8281-9316-4620-8815-14135afb3368',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(3,'2c84417a-d9bb-50fd-9ab6-7409a4853597','179281f3-000b-41d0-af87-812532c8207c','2c84417a-d9bb-50fd-9ab6-7409a4853597','count','v1','a4dc5abd-cca1-4261-8c40-fb764919ad48','local',1796278028477908,1796278028500611,0.020285,'FULFILLED',NULL,NULL,'6193c97585a0f731','4485b03a-c25a-4ab6-8046-9ef4a9a64fb0',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(4,'74fd5be1-3be3-5cf7-970c-1ef88e34506d','55a28145-cc62-4963-ad19-1e792713bae8','74fd5be1-3be3-5cf7-970c-1ef88e34506d','count','v2','a4dc5abd-cca1-4261-8c40-fb764919ad48','local',1796278028478018,1796278028500928,0.017813,'FULFILLED',NULL,NULL,'6193c97585a0f731','4485b03a-c25a-4ab6-8046-9ef4a9a64fb0',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(5,'4a393b83-d222-57ac-be81-fdf7692fabcd','a21549f7-b6ed-48eb-aa65-525fc45599a2','4a393b83-d222-57ac-be81-fdf7692fabcd','count','v1','a4dc5abd-cca1-4261-8c40-fb764919ad48','local',1796278028478058,1796278028508078,0.022381,'REJECTED','USER_DEFINED_ERROR','no','9d4a2833eb3ba02a','4485b03a-c25a-4ab6-8046-9ef4a9a64fb0',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(6,'97983461-7cea-5b41-a009-f557ef7beece','a6b8bd0d-f6e7-472b-b835-77f100a5ebf5','97983461-7cea-5b41-a009-f557ef7beece','count','v2','a4dc5abd-cca1-4261-8c40-fb764919ad48','local',1796278028478092,1796278028508965,0.022068,'REJECTED','USER_DEFINED_ERROR','no','9d4a2833eb3ba02a','4485b03a-c25a-4ab6-8046-9ef4a9a64fb0',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(7,'b50c3024-571e-5376-ba1f-4e5c608224f1','941df0a8-b051-45f4-8f58-636e3c33764c','b50c3024-571e-5376-ba1f-4e5c608224f1','count','v1','a4dc5abd-cca1-4261-8c40-fb764919ad48','local',1796278028657733,1796278028665682,0.007338,'FULFILLED',NULL,NULL,'c342f81057fc502f','dc8466ab-24c1-4945-a414-65672c60f236',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(8,'b2ac19cc-4ae9-52a4-9da3-aeac11e8e4ee','44b0169c-77f6-44b0-9036-0a0127daca35','b2ac19cc-4ae9-52a4-9da3-aeac11e8e4ee','count','v1','a4dc5abd-cca1-4261-8c40-fb764919ad48','local',1796278028667073,1796278028674847,0.00692,'FULFILLED',NULL,NULL,'8ebd4a39b2250884','dc8466ab-24c1-4945-a414-65672c60f236',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL);
CREATE TABLE search_due (number INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
INSERT INTO "search_due" VALUES(1,1);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO "settings" VALUES('clock','["2b86e7c1-9d79-49e1-9bb5-3d5d55b3b3fb time:[4026531834]", 1796274850701121]');
CREATE TABLE sweep_cases (
    sweep TEXT NOT NULL, position INTEGER NOT NULL,
    case_id TEXT NOT NULL, inputs TEXT NOT NULL, expected TEXT NOT NULL, labels TEXT NOT NULL,
    large TEXT, previous_execution_id TEXT,
    PRIMARY KEY (sweep, position)
) STRICT;
INSERT INTO "sweep_cases" VALUES('4485b03a-c25a-4ab6-8046-9ef4a9a64fb0',0,'6193c97585a0f731','{"text":"a"}','{"said":"a"}','{}',NULL,NULL);
INSERT INTO "sweep_cases" VALUES('4485b03a-c25a-4ab6-8046-9ef4a9a64fb0',1,'9d4a2833eb3ba02a','{"text":"rejected"}','{}','{"who":"ann"}',NULL,NULL);
INSERT INTO "sweep_cases" VALUES('dc8466ab-24c1-4945-a414-65672c60f236',0,'c342f81057fc502f','{"text":"part 0"}','{}','{}',NULL,NULL);
INSERT INTO "sweep_cases" VALUES('dc8466ab-24c1-4945-a414-65672c60f236',1,'8ebd4a39b2250884','{"text":"part 1"}','{}','{}',NULL,NULL);
INSERT INTO "sweep_cases" VALUES('dc8466ab-24c1-4945-a414-65672c60f236',2,'11b6d46d877e246b','{"text":"part 2"}','{}','{}',NULL,NULL);
CREATE TABLE sweep_reused (
    sweep TEXT NOT NULL, position INTEGER NOT NULL,
    release_tag TEXT NOT NULL, repeat INTEGER NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (sweep, position, release_tag, repeat)
) STRICT;
CREATE TABLE sweeps (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    deployment TEXT NOT NULL,
    environment TEXT,
    workspace TEXT,
    release_tags TEXT NOT NULL,
    repeats INTEGER NOT NULL, cases INTEGER NOT NULL,
    signature TEXT NOT NULL,
    created INTEGER NOT NULL, round INTEGER NOT NULL, ended INTEGER, why TEXT,
    releases TEXT NOT NULL, options TEXT NOT NULL
, generation INTEGER NOT NULL DEFAULT 0, case_order TEXT, checked TEXT, judge TEXT, notes TEXT) STRICT;
INSERT INTO "sweeps" VALUES(1,'4485b03a-c25a-4ab6-8046-9ef4a9a64fb0','count','local','2cc4a679-7197-40fa-abd4-29ff7fcae742','["v1", "v2"]',1,2,'f46fe7e8dbf38c2068b2aab86d0431cd',1796278028458712,0,1796278028513512,NULL,'{"v1": "a4dc5abd-cca1-4261-8c40-fb764919ad48", "v2": "a4dc5abd-cca1-4261-8c40-fb764919ad48"}','{}',1,NULL,'{"v1": 1796278028514308, "v2": 1796278028517903}',NULL,'[]');
INSERT INTO "sweeps" VALUES(2,'dc8466ab-24c1-4945-a414-65672c60f236','count','local','2cc4a679-7197-40fa-abd4-29ff7fcae742','["v1"]',1,3,'7ca388d88bea4777bb9e00ef4526b0d9',1796278028652661,0,NULL,'max_calls=2 is reached','{"v1": "a4dc5abd-cca1-4261-8c40-fb764919ad48"}','{"concurrency": 1, "max_calls": 2}',1,NULL,'{"v1": 1796278028676890}',NULL,'[]');
CREATE INDEX runs_newest ON runs (timestamp, seq) WHERE deletion IS NULL;
CREATE INDEX runs_newest_of_deployment ON runs (deployment, timestamp, seq) WHERE deletion IS NULL;
CREATE INDEX runs_of_sweep ON runs (sweep_id) WHERE sweep_id IS NOT NULL;
CREATE INDEX runs_of_execution ON runs (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX runs_deleted ON runs (deletion) WHERE deletion IS NOT NULL;
CREATE UNIQUE INDEX blind_rated_once ON blind_ratings (session, position)
WHERE undone IS NULL AND choice <> 'skip';
CREATE INDEX search_due_of_run ON search_due (seq);
CREATE INDEX runs_in_doubt ON runs (deployment) WHERE doubt IS NOT NULL;
CREATE UNIQUE INDEX sweeps_of_plan ON sweeps (signature, generation);
CREATE UNIQUE INDEX blind_of_plan ON blind (signature, generation);
COMMIT;
