//! Why a value can't be built from what was given: one sentence for people.
//!
//! Every newtype of the ledger has one constructor that can fail, and it fails with this. Past the
//! constructor a value is never checked for shape again.

/// What is wrong with a value, as a phrase that follows the name of its field:
/// "must be above 0".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(super) &'static str);

impl Malformed {
    /// What is said of a number that may be 0 or above and is neither.
    pub const BELOW_ZERO: Self = Self("must be 0 or above");
}
