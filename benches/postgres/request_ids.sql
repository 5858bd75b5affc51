-- What a transfer needs that is asked for again when its answer was lost, and is to be found by its accounts.
ALTER TABLE transfers ADD request_id TEXT COLLATE "C" NOT NULL UNIQUE DEFAULT gen_random_uuid()::TEXT;
CREATE INDEX transfers_payer ON transfers (payer, id);
CREATE INDEX transfers_payee ON transfers (payee, id);
