//! Every test of the bank but those that stand beside their code. What each file shows is told in
//! `ARCHITECTURE.md`.

mod audit;
mod bad_input;
mod bench;
mod bounds;
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
mod watchers;
mod wire;
