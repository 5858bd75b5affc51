-- One transfer in one statement, for pgbench: both balances and the record, or nothing. The account whose id comes
-- first is changed first, and the other one only once that is done, so opposite transfers never deadlock: one UPDATE
-- of both rows would lock them in the order in which it comes upon their newest versions, which is any. A transfer
-- to oneself is made one to somebody else.
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
\set low least(:payer, :payee)
\set high greatest(:payer, :payee)
\if :payer = :low
\set change -:amount
\else
\set change :amount
\endif
WITH first AS (
    UPDATE accounts SET balance = balance + :change WHERE id = :low RETURNING id
), second AS (
    UPDATE accounts SET balance = balance - :change WHERE id = :high AND EXISTS (SELECT FROM first) RETURNING id
)
INSERT INTO transfers (payer, payee, amount) SELECT :payer, :payee, :amount FROM second;
