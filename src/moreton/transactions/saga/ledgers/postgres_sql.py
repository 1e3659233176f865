"""The statements of a PostgreSQL ledger. What is put into them by Python are our own words."""

from __future__ import annotations

from functools import cache

from moreton.transactions.saga.ledgers.port import COLUMNS

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
# Whoever sets the tables up holds this lock; its number is "MSag".
SETUP_LOCK = int.from_bytes(b"MSag", "big")
# All who take or free the locks of sagas, one at a time: each looks at what the others have.
LOCKS_LOCK = SETUP_LOCK + 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS moreton_sagas (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE CHECK (id <> ''),
    name text NOT NULL,
    version integer NOT NULL,
    status text NOT NULL,
    priority integer NOT NULL,
    due bigint,
    owner text,
    epoch bigint NOT NULL DEFAULT 1,
    takeovers integer NOT NULL DEFAULT 0,
    seen integer NOT NULL DEFAULT 0,
    parent bigint,
    input text NOT NULL,
    reason text NOT NULL,
    started bigint NOT NULL,
    ended bigint
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS moreton_sagas_due ON moreton_sagas (due) WHERE due > 0;
CREATE INDEX IF NOT EXISTS moreton_sagas_parked
    ON moreton_sagas (number) WHERE status = 'parked';
CREATE TABLE IF NOT EXISTS moreton_saga_log (
    number bigint NOT NULL,
    seq integer NOT NULL,
    at bigint NOT NULL,
    kind text NOT NULL,
    step text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (number, seq)
);
CREATE TABLE IF NOT EXISTS moreton_saga_signals (
    number bigint NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (number, name)
);
CREATE TABLE IF NOT EXISTS moreton_saga_locks (
    key text NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (key, number)
);
CREATE INDEX IF NOT EXISTS moreton_saga_locks_of ON moreton_saga_locks (number);
CREATE TABLE IF NOT EXISTS moreton_saga_definitions (
    name text NOT NULL,
    version integer NOT NULL,
    fingerprint text NOT NULL,
    shape text NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE TABLE IF NOT EXISTS moreton_saga_schedules (
    name text PRIMARY KEY,
    saga text NOT NULL,
    version integer NOT NULL,
    rule text NOT NULL,
    due bigint NOT NULL,
    paused integer NOT NULL,
    starts bigint NOT NULL,
    last bigint,
    last_id text NOT NULL,
    note text NOT NULL
);
ALTER TABLE moreton_sagas ADD COLUMN IF NOT EXISTS queue text NOT NULL DEFAULT '';
DROP INDEX IF EXISTS moreton_sagas_ready;
CREATE INDEX IF NOT EXISTS moreton_sagas_due_in
    ON moreton_sagas (queue, priority DESC, number) WHERE due = 0;
CREATE INDEX IF NOT EXISTS moreton_sagas_again
    ON moreton_sagas (queue, priority DESC, number) WHERE due = 0 AND queue <> '' AND epoch > 1;
CREATE INDEX IF NOT EXISTS moreton_sagas_running
    ON moreton_sagas (queue, owner) WHERE queue <> '' AND status = 'running';
CREATE TABLE IF NOT EXISTS moreton_saga_queues (
    name text PRIMARY KEY,
    at_once bigint,
    per_engine bigint,
    starts bigint,
    period bigint NOT NULL,
    paused integer NOT NULL
);
CREATE TABLE IF NOT EXISTS moreton_saga_queue_starts (
    queue text NOT NULL,
    at bigint NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (queue, at, number)
);
"""

_BEGIN = """b AS (
    INSERT INTO moreton_sagas
        (id, name, version, input, started, status, due, owner, priority, parent, reason, ended,
         queue)
    SELECT * FROM unnest(
        %(b_id)s::text[], %(b_name)s::text[], %(b_version)s::int[], %(b_input)s::text[],
        %(b_started)s::bigint[], %(b_status)s::text[], %(b_due)s::bigint[], %(b_owner)s::text[],
        %(b_priority)s::int[], %(b_parent)s::bigint[], %(b_reason)s::text[], %(b_ended)s::bigint[],
        %(b_queue)s::text[]
    ) ON CONFLICT (id) DO NOTHING RETURNING id, number
)"""
# The lock makes several rows of one saga go in together or not at all: a decision from outside,
# which takes the next place in the log, must not come between them.
_LOG = """l AS (
    INSERT INTO moreton_saga_log
    SELECT x.number, x.seq, x.at, x.kind, x.step, x.body FROM unnest(
        %(l_number)s::bigint[], %(l_epoch)s::bigint[], %(l_seq)s::int[], %(l_at)s::bigint[],
        %(l_kind)s::text[], %(l_step)s::text[], %(l_body)s::text[]
    ) AS x(number, epoch, seq, at, kind, step, body)
    JOIN (
        SELECT number, epoch FROM moreton_sagas WHERE number = ANY(%(l_number)s::bigint[])
        ORDER BY number FOR SHARE
    ) s ON s.number = x.number AND s.epoch = x.epoch
    ON CONFLICT DO NOTHING RETURNING number, seq
)"""
_SETTLE = """u AS (
    UPDATE moreton_sagas s
    SET status = x.status, due = x.due, reason = x.reason, ended = x.ended, owner = NULL
    FROM unnest(
        %(u_number)s::bigint[], %(u_epoch)s::bigint[], %(u_status)s::text[], %(u_due)s::bigint[],
        %(u_reason)s::text[], %(u_ended)s::bigint[]
    ) AS x(number, epoch, status, due, reason, ended)
    WHERE s.number = x.number AND s.epoch = x.epoch RETURNING s.number
)"""


@cache
def write_sql(*, begins: bool, rows: bool, settles: bool) -> str:
    """One statement for a whole group: rows of (what, id, number, seq) say what was written."""
    parts, answers = [], []
    if begins:
        parts.append(_BEGIN)
        answers.append("SELECT 'b', id, number, 0 FROM b")
    if rows:
        parts.append(_LOG)
        answers.append("SELECT 'l', '', number, seq FROM l")
    if settles:
        parts.append(_SETTLE)
        answers.append("SELECT 'u', '', number, 0 FROM u")
    return f"WITH {', '.join(parts)} {' UNION ALL '.join(answers)}"


# Those of a lone writer: values in place of arrays halve what the driver and the planner take.
BEGIN_LONE = (
    "INSERT INTO moreton_sagas (id, name, version, input, started, status, due, owner, priority,"
    " parent, reason, ended, queue)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (id) DO NOTHING RETURNING number"
)
LOG_LONE = (
    "INSERT INTO moreton_saga_log SELECT number, %s, %s, %s, %s, %s FROM moreton_sagas"
    " WHERE number = %s AND epoch = %s FOR SHARE ON CONFLICT DO NOTHING"
)
END_LONE = (
    "WITH u AS (UPDATE moreton_sagas SET status = %s, due = %s, reason = %s, ended = %s,"
    " owner = NULL WHERE number = %s AND epoch = %s RETURNING number)"
    " INSERT INTO moreton_saga_log SELECT number, %s, %s, %s, %s, %s FROM u"
)
LOG_ONE = (
    "INSERT INTO moreton_saga_log SELECT %s, %s, %s, %s, %s, %s FROM moreton_sagas"
    " WHERE number = %s AND epoch = %s ON CONFLICT DO NOTHING"
)
SETTLE_ONE = (
    "UPDATE moreton_sagas SET status = %s, due = %s, reason = %s, ended = %s, owner = NULL"
    " WHERE number = %s AND epoch = %s"
)
LOCK_ROW = "SELECT epoch FROM moreton_sagas WHERE number = %s FOR UPDATE"
WAKE = "UPDATE moreton_sagas SET due = 0, status = 'ready' WHERE number = %s AND status = 'waiting'"
UNLOCK = (
    "UPDATE moreton_sagas SET due = 0, status = 'ready' WHERE number = %s AND status = 'queued'"
)
SIGNAL = "INSERT INTO moreton_saga_signals VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
IS_BLOCKED = (
    "SELECT 1 FROM moreton_saga_locks mine JOIN moreton_saga_locks theirs"
    " ON theirs.key = mine.key AND theirs.number < mine.number WHERE mine.number = %s LIMIT 1"
)
IS_DUE = (
    f"SELECT EXISTS (SELECT 1 FROM moreton_sagas WHERE due > 0 AND due <= {NOW}),"  # noqa: S608
    " EXISTS (SELECT 1 FROM moreton_sagas WHERE due = 0 AND queue = '')"
)
RIPEN = (
    "UPDATE moreton_sagas SET due = 0 WHERE number IN (SELECT number FROM moreton_sagas"  # noqa: S608
    f" WHERE due > 0 AND due <= {NOW} ORDER BY due LIMIT 1000 FOR UPDATE SKIP LOCKED)"
)
CLAIM = (
    f"UPDATE moreton_sagas SET due = {NOW} + %s, epoch = epoch + 1, status = 'running',"  # noqa: S608
    " takeovers = takeovers + (owner IS NOT NULL)::int, owner = %s WHERE number IN ("
    " SELECT number FROM moreton_sagas WHERE due = 0 AND queue = ''"
    " AND name || '@' || version = ANY(%s)"
    " ORDER BY priority DESC, number LIMIT %s FOR UPDATE SKIP LOCKED)"
    f" RETURNING {COLUMNS}"
)
INTERJECT = (
    "UPDATE moreton_sagas SET epoch = epoch + 1, owner = NULL, status = %s, due = %s,"
    " ended = NULL, reason = '', takeovers = 0 WHERE number = %s AND epoch = %s"
    " AND (SELECT count(*) FROM moreton_saga_log WHERE number = %s) = %s"
)
DEFINITIONS = (
    "SELECT name, version, fingerprint, shape, (SELECT count(*) FROM moreton_sagas s"
    " WHERE s.name = d.name AND s.version = d.version AND s.ended IS NULL)"
    " FROM moreton_saga_definitions d"
)
LISTED = (
    f"SELECT {COLUMNS} FROM moreton_sagas WHERE (%(status)s::text IS NULL OR status = %(status)s)"  # noqa: S608
    " AND (%(name)s::text IS NULL OR name = %(name)s)"
    " AND (%(queue)s::text IS NULL OR queue = %(queue)s) ORDER BY number DESC LIMIT %(most)s"
)
