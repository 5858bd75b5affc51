-- What a program keeps that lets PostgreSQL move money by one statement a transfer.
CREATE TABLE accounts (
    id INT PRIMARY KEY,
    balance BIGINT NOT NULL CHECK (balance >= 0)
);
CREATE TABLE transfers (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payer INT NOT NULL,
    payee INT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    made_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
