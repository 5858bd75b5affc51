//! A bank core that a program can call: double-entry accounts over gRPC.
//!
//! The modules stand in reading order, from the rules of money up to the command line. Imports go down
//! only: see `ARCHITECTURE.md`.

pub mod ledger;

pub mod clock;
pub mod histogram;
pub mod store;
mod wire;

pub mod auth;

pub mod grpc;

pub mod server;

pub mod config;
pub mod telemetry;

pub mod cli;
