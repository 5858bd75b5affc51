-- The books over an SQL engine. Money moves in one place, in the bank; what stands here is what came of
-- it. bank_records holds everything, in the form of proto/bank/journal/v1/record.proto; the other tables
-- lead to it, or say what follows from it. Numbers of kinds and states are those of that file.

-- The end of the ledger's one order. Whoever commits has this row's lock.
CREATE TABLE bank_head (
    one SMALLINT PRIMARY KEY CHECK (one = 1),
    -- The ledger's name, 64 bits.
    ledger_id BIGINT NOT NULL,
    -- The newest record; 0 before the first.
    sequence BIGINT NOT NULL CHECK (sequence >= 0),
    -- Its time, or a later one that a reader was told; microseconds since the Unix epoch.
    time_us BIGINT NOT NULL,
    -- The hash that the next record will bear.
    hash BYTEA NOT NULL,
    -- Whether records are still being brought in from elsewhere; until then nobody serves them.
    importing BOOLEAN NOT NULL DEFAULT FALSE
);

-- Every request that was decided, and what came of it.
CREATE TABLE bank_records (
    sequence BIGINT PRIMARY KEY CHECK (sequence > 0),
    time_us BIGINT NOT NULL,
    request_id TEXT COLLATE "C" UNIQUE,
    -- What moved: the kind, and the numbers of the accounts that paid and received.
    kind SMALLINT,
    debit BIGINT,
    credit BIGINT,
    record BYTEA NOT NULL,
    -- A part of the record's hash, by which one that is read alone is checked.
    checksum BIGINT NOT NULL,
    -- On the last record of a group, a random number: by it a bank that has lost the answer to its commit
    -- tells its own group from another that says the same.
    mark BIGINT
);
CREATE INDEX bank_records_time ON bank_records (time_us);
CREATE INDEX bank_records_debit ON bank_records (debit, sequence);
CREATE INDEX bank_records_credit ON bank_records (credit, sequence);

-- The accounts as they stand; amounts in minor units.
CREATE TABLE bank_accounts (
    -- The record that opened it; for the outside world of a currency, that record's with its sign turned.
    number BIGINT PRIMARY KEY,
    account_id TEXT COLLATE "C" NOT NULL UNIQUE,
    currency_code TEXT COLLATE "C" NOT NULL,
    state SMALLINT NOT NULL CHECK (state BETWEEN 1 AND 3),
    posted BIGINT NOT NULL CHECK (posted >= -9223372036854775807),
    -- What its holds of state HELD add up to, whether or not they have expired: wider than 64 bits.
    held NUMERIC(38, 0) NOT NULL CHECK (held >= 0),
    overdraft_limit BIGINT NOT NULL CHECK (overdraft_limit >= 0),
    version BIGINT NOT NULL CHECK (version >= 0),
    -- How far below zero the account was when its limit was lowered under what is in use; 0 otherwise.
    floor BIGINT NOT NULL DEFAULT 0 CHECK (floor <= 0),
    details BYTEA NOT NULL,
    -- The last guard: no account is drawn beyond its limit, whatever a program may think.
    CHECK (number < 0 OR posted + overdraft_limit >= floor)
);

-- Every hold that was ever placed.
CREATE TABLE bank_holds (
    -- The record that placed it.
    placed BIGINT PRIMARY KEY,
    -- The account whose money it is, and the one that is paid.
    debit BIGINT NOT NULL,
    credit BIGINT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    expire_us BIGINT NOT NULL,
    -- 1 held, 2 captured, 3 released; 4 is one that has expired and was taken off its account's sum.
    state SMALLINT NOT NULL CHECK (state BETWEEN 1 AND 4),
    hold BYTEA NOT NULL
);
CREATE INDEX bank_holds_of_account ON bank_holds (debit, placed);
CREATE INDEX bank_holds_held ON bank_holds (debit, expire_us) WHERE state = 1;
CREATE INDEX bank_holds_expiry ON bank_holds (expire_us) WHERE state = 1;

-- What was moved back of a transaction.
CREATE TABLE bank_reversals (
    original BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    -- All that was moved back of it up to here, minor units.
    total BIGINT NOT NULL CHECK (total > 0),
    PRIMARY KEY (original, sequence)
);

-- The totals of each currency.
CREATE TABLE bank_currencies (
    currency_code TEXT COLLATE "C" PRIMARY KEY,
    accounts_posted BIGINT NOT NULL,
    external_posted BIGINT NOT NULL,
    account_count BIGINT NOT NULL CHECK (account_count >= 0),
    transaction_count BIGINT NOT NULL CHECK (transaction_count >= 0),
    -- Money comes from somewhere and goes somewhere.
    CHECK (accounts_posted + external_posted = 0)
);
