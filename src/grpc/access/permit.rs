//! What one call may do, and to which accounts.
//!
//! A caller that is confined to some accounts may not learn of any other. **Invariants:** an account that a
//! request names is looked at before it is read any further, by its id alone, so the answer is the same
//! whether there is such an account or not; what is found by the id of a hold, a transaction or a request
//! is looked at before it is touched or told, and is not there unless it is of the caller's accounts; the
//! other side of what is told has no name ([`OTHER`]).
//!
//! A confined caller moves money only where both sides are its own: the answer of a payment to anybody else
//! would tell that the account exists, what it holds, and how it stands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Extensions;

use super::audit::{self, Line, Lines, Unread};
use super::{Asked, Credentials};
use crate::auth::{Caller, Rates, Reach, Scarce, Spender};
use crate::grpc::proto;
use crate::grpc::status::Error;
use crate::ledger::{AccountId, CallerName, Change, Command, Hold, Record, Refusal, RequestId};
use crate::store::{self, RecordKey, Store};

/// What stands in the place of an account that the caller may not know of. No account has this id.
pub(in crate::grpc) const OTHER: &str = "@other";

/// What one call may do.
#[derive(Debug)]
pub(in crate::grpc) struct Permit {
    pub(super) caller: Option<Arc<Caller>>,
    pub(super) credentials: Option<Credentials>,
    pub(super) rates: Option<Arc<Rates>>,
    pub(super) spender: Spender,
    pub(super) peer: Option<SocketAddr>,
    /// The path of the method; empty when it is none.
    pub(super) method: &'static str,
    /// Whether its mutations are told to the audit log.
    pub(super) audits: bool,
    /// Whether it is a call of a method that mutates.
    pub(super) is_mutation: bool,
    /// Whether somebody has read it who tells the audit log what comes of it.
    pub(super) is_read: AtomicBool,
}

impl Permit {
    /// The permit to do everything, of nobody.
    pub(in crate::grpc) fn everything() -> Self {
        Self {
            caller: None,
            credentials: None,
            rates: None,
            spender: Spender::Nobody,
            peer: None,
            method: "",
            audits: false,
            is_mutation: false,
            is_read: AtomicBool::new(false),
        }
    }

    /// The permit of a caller that is confined to accounts whose ids begin so.
    #[cfg(test)]
    pub(in crate::grpc) fn confined_to(prefix: &str) -> Self {
        let caller = Caller {
            name: CallerName::parse("shop").expect("it is one"),
            role: crate::auth::Role::Reader,
            reach: Reach::within([prefix]).expect("it is a prefix"),
        };
        Self { caller: Some(Arc::new(caller)), ..Self::everything() }
    }

    /// The permit of a call.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when it was not let in.
    pub(in crate::grpc) fn of(extensions: &Extensions) -> Result<Arc<Self>, Error> {
        extensions
            .get::<Arc<Self>>()
            .cloned()
            .ok_or_else(|| Error::Denied("the call was not let in".to_owned()))
    }

    /// Who calls; nobody has a name where no authentication is configured.
    pub(in crate::grpc) fn caller_name(&self) -> Option<CallerName> {
        self.caller.as_ref().map(|caller| caller.name.clone())
    }

    /// The accounts that it may know of.
    pub(in crate::grpc) fn reach(&self) -> &Reach {
        self.caller.as_ref().map_or(&Reach::Everything, |caller| &caller.reach)
    }

    fn is_confined(&self) -> bool {
        *self.reach() != Reach::Everything
    }

    /// Whether the caller is still the one that it was, and may do what it could: of calls that go on.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`] when its credentials prove less than they did.
    pub(in crate::grpc) async fn check_still(&self) -> Result<(), Error> {
        let Some(credentials) = &self.credentials else { return Ok(()) };
        match credentials.caller().await {
            Ok(caller) if Some(&caller) == self.caller.as_ref() => Ok(()),
            Ok(_) | Err(_) => Err(Error::Unauthenticated("the credentials are not valid any more")),
        }
    }

    /// Takes the call itself from what the caller may spend. A batch is counted when its size is known.
    pub(in crate::grpc) fn spend_call(self: &Arc<Self>) -> Result<(), Error> {
        if self.method == super::roles::EXECUTE_BATCH {
            return Ok(());
        }
        self.spend(1).inspect_err(|error| {
            self.note_read();
            self.tell_denied(error);
        })
    }

    /// Takes so many operations from what the caller may spend, or none.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] when that is more than it may.
    pub(in crate::grpc) fn spend(&self, operations: usize) -> Result<(), Error> {
        let Some(rates) = &self.rates else { return Ok(()) };
        rates.spend(&self.spender, operations).map_err(|scarce| {
            let delay = match scarce {
                Scarce::For(delay) => Some(delay),
                Scarce::Always => None,
            };
            Error::RateLimited { delay, burst: rates.burst().get() }
        })
    }

    /// How many operations can be spent at once; any number where there is no rate.
    pub(in crate::grpc) fn burst(&self) -> Option<usize> {
        let burst = self.rates.as_ref()?.burst().get();
        Some(usize::try_from(burst).unwrap_or(usize::MAX))
    }

    /// The call as long as no handler has read it, where that is something to be told to the audit log.
    pub(in crate::grpc) fn unread(self: &Arc<Self>) -> Option<Unread> {
        (self.audits && self.is_mutation).then(|| Unread::of(self.clone()))
    }

    /// Notes that the audit log is told of it by who reads it.
    pub(in crate::grpc) fn note_read(&self) {
        self.is_read.store(true, Ordering::Relaxed);
    }

    /// The lines that the audit log gets of operations, where one is kept.
    pub(in crate::grpc) fn audit(self: &Arc<Self>, lines: impl FnOnce() -> Vec<Line>) -> Lines {
        self.note_read();
        Lines::of(self.clone(), lines)
    }

    /// Tells the audit log that something was denied.
    pub(in crate::grpc) fn tell_denied(&self, error: &Error) {
        if !self.audits {
            return;
        }
        let caller = self.caller.as_ref().map(|caller| caller.name.as_str());
        audit::denied(self.method, caller, self.peer, error);
    }

    /// Whether a request is about nothing but accounts that the caller may know of, as far as it names them.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when it names another, whether there is such an account or not.
    pub(in crate::grpc) fn check(&self, request: &impl Asked) -> Result<(), Error> {
        if !self.is_confined() {
            return Ok(());
        }
        if request.is_about_everything() {
            return Err(Error::Denied("the caller is confined to some accounts".to_owned()));
        }
        for (field, id) in request.account_ids() {
            // What is no id at all is the parser's to refuse.
            if AccountId::parse_any(id).is_ok() && !self.reach().includes(id) {
                let why = format!("{field} must begin with a prefix of the caller's accounts");
                return Err(Error::Denied(why));
            }
        }
        Ok(())
    }

    /// [`Permit::check`] of a request that reads: what is denied is told to the audit log.
    pub(in crate::grpc) fn check_read(&self, request: &impl Asked) -> Result<(), Error> {
        self.check(request).inspect_err(|error| self.tell_denied(error))
    }

    /// Whether what a command refers to is of the caller's accounts alone: the hold, the transaction, and a
    /// new account's id where the bank chooses it.
    ///
    /// # Errors
    ///
    /// What is not the caller's at all is refused like what is not there; what concerns another account as
    /// well is [`Error::Denied`].
    pub(in crate::grpc) async fn check_command<S: Store>(
        &self,
        store: &S,
        command: &Command,
    ) -> Result<(), Error> {
        if !self.is_confined() {
            return Ok(());
        }
        match command {
            Command::CaptureHold { hold_id, .. } | Command::ReleaseHold { hold_id } => {
                let hold = store.hold(hold_id).await??;
                if !self.sees_hold(&hold) {
                    return Err(Error::Hidden(Refusal::HoldNotFound { hold_id: hold_id.clone() }));
                }
                self.check_sides([Some(&hold.account_id), hold.to_account_id.as_ref()])
            }
            Command::ReverseTransaction { transaction_id, .. } => {
                let missing =
                    || Refusal::TransactionNotFound { transaction_id: transaction_id.clone() };
                let sequence = transaction_id.sequence_in(store.ledger_id()).ok_or_else(missing)?;
                let linked = store.record(&RecordKey::Sequence(sequence)).await?;
                let record = linked.map(|linked| linked.record).ok_or_else(missing)?;
                let posting = record.posting().ok_or_else(missing)?;
                if !self.sees(&record) {
                    return Err(Error::Hidden(missing()));
                }
                self.check_sides([&posting.movement.from, &posting.movement.to].map(Some))
            }
            Command::CreateAccount { account_id, .. } => self.check_sides([Some(account_id.id())]),
            // They name their accounts, which were looked at.
            Command::UpdateAccount { .. }
            | Command::FreezeAccount { .. }
            | Command::UnfreezeAccount { .. }
            | Command::CloseAccount { .. }
            | Command::Deposit { .. }
            | Command::Withdraw { .. }
            | Command::Transfer { .. }
            | Command::PlaceHold { .. } => Ok(()),
        }
    }

    fn check_sides<'a>(
        &self,
        sides: impl IntoIterator<Item = Option<&'a AccountId>>,
    ) -> Result<(), Error> {
        if sides.into_iter().flatten().all(|id| id.is_external() || self.includes(id)) {
            return Ok(());
        }
        Err(Error::Denied("this concerns an account that is not the caller's".to_owned()))
    }

    /// What a confined caller may be told of a refusal: not in what the request of somebody else, which has
    /// the same request id, differs from its own.
    pub(in crate::grpc) async fn told<S: Store>(
        &self,
        store: &S,
        refusal: Refusal,
    ) -> Result<Refusal, store::Error> {
        let Refusal::RequestIdReused { request_id, .. } = &refusal else { return Ok(refusal) };
        if !self.is_confined() {
            return Ok(refusal);
        }
        let first = store.record(&RecordKey::RequestId(request_id.clone())).await?;
        if first.is_some_and(|first| self.sees(&first.record)) {
            return Ok(refusal);
        }
        Ok(Refusal::RequestIdReused {
            request_id: RequestId::clone(request_id),
            field: "request_id".to_owned(),
        })
    }

    fn includes(&self, id: &AccountId) -> bool {
        self.reach().includes(id.as_str())
    }

    /// Whether the caller may know of a record: one of the sides of what moved is its own, or the account or
    /// hold that was changed is, or every account that was named in vain.
    pub(in crate::grpc) fn sees(&self, record: &Record) -> bool {
        if !self.is_confined() {
            return true;
        }
        if let Some(posting) = record.posting() {
            return self.includes(&posting.movement.from) || self.includes(&posting.movement.to);
        }
        match &record.outcome {
            Ok(Change::AccountOpened { account, .. } | Change::AccountChanged { account }) => {
                self.includes(&account.id)
            }
            Ok(Change::HoldPlaced { hold, .. } | Change::HoldReleased { hold }) => {
                self.sees_hold(hold)
            }
            // Each has a posting.
            Ok(Change::Posted(_) | Change::HoldCaptured { .. } | Change::Reversed { .. }) => false,
            Err(_) => self.sees_command(record),
        }
    }

    /// Of what was refused: every account that it names is the caller's, or it names none and is its own.
    fn sees_command(&self, record: &Record) -> bool {
        match &record.request.command {
            Command::CreateAccount { account_id, .. } => self.includes(account_id.id()),
            Command::UpdateAccount { account_id, .. }
            | Command::FreezeAccount { account_id, .. }
            | Command::UnfreezeAccount { account_id, .. }
            | Command::CloseAccount { account_id, .. }
            | Command::Deposit { account_id, .. }
            | Command::Withdraw { account_id, .. } => self.includes(account_id),
            Command::Transfer { parties, .. } => {
                self.includes(parties.from()) && self.includes(parties.to())
            }
            Command::PlaceHold { parties, .. } => {
                self.includes(parties.account()) && parties.to().is_none_or(|to| self.includes(to))
            }
            Command::CaptureHold { .. }
            | Command::ReleaseHold { .. }
            | Command::ReverseTransaction { .. } => record.request.caller == self.caller_name(),
        }
    }

    /// Whether the caller may know of a hold: it is on one of its accounts.
    pub(in crate::grpc) fn sees_hold(&self, hold: &Hold) -> bool {
        self.includes(&hold.account_id)
    }

    /// The transaction as the caller may see it.
    pub(in crate::grpc) fn shown(&self, mut transaction: proto::Transaction) -> proto::Transaction {
        if self.hides(&transaction.from_account_id) {
            OTHER.clone_into(&mut transaction.from_account_id);
            // The hold was on that account.
            transaction.hold_id.clear();
        }
        if self.hides(&transaction.to_account_id) {
            OTHER.clone_into(&mut transaction.to_account_id);
        }
        transaction
    }

    /// The hold as the caller may see it.
    pub(in crate::grpc) fn shown_hold(&self, mut hold: proto::Hold) -> proto::Hold {
        if !hold.to_account_id.is_empty() && self.hides(&hold.to_account_id) {
            OTHER.clone_into(&mut hold.to_account_id);
        }
        hold
    }

    /// Whether it stands for an account that the caller may not know of.
    pub(in crate::grpc) fn hides(&self, id: &str) -> bool {
        !id.starts_with('@') && !self.reach().includes(id)
    }

    /// What somebody is told who asks for what it may not know of: that it is not there. The audit log is
    /// told the truth.
    pub(in crate::grpc) fn hide(&self, refusal: Refusal) -> Error {
        let error = Error::Hidden(refusal);
        self.tell_denied(&error);
        error
    }
}
