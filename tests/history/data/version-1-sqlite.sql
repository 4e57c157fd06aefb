-- A history of version 1 in SQLite, as commit 3532d3e4 made it and left it when its kernel was killed.
-- Its times were moved two years back.
PRAGMA application_id = 1986945585;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE blind (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    deployment TEXT NOT NULL,
    first TEXT NOT NULL, second TEXT NOT NULL,
    seed INTEGER NOT NULL, question TEXT NOT NULL,
    signature TEXT NOT NULL,
    created INTEGER NOT NULL, ended INTEGER
) STRICT;
INSERT INTO "blind" VALUES(1,'4160aebe-60bc-4830-96db-78e16239351a','count','v1','v2',2876180430,'Which answer would you rather send?','6d315f83a23a55f5c243a4415da9ece4',1733041939442747,NULL);
INSERT INTO "blind" VALUES(2,'1eb579ed-e875-419f-9e52-9cc4a3552a42','count','v1','v2',1080833627,'Which answer would you rather send?','6d315f83a23a55f5c243a4415da9ece4',1733041939443267,NULL);
CREATE TABLE blind_pairs (
    session TEXT NOT NULL, position INTEGER NOT NULL,
    number INTEGER NOT NULL, case_id TEXT NOT NULL,
    first TEXT NOT NULL, second TEXT NOT NULL, same INTEGER NOT NULL,
    PRIMARY KEY (session, position)
) STRICT;
INSERT INTO "blind_pairs" VALUES('4160aebe-60bc-4830-96db-78e16239351a',0,1,'aa95f3c1f62886d2','809976d9-caf5-5a1e-b76f-c73900d56dc9','0b157de0-67c0-5193-8969-9dbf8c070714',0);
INSERT INTO "blind_pairs" VALUES('4160aebe-60bc-4830-96db-78e16239351a',1,2,'e14097b3c8b7d623','15d2bafb-783c-5c7b-959b-e84d515b5d00','70e74b7a-64d8-52b9-8745-805cef42015d',0);
INSERT INTO "blind_pairs" VALUES('1eb579ed-e875-419f-9e52-9cc4a3552a42',0,1,'aa95f3c1f62886d2','809976d9-caf5-5a1e-b76f-c73900d56dc9','0b157de0-67c0-5193-8969-9dbf8c070714',0);
INSERT INTO "blind_pairs" VALUES('1eb579ed-e875-419f-9e52-9cc4a3552a42',1,2,'e14097b3c8b7d623','15d2bafb-783c-5c7b-959b-e84d515b5d00','70e74b7a-64d8-52b9-8745-805cef42015d',0);
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
INSERT INTO "leases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d','3264bcbf02ac453884418aeaff58d1a2','{"host": "vm", "pid": 20643, "machine": "2516a20c-e1c1-4be6-9126-484008772f18 pid:[4026531836]"}',1733041965908000);
CREATE TABLE payloads (
    seq INTEGER PRIMARY KEY,
    inputs TEXT NOT NULL, outputs TEXT NOT NULL, output_types TEXT NOT NULL,
    not_sent TEXT NOT NULL, metadata TEXT, desired TEXT, nodes TEXT,
    large TEXT
) STRICT;
INSERT INTO "payloads" VALUES(1,'{"text":"text 0"}','{"said":"v1 text 0"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(2,'{"text":"text 1"}','{"said":"v1 text 1"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(3,'{"text":"text 2"}','{"said":"v1 text 2"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(4,'{"text":"text 3"}','{"said":"v1 text 3"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(5,'{"text":"text 4"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(6,'{"text":"text 5"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(7,'{"text":"early 8"}','{"said":"v1 early 8"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(8,'{"text":"early 8"}','{"said":"v2 early 8"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(9,'{"text":"early 3"}','{"said":"v1 early 3"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(10,'{"text":"early 3"}','{"said":"v2 early 3"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(11,'{"text":"again 0"}','{"said":"v1 again 0"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(12,'{"text":"again 0"}','{"said":"v1 again 0"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(13,'{"text":"again 1"}','{"said":"v1 again 1"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(14,'{"text":"again 0"}','{"said":"v1 again 0"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(15,'{"text":"again 1"}','{"said":"v1 again 1"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(16,'{"text":"fulfilled"}','{"said":"v1 fulfilled"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(17,'{"text":"used"}','{"said":"v1 used"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(18,'{"text":"used by another"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(19,'{"text":"connection"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(20,'{"text":"timeout"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(21,'{"text":"gone"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(22,'{"text":"bad gateway"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(23,'{"text":"forbidden"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(24,'{"text":"unusable"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(25,'{"text":"interrupted"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(26,'{"text":"hung up"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(27,'{"text":"refused"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(28,'{"text":"unknown 0"}','{}','{}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(29,'{"text":"unknown 1"}','{"said":"v1 unknown 1"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(30,'{"text":"pair 0"}','{"said":"v1 pair 0"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(31,'{"text":"pair 0"}','{"said":"v2 pair 0"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(32,'{"text":"pair 1"}','{"said":"v1 pair 1"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(33,'{"text":"pair 1"}','{"said":"v2 pair 1"}','{"said":"STRING"}','[]',NULL,NULL,NULL,NULL);
INSERT INTO "payloads" VALUES(34,'{"text":"begun"}','{}','{}','[]',NULL,NULL,NULL,NULL);
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
) STRICT;
INSERT INTO "runs" VALUES(1,'1287738d-f1ac-53cb-9a20-d53e130f7c49','e-1','1287738d-f1ac-53cb-9a20-d53e130f7c49','count','v1','release-v1','production',1733041905915519,1733041905932526,0.010615,'FULFILLED',NULL,NULL,'2c6b6a87a35be320','219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(2,'22b34c14-fcd9-5437-a787-e5974d3f3249','e-2','22b34c14-fcd9-5437-a787-e5974d3f3249','count','v1','release-v1','production',1733041905915642,1733041905932811,0.006469,'FULFILLED',NULL,NULL,'039696a0c0d3355b','219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(3,'e8e84827-de84-5ad6-abdf-7effefd1e687','e-4','e8e84827-de84-5ad6-abdf-7effefd1e687','count','v1','release-v1','production',1733041905933051,1733041905945685,0.004461,'FULFILLED',NULL,NULL,'7601d3598721ccef','219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(4,'88da4432-831d-5f22-9bae-bb935acb8cf7','e-3','88da4432-831d-5f22-9bae-bb935acb8cf7','count','v1','release-v1','production',1733041905933104,1733041905945430,0.004061,'FULFILLED',NULL,NULL,'45815dd894676354','219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(5,'99942a93-5ee5-583f-8b4f-c6c4b126aa61',NULL,'99942a93-5ee5-583f-8b4f-c6c4b126aa61','count','v1','release-v1','production',1733041905945815,NULL,NULL,'STARTED',NULL,NULL,'d37ee98e83d58a49','219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(6,'f96187e9-8723-54d0-9e9a-0ace451334e3',NULL,'f96187e9-8723-54d0-9e9a-0ace451334e3','count','v1','release-v1','production',1733041905945855,NULL,NULL,'STARTED',NULL,NULL,'323cfe774e20b025','219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(7,'9a37bd84-7952-5b5f-b5de-0d3df899ae07','e-7','9a37bd84-7952-5b5f-b5de-0d3df899ae07','count','v1','release-v1','production',1733041908891306,1733041908897469,0.004768,'FULFILLED',NULL,NULL,'f819bc711fdb5811','74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(8,'5268415e-1802-596f-812f-bceee00d53cb','e-8','5268415e-1802-596f-812f-bceee00d53cb','count','v2','release-v2','production',1733041908898143,1733041908902580,0.003071,'FULFILLED',NULL,NULL,'f819bc711fdb5811','74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(9,'356910ec-7316-5b77-8620-3f2c7c299849','e-9','356910ec-7316-5b77-8620-3f2c7c299849','count','v1','release-v1','production',1733041908903044,1733041908906972,0.003464,'FULFILLED',NULL,NULL,'1c68564be54053b5','74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(10,'a347cdef-1f06-5b7c-9683-5c2e3cc95703','e-10','a347cdef-1f06-5b7c-9683-5c2e3cc95703','count','v2','release-v2','production',1733041908908196,1733041908911487,0.002932,'FULFILLED',NULL,NULL,'1c68564be54053b5','74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(11,'f5dd843d-0ccb-5f1b-9f23-a0b9a1291d79','e-11','f5dd843d-0ccb-5f1b-9f23-a0b9a1291d79','count','v1','release-v1','production',1733041908926287,1733041908930128,0.003336,'FULFILLED',NULL,NULL,'3889dcb68da42283','515ea94a-885a-4137-97ed-896a45d3179f',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(12,'10c53c62-da12-5ecc-af87-809db8e5901c','e-12','10c53c62-da12-5ecc-af87-809db8e5901c','count','v1','release-v1','production',1733041908953099,1733041908960890,0.006395,'FULFILLED',NULL,NULL,'3889dcb68da42283','8a2a1cf3-5cff-4a6f-85e0-6b5bb0134dd6',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(13,'899c6881-9891-57f8-97ff-84db80ec56c0','e-13','899c6881-9891-57f8-97ff-84db80ec56c0','count','v1','release-v1','production',1733041908961068,1733041908967345,0.00589,'FULFILLED',NULL,NULL,'5aa9925a8c4ed895','8a2a1cf3-5cff-4a6f-85e0-6b5bb0134dd6',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(14,'08d3ac42-7a48-54c9-aca9-3a16f7fb17ac','e-14','08d3ac42-7a48-54c9-aca9-3a16f7fb17ac','count','v1','release-v1','production',1733041908975105,1733041908981054,0.005559,'FULFILLED',NULL,NULL,'3889dcb68da42283','ed3e3842-1dd5-4124-bd93-407b5ae8455c',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(15,'20c0a75b-37ec-5bf3-b976-e51ea2c9eb3d','e-15','20c0a75b-37ec-5bf3-b976-e51ea2c9eb3d','count','v1','release-v1','production',1733041908981180,1733041908985340,0.003826,'FULFILLED',NULL,NULL,'5aa9925a8c4ed895','ed3e3842-1dd5-4124-bd93-407b5ae8455c',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(16,'384e1ea0-16ca-4faf-965d-58dd86820275','e-16','mine','count','v1','release-v1','production',1733041908990375,1733041908993525,0.002889,'FULFILLED',NULL,NULL,'5009b388b2b8f8f6',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(17,'7b6413d9-6cb8-42e2-9489-7fab59748fdf','e-17','mine-2','count','v1','release-v1','production',1733041908994788,1733041908998422,0.00332,'FULFILLED',NULL,NULL,'d0478c92c8d49da2',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(18,'10c6f2b8-0b73-47c0-817c-82ebd046939a',NULL,'theirs','count','v1','release-v1','production',1733041909007614,1733041909011466,0.003818,'FAILED','HTTP_400','POST http://127.0.0.1:35125/v1/execute-workflow answered 400 Bad Request: external_id theirs was used before. Change the request; sending it again unchanged gives the same answer.','e7313ce0ebe1d8f1',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(19,'a393573b-ae55-4d60-accb-15a7760fe4df',NULL,'a393573b-ae55-4d60-accb-15a7760fe4df','count','v1','release-v1','production',1733041909020938,1733041909024419,0.003442,'FAILED','CONNECTION','POST http://127.0.0.1:35125/v1/execute-workflow failed: Connection reset by peer. The server may have received it; it was not sent again.','47ef2f5103d717d0',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(20,'39e22069-d2a9-409b-a826-2e7ef1f46105',NULL,'39e22069-d2a9-409b-a826-2e7ef1f46105','count','v1','release-v1','production',1733041909027484,1733041909328795,0.301284,'FAILED','TIMEOUT','POST http://127.0.0.1:35125/v1/execute-workflow got no answer within 0.3 s. The server may have received it; it was not sent again.','5e5ca5ba32a305e3',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(21,'3fb46816-08fe-4f18-abec-b5acfc020f7b',NULL,'3fb46816-08fe-4f18-abec-b5acfc020f7b','count','v1','release-v1','production',1733041909331546,1733041909333491,0.001894,'FAILED','HTTP_404','POST http://127.0.0.1:35125/v1/execute-workflow answered 404 Not Found: faulty on purpose. Check the name, the release tag, and that the API key belongs to their environment.','7cfa56c7b413da91',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(22,'5c041229-4e69-480f-bda0-4535fd7d6415',NULL,'5c041229-4e69-480f-bda0-4535fd7d6415','count','v1','release-v1','production',1733041909334892,1733041909338047,0.003114,'FAILED','HTTP_500','POST http://127.0.0.1:35125/v1/execute-workflow answered 500 Internal Server Error: faulty on purpose. The server failed; check whether the execution ran before you send it again.','ca6a1a4ee79ba787',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(23,'1b6bad9e-d81f-4c01-bb5a-dbb4dc5b2e1b',NULL,'1b6bad9e-d81f-4c01-bb5a-dbb4dc5b2e1b','count','v1','release-v1','production',1733041909339282,1733041909343278,0.003957,'FAILED','HTTP_403','POST http://127.0.0.1:35125/v1/execute-workflow answered 403 Forbidden: faulty on purpose. Check that the API key is right for this address and environment, and may do this.','64682f42ffb108db',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(24,'228c332d-ab7f-41c7-bdbe-f482e4b4f371',NULL,'228c332d-ab7f-41c7-bdbe-f482e4b4f371','count','v1','release-v1','production',1733041909344469,1733041909348184,0.003679,'FAILED','BAD_RESPONSE','POST http://127.0.0.1:35125/v1/execute-workflow answered 200, but not as the API does (data.outputs: Input should be a valid array). It begins with ''{"execution_id": "e-23", "external_id": "228c332d-ab7f-41c7-bdbe-f482e4b4f371", "data": {"id": "x", "state": "FULFILLED", "ts": "2026-12-01T08:31:49.347218+00:00", "outputs": 7}}''. Check that the address is that of a Vellum API.','ed57855483770990',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(25,'ff12362a-9dbb-4fe9-8d78-52720423634e',NULL,'ff12362a-9dbb-4fe9-8d78-52720423634e','count','v1','release-v1','production',1733041909356645,1733041939389139,30.032463,'CANCELLED','CANCELLED','cancelled before an answer came','8f23ebacec5ccdb4',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(26,'4f235de6-73c7-4177-9ce4-177443fab64c','x-WORKFLOW_CANCELLED','4f235de6-73c7-4177-9ce4-177443fab64c','count','v1','release-v1',NULL,1733041939390305,1733041939390639,NULL,'REJECTED','WORKFLOW_CANCELLED','The client hung up','3fb7152ac50c5caa',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(27,'db135450-974c-41f3-8bf0-71f76f357638','x-USER_DEFINED_ERROR','db135450-974c-41f3-8bf0-71f76f357638','count','v1','release-v1',NULL,1733041939390741,1733041939390819,NULL,'REJECTED','USER_DEFINED_ERROR','no','5f8124d54e4e2bf1',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(28,'63ab9263-9292-5fe8-9d47-688f1982a0bc',NULL,'63ab9263-9292-5fe8-9d47-688f1982a0bc','count','v1','release-v1','production',1733041939403017,1733041939411778,NULL,'FAILED','UNKNOWN_FATE','POST http://127.0.0.1:35125/v1/execute-workflow failed: Connection reset by peer. The server may have received it; it was not sent again.; and the server cannot look it up: GET http://127.0.0.1:35125/v1/workflow-deployments/d-1/execution-events answered 403 Forbidden: You may not. Check that the API key is right for this address and environment, and may do this.','bdd65e89d7a9e7b3','e9b83206-99cb-45d9-9ab3-3ba763d00b52',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(29,'4d551af8-97ed-521f-b873-b0d47cd890b0','e-26','4d551af8-97ed-521f-b873-b0d47cd890b0','count','v1','release-v1','production',1733041939411998,1733041939415491,0.003125,'FULFILLED',NULL,NULL,'a9545fe42e2afdcf','e9b83206-99cb-45d9-9ab3-3ba763d00b52',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(30,'809976d9-caf5-5a1e-b76f-c73900d56dc9','e-27','809976d9-caf5-5a1e-b76f-c73900d56dc9','count','v1','release-v1','production',1733041939423957,1733041939429424,0.004278,'FULFILLED',NULL,NULL,'aa95f3c1f62886d2','b81ce5b4-3262-4bc3-a551-dcff9d6fa25e',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(31,'0b157de0-67c0-5193-8969-9dbf8c070714','e-30','0b157de0-67c0-5193-8969-9dbf8c070714','count','v2','release-v2','production',1733041939424013,1733041939433372,0.005295,'FULFILLED',NULL,NULL,'aa95f3c1f62886d2','b81ce5b4-3262-4bc3-a551-dcff9d6fa25e',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(32,'15d2bafb-783c-5c7b-959b-e84d515b5d00','e-28','15d2bafb-783c-5c7b-959b-e84d515b5d00','count','v1','release-v1','production',1733041939424035,1733041939433731,0.005252,'FULFILLED',NULL,NULL,'e14097b3c8b7d623','b81ce5b4-3262-4bc3-a551-dcff9d6fa25e',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(33,'70e74b7a-64d8-52b9-8745-805cef42015d','e-29','70e74b7a-64d8-52b9-8745-805cef42015d','count','v2','release-v2','production',1733041939424052,1733041939434265,0.004669,'FULFILLED',NULL,NULL,'e14097b3c8b7d623','b81ce5b4-3262-4bc3-a551-dcff9d6fa25e',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(34,'983b6c04-2426-47ca-9bf9-ff02e2a1310d',NULL,'983b6c04-2426-47ca-9bf9-ff02e2a1310d','count','v1','release-v1',NULL,1733041939443401,NULL,NULL,'STARTED',NULL,NULL,'c91060cf3731719c',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
CREATE TABLE search_due (number INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE sweep_cases (
    sweep TEXT NOT NULL, position INTEGER NOT NULL,
    case_id TEXT NOT NULL, inputs TEXT NOT NULL, expected TEXT NOT NULL, labels TEXT NOT NULL,
    large TEXT,
    PRIMARY KEY (sweep, position)
) STRICT;
INSERT INTO "sweep_cases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',0,'2c6b6a87a35be320','{"text":"text 0"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',1,'039696a0c0d3355b','{"text":"text 1"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',2,'7601d3598721ccef','{"text":"text 2"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',3,'45815dd894676354','{"text":"text 3"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',4,'d37ee98e83d58a49','{"text":"text 4"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',5,'323cfe774e20b025','{"text":"text 5"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',6,'86f1d69400d9c55e','{"text":"text 6"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d',7,'1420248608923645','{"text":"text 7"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',0,'9bd3f6448a25f76b','{"text":"early 0"}','{"said":"v1 early 0"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',1,'be85584d6e28b419','{"text":"early 1"}','{"said":"v1 early 1"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',2,'ed5d7c9d52559177','{"text":"early 2"}','{"said":"v1 early 2"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',3,'1c68564be54053b5','{"text":"early 3"}','{"said":"v1 early 3"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',4,'1cc93fcdb736cd40','{"text":"early 4"}','{"said":"v1 early 4"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',5,'d1b77cbd3dd71ac5','{"text":"early 5"}','{"said":"v1 early 5"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',6,'10f20b43740d3d9f','{"text":"early 6"}','{"said":"v1 early 6"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',7,'c14b7ef922af5cc8','{"text":"early 7"}','{"said":"v1 early 7"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',8,'f819bc711fdb5811','{"text":"early 8"}','{"said":"v1 early 8"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('74d51c70-24c3-44d2-a1b9-dacf3d8d3a83',9,'e041abdebc6d2767','{"text":"early 9"}','{"said":"v1 early 9"}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('515ea94a-885a-4137-97ed-896a45d3179f',0,'3889dcb68da42283','{"text":"again 0"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('515ea94a-885a-4137-97ed-896a45d3179f',1,'5aa9925a8c4ed895','{"text":"again 1"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('8a2a1cf3-5cff-4a6f-85e0-6b5bb0134dd6',0,'3889dcb68da42283','{"text":"again 0"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('8a2a1cf3-5cff-4a6f-85e0-6b5bb0134dd6',1,'5aa9925a8c4ed895','{"text":"again 1"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('ed3e3842-1dd5-4124-bd93-407b5ae8455c',0,'3889dcb68da42283','{"text":"again 0"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('ed3e3842-1dd5-4124-bd93-407b5ae8455c',1,'5aa9925a8c4ed895','{"text":"again 1"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('e9b83206-99cb-45d9-9ab3-3ba763d00b52',0,'bdd65e89d7a9e7b3','{"text":"unknown 0"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('e9b83206-99cb-45d9-9ab3-3ba763d00b52',1,'a9545fe42e2afdcf','{"text":"unknown 1"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('b81ce5b4-3262-4bc3-a551-dcff9d6fa25e',0,'aa95f3c1f62886d2','{"text":"pair 0"}','{}','{}',NULL);
INSERT INTO "sweep_cases" VALUES('b81ce5b4-3262-4bc3-a551-dcff9d6fa25e',1,'e14097b3c8b7d623','{"text":"pair 1"}','{}','{}',NULL);
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
) STRICT;
INSERT INTO "sweeps" VALUES(1,'219dbc33-2fbc-4f5b-a1ce-aeed4cf9e82d','count','production','w-1','["v1"]',1,8,'555222020ac7c9a14f1dcf81573fbf59',1733041905905549,0,NULL,NULL,'{"v1": "release-v1"}','{"concurrency": 2}');
INSERT INTO "sweeps" VALUES(2,'74d51c70-24c3-44d2-a1b9-dacf3d8d3a83','count','production','w-1','["v1", "v2"]',1,10,'11adcff78b8d86bca10dc173d1f20660',1733041908880187,0,NULL,'max_calls=4 is reached','{"v1": "release-v1", "v2": "release-v2"}','{"concurrency": 1, "max_calls": 4, "stop_when": "decided", "seed": 7}');
INSERT INTO "sweeps" VALUES(3,'515ea94a-885a-4137-97ed-896a45d3179f','count','production','w-1','["v1"]',1,2,'dfd428709bad6b85a6cda921f877b0c7',1733041908919567,0,NULL,'max_calls=1 is reached','{"v1": "release-v1"}','{"concurrency": 1, "max_calls": 1}');
INSERT INTO "sweeps" VALUES(4,'8a2a1cf3-5cff-4a6f-85e0-6b5bb0134dd6','count','production','w-1','["v1"]',1,2,'dfd428709bad6b85a6cda921f877b0c7',1733041908940149,0,1733041908967661,NULL,'{"v1": "release-v1"}','{"concurrency": 1}');
INSERT INTO "sweeps" VALUES(5,'ed3e3842-1dd5-4124-bd93-407b5ae8455c','count','production','w-1','["v1"]',1,2,'dfd428709bad6b85a6cda921f877b0c7',1733041908971800,0,1733041908985668,NULL,'{"v1": "release-v1"}','{"concurrency": 1}');
INSERT INTO "sweeps" VALUES(6,'e9b83206-99cb-45d9-9ab3-3ba763d00b52','count','production','w-1','["v1"]',1,2,'013b08e57bbfde843165fb336ad4f968',1733041939395190,0,1733041939415878,NULL,'{"v1": "release-v1"}','{"concurrency": 1}');
INSERT INTO "sweeps" VALUES(7,'b81ce5b4-3262-4bc3-a551-dcff9d6fa25e','count','production','w-1','["v1", "v2"]',1,2,'99ef65a73d323fc8ac91a57301726cf1',1733041939419670,0,1733041939434863,NULL,'{"v1": "release-v1", "v2": "release-v2"}','{}');
CREATE INDEX runs_newest ON runs (timestamp, seq) WHERE deletion IS NULL;
CREATE INDEX runs_newest_of_deployment ON runs (deployment, timestamp, seq) WHERE deletion IS NULL;
CREATE INDEX runs_of_sweep ON runs (sweep_id) WHERE sweep_id IS NOT NULL;
CREATE INDEX runs_of_execution ON runs (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX runs_deleted ON runs (deletion) WHERE deletion IS NOT NULL;
CREATE INDEX sweeps_of_signature ON sweeps (signature);
CREATE INDEX blind_of_signature ON blind (signature);
CREATE UNIQUE INDEX blind_rated_once ON blind_ratings (session, position)
WHERE undone IS NULL AND choice <> 'skip';
CREATE INDEX search_due_of_run ON search_due (seq);
DELETE FROM "sqlite_sequence";
COMMIT;
