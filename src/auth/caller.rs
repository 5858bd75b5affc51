//! A caller: its name, its role, and the accounts that it is confined to.

use std::sync::Arc;

use serde::Deserialize;

use crate::ledger::{AccountId, CallerName};

/// What kinds of things a caller may do: each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Reader,
    /// Move money and hold it.
    Teller,
    /// Open, change, freeze and close accounts.
    Admin,
}

impl Role {
    /// The role of this name: `reader`, `teller`, `admin`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Reader, Self::Teller, Self::Admin].into_iter().find(|role| role.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Teller => "teller",
            Self::Admin => "admin",
        }
    }
}

/// What the ids of some accounts begin with: the beginning of a client's account id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(AccountId);

impl Prefix {
    /// Reads a prefix.
    ///
    /// # Errors
    ///
    /// What is wrong with it: no account id begins with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Every beginning of an id is an id itself.
        AccountId::parse(text).map(Self).map_err(|malformed| malformed.to_string())
    }

    /// The prefix as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Which accounts a caller may know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them.
    Everything,
    /// Those whose ids begin with one of these; never the outside world.
    Within(Arc<[Prefix]>),
}

impl Reach {
    /// How many prefixes a caller may have: a listing of its accounts walks along each of them.
    pub const MAX_PREFIXES: usize = 64;

    /// The accounts whose ids begin with one of these.
    ///
    /// # Errors
    ///
    /// What is wrong with them. None at all would confine a caller to nothing, which nobody means.
    pub fn within<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut all: Vec<Prefix> =
            prefixes.into_iter().map(Prefix::parse).collect::<Result<_, _>>()?;
        if !(1..=Self::MAX_PREFIXES).contains(&all.len()) {
            return Err(format!("must be 1 to {}", Self::MAX_PREFIXES));
        }
        all.sort();
        // In this order a prefix stands right before those that it covers.
        all.dedup_by(|next, kept| next.as_str().starts_with(kept.as_str()));
        Ok(Self::Within(all.into()))
    }

    /// Whether an account with this id is one of them.
    #[must_use]
    pub fn includes(&self, id: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Within(prefixes) => prefixes.iter().any(|it| id.starts_with(it.as_str())),
        }
    }

    /// The prefixes that an account must have one of to be one of them and to begin with this as well: in
    /// order, and none covers another.
    #[must_use]
    pub fn narrowed(&self, prefix: &str) -> Vec<String> {
        match self {
            Self::Everything => vec![prefix.to_owned()],
            Self::Within(prefixes) => {
                let narrow = |own: &Prefix| {
                    let own = own.as_str();
                    let longer = if own.len() < prefix.len() { prefix } else { own };
                    let fits = longer.starts_with(own) && longer.starts_with(prefix);
                    fits.then(|| longer.to_owned())
                };
                prefixes.iter().filter_map(narrow).collect()
            }
        }
    }
}

/// Somebody who has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name that stands in every record.
    pub name: CallerName,
    /// What it may do.
    pub role: Role,
    /// With which accounts.
    pub reach: Reach,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_one_spelling_and_an_order() {
        for role in [Role::Reader, Role::Teller, Role::Admin] {
            assert_eq!(Role::parse(role.name()), Some(role));
        }
        assert!(Role::Reader < Role::Teller && Role::Teller < Role::Admin);
        for name in ["", "Admin", "root", "admin "] {
            assert_eq!(Role::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_reach_is_what_its_prefixes_say() {
        let reach = Reach::within(["shop:", "a", "shop:1", "ab", "b-"]).expect("they are prefixes");
        let Reach::Within(prefixes) = &reach else { panic!("it is confined") };
        let left: Vec<_> = prefixes.iter().map(Prefix::as_str).collect();
        assert_eq!(left, ["a", "b-", "shop:"]);
        for id in ["shop:", "shop:1", "a", "ax", "b-1"] {
            assert!(reach.includes(id), "{id}");
        }
        for id in ["", "shop", "sho", "b", "bx", "@external:USD", "@external:a", "@other"] {
            assert!(!reach.includes(id), "{id}");
        }
        assert!(Reach::Everything.includes("@external:USD"));
    }

    #[test]
    fn a_filter_narrows_a_reach_and_never_widens_it() {
        let reach = Reach::within(["shop:", "a", "shut"]).expect("they are prefixes");
        for (filter, left) in [
            ("", &["a", "shop:", "shut"][..]),
            ("sh", &["shop:", "shut"]),
            ("shop:", &["shop:"]),
            ("shop:7", &["shop:7"]),
            ("shop;", &[]),
            ("b", &[]),
            ("ab", &["ab"]),
            ("@", &[]),
        ] {
            assert_eq!(reach.narrowed(filter), left, "{filter:?}");
        }
        assert_eq!(Reach::Everything.narrowed("x"), ["x"]);
    }

    #[test]
    fn what_begins_no_account_id_is_no_prefix() {
        let too_long = "a".repeat(65);
        for prefix in ["", "@", "@external:", "A", "a b", ":", too_long.as_str()] {
            assert!(Reach::within([prefix]).is_err(), "{prefix:?}");
        }
        assert!(Reach::within([]).is_err());
        let many: Vec<String> = (0..65).map(|n| format!("p{n}:")).collect();
        assert!(Reach::within(many.iter().map(String::as_str)).is_err());
    }
}
