//! A store that knows nothing and answers every request with the same record: what a call costs without it.

use bank::ledger::{AccountId, Currency, Hold, HoldId, LedgerId, Refusal, Request, Time, Totals};
use bank::store::{
    AccountPage, AccountQuery, AccountView, BatchRefused, Changes, EachAnswer, Error, Executed,
    Figures, HoldPage, HoldQuery, LinkedRecord, PastBalance, RecordKey, Store, TransactionPage,
    TransactionQuery,
};

/// Answers with this.
#[derive(Debug)]
pub(crate) struct Echo(pub(crate) Executed);

impl Store for Echo {
    fn ledger_id(&self) -> LedgerId {
        LedgerId::new(1)
    }

    async fn figures(&self) -> Result<Figures, Error> {
        Ok(Figures::default())
    }

    async fn execute(&self, _: Request) -> Result<Result<Executed, Refusal>, Error> {
        Ok(Ok(self.0.clone()))
    }

    async fn execute_each(&self, _: Vec<Request>) -> Result<EachAnswer, Error> {
        Err(Error::Unavailable)
    }

    async fn execute_all(
        &self,
        _: Vec<Request>,
    ) -> Result<Result<Vec<Executed>, BatchRefused>, Error> {
        Err(Error::Unavailable)
    }

    async fn hold(&self, _: &HoldId) -> Result<Result<Hold, Refusal>, Error> {
        Err(Error::Unavailable)
    }

    async fn holds(&self, _: &HoldQuery) -> Result<Result<HoldPage, Refusal>, Error> {
        Err(Error::Unavailable)
    }

    async fn account(&self, _: &AccountId) -> Result<Result<AccountView, Refusal>, Error> {
        Err(Error::Unavailable)
    }

    async fn accounts(&self, _: &AccountQuery) -> Result<AccountPage, Error> {
        Err(Error::Unavailable)
    }

    async fn balance_at(
        &self,
        _: &AccountId,
        _: Time,
    ) -> Result<Result<PastBalance, Refusal>, Error> {
        Err(Error::Unavailable)
    }

    async fn record(&self, _: &RecordKey) -> Result<Option<LinkedRecord>, Error> {
        Err(Error::Unavailable)
    }

    async fn transactions(
        &self,
        _: &TransactionQuery,
    ) -> Result<Result<TransactionPage, Refusal>, Error> {
        Err(Error::Unavailable)
    }

    async fn head(&self) -> Result<bank::ledger::Sequence, Error> {
        Err(Error::Unavailable)
    }

    async fn changes(&self, _: Option<&AccountId>) -> Result<Result<Changes, Refusal>, Error> {
        Err(Error::Unavailable)
    }

    async fn totals(&self, _: Option<&Currency>) -> Result<Vec<(Currency, Totals)>, Error> {
        Err(Error::Unavailable)
    }
}
