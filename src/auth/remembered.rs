//! JWTs that were found good, so that a signature isn't checked again with every call.
//!
//! **Invariant:** what is remembered is what checking again would say: it holds for the keys that it was
//! checked with and until the token expires. Tokens are known by their hashes, and there is room for so many.

use std::sync::{Arc, Mutex, PoisonError};

use hashlink::LruCache;

use super::jwks::KeySet;
use super::{Caller, TokenHash};

/// How many tokens are remembered, at the most: some 200 bytes each.
const TOKENS: usize = 4_096;

struct Good {
    caller: Arc<Caller>,
    keys: Arc<KeySet>,
    /// Until when, in seconds since the Unix epoch.
    until: u64,
}

/// What was found good.
pub(super) struct Remembered(Mutex<LruCache<[u8; 32], Good>>);

impl Remembered {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(TOKENS)))
    }

    /// Whom a token is about, if it was found good with these keys and is good still.
    pub(super) fn find(
        &self,
        token: TokenHash,
        keys: &Arc<KeySet>,
        now: u64,
    ) -> Option<Arc<Caller>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let good = all.get(token.as_bytes())?;
        (Arc::ptr_eq(&good.keys, keys) && now <= good.until).then(|| good.caller.clone())
    }

    /// Remembers that a token is good until a time.
    pub(super) fn note(
        &self,
        token: TokenHash,
        keys: Arc<KeySet>,
        until: u64,
        caller: Arc<Caller>,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(*token.as_bytes(), Good { caller, keys, until });
    }
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Remembered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Reach, Role};
    use crate::ledger::CallerName;

    #[test]
    fn what_is_good_is_so_for_its_keys_and_until_it_expires() {
        let remembered = Remembered::new();
        let (keys, others) = (Arc::new(KeySet::default()), Arc::new(KeySet::default()));
        let caller = Arc::new(Caller {
            name: CallerName::parse("a").expect("a name"),
            role: Role::Reader,
            reach: Reach::Everything,
        });
        let (token, other) = (TokenHash::of("token"), TokenHash::of("other"));
        assert_eq!(remembered.find(token, &keys, 0), None);
        remembered.note(token, keys.clone(), 100, caller.clone());
        assert_eq!(remembered.find(token, &keys, 100), Some(caller.clone()));
        assert_eq!(remembered.find(token, &keys, 101), None);
        assert_eq!(remembered.find(token, &others, 100), None);
        assert_eq!(remembered.find(other, &keys, 100), None);

        for number in 0..TOKENS {
            let token = TokenHash::of(&number.to_string());
            remembered.note(token, keys.clone(), 100, caller.clone());
        }
        assert_eq!(remembered.find(token, &keys, 100), None, "it made room");
        assert_eq!(remembered.0.lock().expect("nobody panicked").len(), TOKENS);
    }
}
