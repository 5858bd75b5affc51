-- An account's records hang on a thread: each says which one is before it, and the account which one is the newest. So
-- a record is written into no index for its accounts, and is found from the one after it. One in 64 is a knot, by the
-- chance of its hash: knots are in an index, and from the next one all that lies between two is within reach.
ALTER TABLE bank_records
    -- The record before this one that has moved money of the account that paid, and of the one that received; 0 when
    -- this is the account's first.
    ADD COLUMN debit_before BIGINT,
    ADD COLUMN credit_before BIGINT;
ALTER TABLE bank_accounts
    -- The newest record that has moved its money; 0 before the first.
    ADD COLUMN newest BIGINT NOT NULL DEFAULT 0 CHECK (newest >= 0);

-- First of all, since every record is written anew below.
DROP INDEX bank_records_debit;
DROP INDEX bank_records_credit;

WITH entries AS (
    SELECT debit AS account, sequence FROM bank_records WHERE debit IS NOT NULL
    UNION ALL SELECT credit, sequence FROM bank_records WHERE credit IS NOT NULL
), threaded AS (
    SELECT account, sequence, COALESCE(lag(sequence) OVER (PARTITION BY account ORDER BY sequence), 0) AS before
    FROM entries
)
UPDATE bank_records AS r SET debit_before = paid.before, credit_before = received.before
FROM threaded AS paid, threaded AS received
WHERE paid.account = r.debit AND paid.sequence = r.sequence
    AND received.account = r.credit AND received.sequence = r.sequence;

UPDATE bank_accounts AS a SET newest = ends.newest
FROM (
    SELECT account, max(sequence) AS newest FROM (
        SELECT debit AS account, sequence FROM bank_records WHERE debit IS NOT NULL
        UNION ALL SELECT credit, sequence FROM bank_records WHERE credit IS NOT NULL
    ) AS entries GROUP BY account
) AS ends
WHERE ends.account = a.number;

-- A bank of before this that still runs would break threads: it can't move money any more.
ALTER TABLE bank_records ADD CHECK ((debit IS NULL) = (debit_before IS NULL) AND (credit IS NULL) = (credit_before IS NULL));

CREATE INDEX bank_records_debit_knot ON bank_records (debit, sequence) WHERE checksum % 64 = 0;
CREATE INDEX bank_records_credit_knot ON bank_records (credit, sequence) WHERE checksum % 64 = 0;
