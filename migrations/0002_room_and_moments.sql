-- Every transfer changes balances. With room beside it on its page, a row's next version needs no new entries in the
-- table's indexes.
ALTER TABLE bank_accounts SET (fillfactor = 50);

-- A moment is found by the last records of groups, which bear a mark: what lies between two of them is one group.
CREATE INDEX bank_records_moment ON bank_records (time_us) WHERE mark IS NOT NULL;
DROP INDEX bank_records_time;
