//! Every test of the bank but those that stand beside their code. What each file shows is told in
//! `ARCHITECTURE.md`.
//! Every test of the bank but those that stand beside their code.
//!
//! `cases` are the rules as data, on every store and over gRPC; `properties` compare the store with a
//! plain reference on random histories; `races` run many callers at once; `durability` ends banks at bad
//! moments and damages their files; `postgres` does so with a database and between several banks; `audit`
//! tells lies about what happened; `wire` and `errors` look at what a client sees; `process` starts the
//! binary; `metrics` and `traces` look at it as its operators do; `command_line` uses it as people do; `house` keeps the floors apart.
//! tells lies about what happened; `wire` and `errors` look at what a client sees; `connections` go past the
//! limits of the transport, and `tls` is about who trusts whom; `process` starts the
//! moments and damages their files; `postgres` and `database_faults` do so with a database and between several
//! banks, and `database_checks` alters one; `moving` carries books from one to the other; `audit` tells lies
//! about what happened; `wire` and `errors` look at what a client sees; `process` starts the
//! binary; `command_line` uses it as people do; `house` keeps the floors apart.

mod audit;
mod audit_log;
mod auth;
mod bad_input;
mod bench;
mod bounds;
mod capacity;
mod cases;
mod command_line;
mod compression;
mod confinement;
mod connections;
mod database_ahead;
mod database_backups;
mod database_checks;
mod database_faults;
mod database_threads;
mod durability;
mod errors;
mod house;
mod metrics;
mod moving;
mod pages;
mod postgres;
mod process;
mod properties;
mod races;
mod roles_over_tls;
mod statements;
mod streams;
mod support;
mod tls;
mod traces;
mod watchers;
mod wire;
