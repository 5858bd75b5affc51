//! The file that says which callers there are.
//!
//! **Invariants:** an entry is known by a token's hash, by the name in a certificate, or by both, and no two
//! entries by the same; a name means the same role and accounts wherever it stands, so that a token can be
//! renewed by a second entry. Every entry is compared with a token, whichever it is of.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Caller, Reach, Role, TokenHash, Unidentified};
use crate::ledger::CallerName;

/// The callers of a file, in TOML:
///
/// ```toml
/// [[caller]]
/// name = "shop"
/// role = "teller"
/// account_prefixes = ["shop:"]
/// token_sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
/// certificate = "spiffe://example.org/shop"
/// ```
#[derive(Debug, Default)]
pub struct Callers {
    by_token: Vec<(TokenHash, Arc<Caller>)>,
    by_certificate: HashMap<String, Arc<Caller>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    caller: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    account_prefixes: Option<Vec<String>>,
    token_sha256: Option<String>,
    certificate: Option<String>,
}

impl Callers {
    /// Reads the file's content.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong with it.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(content).map_err(|_| "it is no text".to_owned())?;
        let file: File = toml::from_str(text).map_err(|error| in_one_line(&error, text))?;
        let mut callers = Self::default();
        let mut known: HashMap<CallerName, Arc<Caller>> = HashMap::new();
        for (index, entry) in file.caller.into_iter().enumerate() {
            let wrong = |what: String| format!("caller {}: {what}", index + 1);
            callers.add(entry, &mut known).map_err(wrong)?;
        }
        Ok(callers)
    }

    fn add(
        &mut self,
        entry: Entry,
        known: &mut HashMap<CallerName, Arc<Caller>>,
    ) -> Result<(), String> {
        let name = CallerName::parse(&entry.name).map_err(|wrong| format!("name {wrong}"))?;
        let reach = match &entry.account_prefixes {
            None => Reach::Everything,
            Some(prefixes) => Reach::within(prefixes.iter().map(String::as_str))
                .map_err(|wrong| format!("account_prefixes {wrong}"))?,
        };
        let caller = Arc::new(Caller { name: name.clone(), role: entry.role, reach });
        let first = known.entry(name).or_insert_with(|| caller.clone());
        if *first != caller {
            return Err(format!("{} has another role or other accounts elsewhere", caller.name));
        }
        if entry.token_sha256.is_none() && entry.certificate.is_none() {
            return Err("token_sha256 or certificate must be set".to_owned());
        }
        if let Some(hash) = &entry.token_sha256 {
            let hash = TokenHash::parse(hash)
                .ok_or_else(|| "token_sha256 must be 64 hexadecimal digits".to_owned())?;
            if self.by_token.iter().any(|(other, _)| bool::from(other.ct_eq(&hash))) {
                return Err("token_sha256 stands in an earlier entry too".to_owned());
            }
            self.by_token.push((hash, caller.clone()));
        }
        if let Some(mut name) = entry.certificate {
            // DNS names are in lower case here as in peers; only a URI has a colon.
            if !name.contains(':') {
                name.make_ascii_lowercase();
            }
            if name.is_empty() {
                return Err("certificate must not be empty".to_owned());
            }
            if self.by_certificate.insert(name, caller).is_some() {
                return Err("certificate stands in an earlier entry too".to_owned());
            }
        }
        Ok(())
    }

    /// How many ways there are to be recognised.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_token.len() + self.by_certificate.len()
    }

    /// The caller that a token was given to. Takes the same time whichever entry it is, if any.
    #[must_use]
    pub fn by_token(&self, token: &str) -> Option<Arc<Caller>> {
        let presented = TokenHash::of(token);
        let (mut found, mut index) = (Choice::from(0), 0);
        for (hash, number) in self.by_token.iter().map(|(hash, _)| hash).zip(0_u64..) {
            let same = hash.ct_eq(&presented);
            index.conditional_assign(&number, same);
            found |= same;
        }
        if !bool::from(found) {
            return None;
        }
        let index = usize::try_from(index).ok()?;
        self.by_token.get(index).map(|(_, caller)| caller.clone())
    }

    /// The caller that a certificate with these names is of.
    ///
    /// # Errors
    ///
    /// [`Unidentified`] when none of the names is known, or they are of several callers.
    pub fn by_certificate(&self, names: &[String]) -> Result<Arc<Caller>, Unidentified> {
        let mut known = names.iter().filter_map(|name| self.by_certificate.get(name));
        let first = known.next();
        let first = first.ok_or(Unidentified::Refused("the certificate's names are not known"))?;
        if known.any(|other| other.name != first.name) {
            return Err(Unidentified::Refused("the certificate's names are of several callers"));
        }
        Ok(first.clone())
    }
}

/// What a parser says, on a line of its own and without the text of the file, which may hold a secret that
/// somebody put there by mistake.
fn in_one_line(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}: {}", error.message().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn of(text: &str) -> Result<Callers, String> {
        Callers::parse(text.replace("HASH", HASH).as_bytes())
    }

    #[test]
    fn entries_are_found_by_token_and_by_certificate() {
        let other = TokenHash::of("other");
        let callers = of(&format!(
            "[[caller]]\nname = 'shop'\nrole = 'teller'\naccount_prefixes = ['shop:']\n\
             token_sha256 = 'HASH'\ncertificate = 'spiffe://example.org/shop'\n\
             [[caller]]\nname = 'shop'\nrole = 'teller'\naccount_prefixes = ['shop:', 'shop:1']\n\
             token_sha256 = '{other}'\n\
             [[caller]]\nname = 'eye'\nrole = 'reader'\ncertificate = 'Eye.example.org'\n"
        ))
        .expect("it is well formed");
        assert_eq!(callers.count(), 4);
        for token in ["abc", "other"] {
            let shop = callers.by_token(token).expect("it is known");
            assert_eq!((shop.name.as_str(), shop.role), ("shop", Role::Teller));
            assert!(shop.reach.includes("shop:1") && !shop.reach.includes("till"));
        }
        for token in ["", "ab", "abcd", "ABC"] {
            assert_eq!(callers.by_token(token), None, "{token:?}");
        }

        let by = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            callers.by_certificate(&names).map(|caller| caller.name.to_string())
        };
        assert_eq!(by(&["x", "spiffe://example.org/shop"]), Ok("shop".to_owned()));
        assert_eq!(by(&["eye.example.org"]), Ok("eye".to_owned()));
        for names in [
            &["spiffe://example.org/shop/"][..],
            &["spiffe://example.org/"],
            &["spiffe://example.org/SHOP"],
            &["example.org"],
            &["eye.example.org", "spiffe://example.org/shop"],
            &[],
        ] {
            assert!(matches!(by(names), Err(Unidentified::Refused(_))), "{names:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let entry = "[[caller]]\nname = 'a'\nrole = 'reader'\ntoken_sha256 = 'HASH'\n";
        for (text, words) in [
            ("caller", &["line 1"][..]),
            ("\n[[callers]]\n", &["line 2", "callers"]),
            ("[[caller]]\nname = 'a'\nrole = 'reader'\ntoken = 'x'\n", &["line 4", "token"]),
            ("[[caller]]\nname = 'a'\ntoken_sha256 = 'HASH'\n", &["role"]),
            ("[[caller]]\nname = 'a'\nrole = 'root'\ntoken_sha256 = 'HASH'\n", &["line 3", "root"]),
            ("[[caller]]\nname = 'a b'\nrole = 'reader'\ntoken_sha256 = 'HASH'\n", &["name"]),
            ("[[caller]]\nname = 'a'\nrole = 'reader'\n", &["caller 1", "certificate"]),
            ("[[caller]]\nname = 'a'\nrole = 'reader'\ntoken_sha256 = 'x'\n", &["64"]),
            ("[[caller]]\nname = 'a'\nrole = 'reader'\ncertificate = ''\n", &["certificate"]),
            (&format!("{entry}account_prefixes = []\n"), &["account_prefixes"]),
            (&format!("{entry}account_prefixes = ['']\n"), &["account_prefixes"]),
            (&format!("{entry}{}", entry.replace("'a'", "'b'")), &["caller 2", "token_sha256"]),
            (
                &format!(
                    "{entry}[[caller]]\nname = 'a'\nrole = 'admin'\ncertificate = 'a.example'\n"
                ),
                &["caller 2", "another role"],
            ),
        ] {
            let wrong = of(text).expect_err(text);
            assert_eq!(wrong.lines().count(), 1, "{wrong}");
            for word in words {
                assert!(wrong.contains(word), "{word} is not in: {wrong}");
            }
        }
        assert!(Callers::parse(b"\xff").is_err());
        assert_eq!(of("").map(|callers| callers.count()), Ok(0));
    }
}
