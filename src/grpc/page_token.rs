//! Page tokens: a position, sealed together with the filters that it belongs to.
//!
//! A token that was altered, that comes from another ledger or another listing, or that is sent with
//! other filters, doesn't open. It is no secret and grants nothing; the seal finds mistakes.

use data_encoding::BASE64URL_NOPAD;
use prost::Message;

use crate::ledger::{AccountId, LedgerId, Sequence};
use crate::store::Cursor;

use super::proto::{
    ListAccountsRequest, ListHoldsRequest, ListTransactionsRequest, WatchTransactionsRequest,
};

const SEAL_BYTES: usize = 16;

/// Seals the tokens of one listing with its filters.
#[derive(Debug)]
pub(super) struct PageTokens {
    hasher: blake3::Hasher,
}

impl PageTokens {
    /// For the listing of accounts that a request asks for.
    pub(super) fn of_accounts(ledger: LedgerId, request: &ListAccountsRequest) -> Self {
        let filters =
            ListAccountsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        Self::new(ledger, "bank.v1 page of accounts", &filters)
    }

    /// For the listing of transactions that a request asks for.
    pub(super) fn of_transactions(ledger: LedgerId, request: &ListTransactionsRequest) -> Self {
        let filters =
            ListTransactionsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        Self::new(ledger, "bank.v1 page of transactions", &filters)
    }

    /// For the listing of holds that a request asks for.
    pub(super) fn of_holds(ledger: LedgerId, request: &ListHoldsRequest) -> Self {
        let filters =
            ListHoldsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        Self::new(ledger, "bank.v1 page of holds", &filters)
    }

    /// For the live feed of an account, or of the whole ledger.
    pub(super) fn of_watch(ledger: LedgerId, request: &WatchTransactionsRequest) -> Self {
        let filters = WatchTransactionsRequest { resume_token: String::new(), ..request.clone() };
        Self::new(ledger, "bank.v1 live feed", &filters)
    }

    fn new(ledger: LedgerId, listing: &str, filters: &impl Message) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(listing);
        hasher.update(&ledger.number().to_be_bytes());
        let filters = filters.encode_to_vec();
        hasher.update(&(filters.len() as u64).to_be_bytes());
        hasher.update(&filters);
        Self { hasher }
    }

    pub(super) fn seal_account(&self, after: &AccountId) -> String {
        self.seal(after.as_str().as_bytes())
    }

    /// The account that a token stands after; `None` when it doesn't open.
    pub(super) fn open_account(&self, token: &str) -> Option<AccountId> {
        let position = self.open(token)?;
        AccountId::parse_any(std::str::from_utf8(&position).ok()?).ok()
    }

    pub(super) fn seal_cursor(&self, cursor: Cursor) -> String {
        let mut position = [0; 16];
        position[..8].copy_from_slice(&cursor.after.number().to_be_bytes());
        position[8..].copy_from_slice(&cursor.until.number().to_be_bytes());
        self.seal(&position)
    }

    /// Where a token stands; `None` when it doesn't open.
    pub(super) fn open_cursor(&self, token: &str) -> Option<Cursor> {
        let position: [u8; 16] = self.open(token)?.try_into().ok()?;
        let (after, until) = position.split_at(8);
        let sequence = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map(Sequence::new);
        Some(Cursor { after: sequence(after).ok()?, until: sequence(until).ok()? })
    }

    pub(super) fn seal_sequence(&self, sequence: Sequence) -> String {
        self.seal(&sequence.number().to_be_bytes())
    }

    /// The record that a token stands at; `None` when it doesn't open.
    pub(super) fn open_sequence(&self, token: &str) -> Option<Sequence> {
        let number: [u8; 8] = self.open(token)?.try_into().ok()?;
        Some(Sequence::new(u64::from_be_bytes(number)))
    }

    fn seal(&self, position: &[u8]) -> String {
        let mut token = self.tag(position).to_vec();
        token.extend_from_slice(position);
        BASE64URL_NOPAD.encode(&token)
    }

    fn open(&self, token: &str) -> Option<Vec<u8>> {
        let token = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let (tag, position) = token.split_at_checked(SEAL_BYTES)?;
        (self.tag(position) == tag).then(|| position.to_vec())
    }

    fn tag(&self, position: &[u8]) -> [u8; SEAL_BYTES] {
        let mut tag = [0; SEAL_BYTES];
        self.hasher.clone().update(position).finalize_xof().fill(&mut tag);
        tag
    }
}
