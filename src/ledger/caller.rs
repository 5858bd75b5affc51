//! Who asks: the name under which a caller is known.
//!
//! The ledger keeps it beside each request and never decides by it; what a caller may do is settled before
//! a request comes here.

use std::sync::Arc;

use super::Malformed;

/// The name of a caller: 1 to 255 visible ASCII characters (0x21 to 0x7e), as subjects of tokens and SPIFFE
/// ids are. Cloning it is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerName(Arc<str>);

impl CallerName {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is empty, longer than 255 characters, or has a character that is not visible
    /// ASCII; a blank is not visible.
    pub fn parse(name: &str) -> Result<Self, Malformed> {
        let fits = (1..=255).contains(&name.len()) && name.bytes().all(|it| it.is_ascii_graphic());
        if fits {
            Ok(Self(name.into()))
        } else {
            Err(Malformed("must be 1 to 255 visible ASCII characters"))
        }
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for CallerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_visible_ascii() {
        let longest = "~".repeat(255);
        for name in ["!", "payments", "spiffe://example.org/ns/shop", longest.as_str()] {
            assert_eq!(CallerName::parse(name).as_ref().map(CallerName::as_str), Ok(name));
        }
        let too_long = "~".repeat(256);
        for name in ["", " ", "a b", "a\n", "\u{7f}", "é", too_long.as_str()] {
            assert!(CallerName::parse(name).is_err(), "{name:?}");
        }
    }
}
