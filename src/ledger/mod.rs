//! Floor 0: the rules of money.
//!
//! A pure, synchronous core: no I/O, no async, no clock, no protobuf. [`decide()`] says what a command
//! does to the books at a moment; [`Books::apply`] does it. **Invariants:** the posted balances of a
//! currency add up to 0; no figure leaves 64 bits; arithmetic is checked everywhere.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

mod account;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "in tests alone")]
pub(crate) mod arbitrary;
mod audit;
mod books;
mod caller;
mod command;
mod decide;
mod hold;
mod id;
mod malformed;
mod money;
mod record;
mod refusal;
mod text;
mod time;
mod transaction;

pub use account::{Account, AccountState, Balance};
pub use audit::Audit;
pub use books::{AccountNumber, Books, Standing, Totals};
pub use caller::CallerName;
pub use command::{Command, HoldDuration, HoldParties, NewAccountId, Parties, Request};
pub use decide::{Turn, decide};
pub use hold::{Hold, HoldState};
pub use id::{AccountId, HoldId, LedgerId, RequestId, Sequence, TransactionId};
pub use malformed::Malformed;
pub use money::{Amount, Currency, Money, OverdraftLimit};
pub use record::{Change, Record};
pub use refusal::{HoldEnd, Refusal};
pub use text::{Description, DisplayName, Etag, Labels};
pub use time::Time;
pub use transaction::{Movement, Posting, TransactionType};
