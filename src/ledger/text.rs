//! The free text that clients attach: descriptions, display names, labels.
//!
//! The bank keeps and returns them, and never looks into them. Lengths are in bytes of UTF-8.

use std::collections::BTreeMap;

use super::Malformed;

/// What a movement or a change of state was for: at most 512 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Description(Box<str>);

impl Description {
    /// Takes a text.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is longer than 512 bytes.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() <= 512 {
            Ok(Self(text.into()))
        } else {
            Err(Malformed("must be at most 512 bytes"))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of an account for people: at most 256 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DisplayName(Box<str>);

impl DisplayName {
    /// Takes a name.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is longer than 256 bytes.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() <= 256 {
            Ok(Self(text.into()))
        } else {
            Err(Malformed("must be at most 256 bytes"))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The form of an account that a client has seen and wants to change: 1 to 64 bytes.
///
/// Any text of that length is one; one that the bank never gave out just isn't current.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Etag(Box<str>);

impl Etag {
    /// Takes a tag.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is empty or longer than 64 bytes.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if (1..=64).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed("must be 1 to 64 bytes"))
        }
    }

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Pairs of key and value, by key: at most 32; key `[a-z][a-z0-9_.-]{0,62}`, value at most 256 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(BTreeMap<Box<str>, Box<str>>);

impl Labels {
    /// Takes pairs; of two with the same key the later one counts.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when there are too many, or one does not follow the rule above.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Malformed> {
        let mut labels = BTreeMap::new();
        for (key, value) in pairs {
            if !is_label_key(key) {
                return Err(Malformed("must have keys that match [a-z][a-z0-9_.-]{0,62}"));
            }
            if value.len() > 256 {
                return Err(Malformed("must have values of at most 256 bytes"));
            }
            labels.insert(key.into(), value.into());
        }
        if labels.len() > 32 {
            return Err(Malformed("must be at most 32 pairs"));
        }
        Ok(Self(labels))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

fn is_label_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    key.len() <= 63
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_limits_in_bytes() {
        assert!(Description::parse(&"x".repeat(512)).is_ok());
        assert!(Description::parse(&"x".repeat(513)).is_err());
        assert!(Description::parse(&"ä".repeat(257)).is_err());
        assert!(DisplayName::parse(&"x".repeat(256)).is_ok());
        assert!(DisplayName::parse(&"x".repeat(257)).is_err());
    }

    #[test]
    fn labels_follow_their_rule() {
        let value = "v".repeat(256);
        let key = format!("k{}", "1".repeat(62));
        let labels = Labels::parse([("b", ""), (key.as_str(), value.as_str()), ("a_.-9", "x")]);
        let read: Vec<_> = labels.iter().flat_map(Labels::iter).collect();
        assert_eq!(read, [("a_.-9", "x"), ("b", ""), (key.as_str(), value.as_str())]);

        let long_key = format!("k{}", "1".repeat(63));
        for key in ["", "A", "1a", "_a", "a b", "ä", long_key.as_str()] {
            assert!(Labels::parse([(key, "v")]).is_err(), "{key:?}");
        }
        assert!(Labels::parse([("k", "v".repeat(257).as_str())]).is_err());
    }

    #[test]
    fn there_are_at_most_32_labels() {
        let keys: Vec<String> = (0..33).map(|n| format!("k{n}")).collect();
        let pairs = |count: usize| keys.iter().take(count).map(|key| (key.as_str(), ""));
        assert!(Labels::parse(pairs(32)).is_ok());
        assert!(Labels::parse(pairs(33)).is_err());
    }
}
