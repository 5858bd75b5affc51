//! Listings of what a caller may know of.
//!
//! **Invariant:** a caller that is confined to some accounts sees a listing as if there were no others. Its
//! accounts are walked along one prefix after the other; in listings of the whole ledger what is not its own
//! is left out, so that pages come out shorter.

use std::sync::Arc;

use super::access::Permit;
use crate::ledger::Refusal;
use crate::store::{
    AccountPage, AccountQuery, Error, HoldPage, HoldQuery, Store, TransactionPage, TransactionQuery,
};

/// A store, as a caller may see it.
pub(super) struct Within<'a, S> {
    pub(super) store: &'a S,
    pub(super) permit: &'a Arc<Permit>,
}

impl<S: Store> Within<'_, S> {
    /// A page of the caller's accounts.
    pub(super) async fn accounts(&self, query: &AccountQuery) -> Result<AccountPage, Error> {
        let mut accounts = Vec::new();
        let prefixes = self.permit.reach().narrowed(&query.id_prefix);
        let mut prefixes = prefixes.iter().peekable();
        while let Some(prefix) = prefixes.next() {
            let after = query.after.as_ref().filter(|after| after.as_str() >= prefix.as_str());
            if after.is_some_and(|after| !after.as_str().starts_with(prefix)) {
                // The page before has been past all of these.
                continue;
            }
            let part = AccountQuery {
                id_prefix: prefix.clone(),
                after: after.cloned(),
                page_size: query.page_size - accounts.len(),
                ..query.clone()
            };
            let page = self.store.accounts(&part).await?;
            accounts.extend(page.accounts);
            if page.next.is_some() {
                return Ok(AccountPage { accounts, next: page.next });
            }
            if accounts.len() == query.page_size && prefixes.peek().is_some() {
                let next = accounts.last().map(|view| view.account.id.clone());
                return Ok(AccountPage { accounts, next });
            }
        }
        Ok(AccountPage { accounts, next: None })
    }

    /// A page of transactions that have a side of the caller's.
    pub(super) async fn transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<Result<TransactionPage, Refusal>, Error> {
        let page = self.store.transactions(query).await?;
        Ok(page.map(|mut page| {
            page.records.retain(|linked| self.permit.sees(&linked.record));
            page
        }))
    }

    /// A page of holds on the caller's accounts.
    pub(super) async fn holds(
        &self,
        query: &HoldQuery,
    ) -> Result<Result<HoldPage, Refusal>, Error> {
        let page = self.store.holds(query).await?;
        Ok(page.map(|mut page| {
            page.holds.retain(|hold| self.permit.sees_hold(hold));
            page
        }))
    }
}
