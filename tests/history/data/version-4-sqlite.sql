-- A history of version 4, the last before case sets, in SQLite, as commit 1b5d35d5 made it.
PRAGMA application_id = 1986945585;
PRAGMA user_version = 4;
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
INSERT INTO "payloads" VALUES(1,'{"text":"single"}','{"reply":"single"}','{"reply":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(2,'{"text":"a"}','{"reply":"a"}','{"reply":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(3,'{"text":"b"}','{"reply":"b"}','{"reply":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(4,'{"text":"hello"}','{"reply":"hello"}','{"reply":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(5,'{"text":"again"}','{"reply":"again"}','{"reply":"STRING"}','[]',NULL,NULL,NULL,NULL);
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
, doubt TEXT, doubt_since INTEGER, turn INTEGER, conversation_id TEXT) STRICT;
INSERT INTO "runs" VALUES(1,'84e17515-f536-4651-83fa-4f7d90431d5e','5dd8aeef-fcfa-4cf9-93fb-674f413ecc00','84e17515-f536-4651-83fa-4f7d90431d5e','echo','v1','e30860ed-6420-4a7a-a416-2af09c06c7f2','local',1796279874426495,1796279874446038,0.018874,'FULFILLED',NULL,NULL,'616ecd1e19375699',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(2,'b0c935aa-6200-5dc7-b45e-18ccd9caf1c1','e9871d14-91a5-4286-bb39-203967cc6aca','b0c935aa-6200-5dc7-b45e-18ccd9caf1c1','echo','v1','e30860ed-6420-4a7a-a416-2af09c06c7f2','local',1796279874518325,1796279874533611,0.011967,'FULFILLED',NULL,NULL,'6193c97585a0f731','ca23e8b1-2486-4f2a-aa98-cc1ca139863b',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(3,'db071488-c8a8-5d4f-8998-b9c0e7824c31','7a3e9dbc-aeaa-43b0-ae83-a8e966e18123','db071488-c8a8-5d4f-8998-b9c0e7824c31','echo','v1','e30860ed-6420-4a7a-a416-2af09c06c7f2','local',1796279874518459,1796279874561894,0.039794,'FULFILLED',NULL,NULL,'7b8de1c2be81d629','ca23e8b1-2486-4f2a-aa98-cc1ca139863b',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES(4,'0ba1a50d-0b91-5c13-b6ce-1ca88c5d7c47','bb11b775-5d0f-40cf-b598-af0f3d490949','0ba1a50d-0b91-5c13-b6ce-1ca88c5d7c47','echo','v1','e30860ed-6420-4a7a-a416-2af09c06c7f2','local',1796279874599893,1796279874603516,0.003145,'FULFILLED',NULL,NULL,'7d3de707af4e6834','e4c7fb7d-fa3f-475b-aad3-dc693f5c35f7',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,1,'b63987ff-e197-5f00-9f1b-5bfcb638ffe7');
INSERT INTO "runs" VALUES(5,'8ac0a1db-4d33-5efc-a4c1-3bc00ab87a3c','2b690272-e25c-4ced-a07f-2575dfabdc87','8ac0a1db-4d33-5efc-a4c1-3bc00ab87a3c','echo','v1','e30860ed-6420-4a7a-a416-2af09c06c7f2','local',1796279874605048,1796279874607847,0.002292,'FULFILLED',NULL,NULL,'7d3de707af4e6834','e4c7fb7d-fa3f-475b-aad3-dc693f5c35f7',0,'bb11b775-5d0f-40cf-b598-af0f3d490949',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,2,'b63987ff-e197-5f00-9f1b-5bfcb638ffe7');
CREATE TABLE search_due (number INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE sweep_cases (
    sweep TEXT NOT NULL, position INTEGER NOT NULL,
    case_id TEXT NOT NULL, inputs TEXT NOT NULL, expected TEXT NOT NULL, labels TEXT NOT NULL,
    large TEXT, previous_execution_id TEXT, turn INTEGER,
    PRIMARY KEY (sweep, position)
) STRICT;
INSERT INTO "sweep_cases" VALUES('ca23e8b1-2486-4f2a-aa98-cc1ca139863b',0,'6193c97585a0f731','{"text":"a"}','{"reply":"a"}','{}',NULL,NULL,0);
INSERT INTO "sweep_cases" VALUES('ca23e8b1-2486-4f2a-aa98-cc1ca139863b',1,'7b8de1c2be81d629','{"text":"b"}','{}','{"kind":"x"}',NULL,NULL,0);
INSERT INTO "sweep_cases" VALUES('e4c7fb7d-fa3f-475b-aad3-dc693f5c35f7',0,'7d3de707af4e6834','{"text":"hello"}','{}','{"conversation":"1"}',NULL,NULL,1);
INSERT INTO "sweep_cases" VALUES('e4c7fb7d-fa3f-475b-aad3-dc693f5c35f7',1,'7d3de707af4e6834','{"text":"again"}','{}','{"conversation":"1"}',NULL,NULL,2);
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
INSERT INTO "sweeps" VALUES(1,'ca23e8b1-2486-4f2a-aa98-cc1ca139863b','echo','local','e5e7bf74-9e63-4672-8282-3e545f9bdb5f','["v1"]',1,2,'0947e7ec2082306718f678575bced806',1796279874469984,0,1796279874565678,NULL,'{"v1": "e30860ed-6420-4a7a-a416-2af09c06c7f2"}','{}',1,NULL,'{"v1": 1796279874589230}',NULL,'[]');
INSERT INTO "sweeps" VALUES(2,'e4c7fb7d-fa3f-475b-aad3-dc693f5c35f7','echo','local','e5e7bf74-9e63-4672-8282-3e545f9bdb5f','["v1"]',1,2,'5e740005beec6f54cb5c9be1206a785a',1796279874596176,0,1796279874609348,NULL,'{"v1": "e30860ed-6420-4a7a-a416-2af09c06c7f2"}','{"conversation": {"input": "text", "reply": null, "carry": "state"}}',1,NULL,'{"v1": 1796279874609576}',NULL,'[]');
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
CREATE INDEX runs_of_conversation ON runs (conversation_id) WHERE conversation_id IS NOT NULL;
COMMIT;
