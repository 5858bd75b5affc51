//! The commands of the binary.

mod healthcheck;
mod serve;

pub use healthcheck::healthcheck;
pub use serve::serve;
