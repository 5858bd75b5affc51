//! From protobuf to what the ledger understands, with everything that is wrong noted at once.
//!
//! Past this folder nothing is checked for shape again.

mod accounts;
mod fields;
mod movements;
mod reads;

pub(super) use accounts::*;
pub(super) use movements::*;
pub(super) use reads::*;
