//! Every test of the bank but those that stand beside their code.
//!
//! `cases` are the rules as data, on every store and over gRPC; `properties` compare the store with a
//! plain reference on random histories; `races` run many callers at once; `durability` ends banks at bad
//! moments and damages their files; `postgres` does so with a database and between several banks, and
//! `database_checks` alters one; `audit` tells lies about what happened; `capacity` goes past every limit; `wire` and `errors` look at what a client sees; `process` starts the
//! binary; `metrics` looks at it as its operators do; `command_line` uses it as people do; `house` keeps the floors apart.

mod audit;
mod bad_input;
mod capacity;
mod cases;
mod command_line;
mod connections;
mod database_checks;
mod durability;
mod errors;
mod house;
mod metrics;
mod pages;
mod postgres;
mod process;
mod properties;
mod races;
mod statements;
mod streams;
mod support;
mod wire;
