-- One transfer in one statement, for pgbench: both balances and the record, or nothing. One UPDATE locks both rows in
-- the order in which it comes upon them, so opposite transfers between the same accounts may deadlock. A transfer to
-- oneself, or to nobody, moves nothing.
\if :zipf
\set payer random_zipfian(1, :accounts, 1.001)
\set payee random_zipfian(1, :accounts, 1.001)
\else
\set payer random(1, :accounts)
\set payee random(1, :accounts)
\endif
\if :payer = :payee
\set payee 1 + :payer % :accounts
\endif
\set amount random(1, 100)
WITH moved AS (
    UPDATE accounts
    SET balance = balance + CASE id WHEN :payer THEN -CAST(:amount AS BIGINT) ELSE CAST(:amount AS BIGINT) END
    WHERE id IN (:payer, :payee)
    RETURNING id
)
INSERT INTO transfers (payer, payee, amount)
SELECT :payer, :payee, :amount WHERE (SELECT count(*) FROM moved) = 2;
