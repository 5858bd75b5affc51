//! What a request says of accounts, before it is read any further: every account that it names.
//!
//! **Invariant:** a request that lacks its entry here can't be executed or read by: the permit asks for it.

use crate::grpc::proto;
use crate::grpc::proto::operation::Operation as Kind;

/// A request of the API.
pub(in crate::grpc) trait Asked {
    /// The fields that name an account, and what stands in them; an empty one names none.
    fn account_ids(&self) -> impl Iterator<Item = (&'static str, &str)>;

    /// The client's name for it, as it stands there.
    #[allow(clippy::unnecessary_literal_bound, reason = "in others it stands in the request")]
    fn request_id(&self) -> &str {
        ""
    }

    /// Whether it is about the whole ledger, which nobody who is confined may know of.
    fn is_about_everything(&self) -> bool {
        false
    }
}

macro_rules! asked {
    (mutations { $($mutation:ident { $($field:ident),* })+ } reads { $($read:ident { $($read_field:ident),* })+ }) => {
        $(impl Asked for proto::$mutation {
            fn account_ids(&self) -> impl Iterator<Item = (&'static str, &str)> {
                [$((stringify!($field), self.$field.as_str())),*].into_iter()
            }

            fn request_id(&self) -> &str {
                &self.request_id
            }
        })+
        $(impl Asked for proto::$read {
            fn account_ids(&self) -> impl Iterator<Item = (&'static str, &str)> {
                [$((stringify!($read_field), self.$read_field.as_str())),*].into_iter()
            }
        })+
    };
}

asked! {
    mutations {
        CreateAccountRequest { account_id }
        FreezeAccountRequest { account_id }
        UnfreezeAccountRequest { account_id }
        CloseAccountRequest { account_id }
        DepositRequest { account_id }
        WithdrawRequest { account_id }
        TransferRequest { from_account_id, to_account_id }
        ReverseTransactionRequest {}
        PlaceHoldRequest { account_id, to_account_id }
        CaptureHoldRequest {}
        ReleaseHoldRequest {}
    }
    reads {
        GetAccountRequest { account_id }
        GetBalanceRequest { account_id }
        ListTransactionsRequest { account_id }
        ListHoldsRequest { account_id }
        WatchTransactionsRequest { account_id }
    }
}

impl Asked for proto::UpdateAccountRequest {
    fn account_ids(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.account.iter().map(|it| ("account.account_id", it.account_id.as_str()))
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }
}

impl Asked for proto::GetTrialBalanceRequest {
    fn account_ids(&self) -> impl Iterator<Item = (&'static str, &str)> {
        std::iter::empty()
    }

    fn is_about_everything(&self) -> bool {
        true
    }
}

impl Asked for proto::Operation {
    fn account_ids(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named: Box<dyn Iterator<Item = (&'static str, &str)>> = match &self.operation {
            None => Box::new(std::iter::empty()),
            Some(Kind::Deposit(it)) => Box::new(it.account_ids()),
            Some(Kind::Withdraw(it)) => Box::new(it.account_ids()),
            Some(Kind::Transfer(it)) => Box::new(it.account_ids()),
            Some(Kind::PlaceHold(it)) => Box::new(it.account_ids()),
            Some(Kind::CaptureHold(it)) => Box::new(it.account_ids()),
            Some(Kind::ReleaseHold(it)) => Box::new(it.account_ids()),
            Some(Kind::ReverseTransaction(it)) => Box::new(it.account_ids()),
        };
        named
    }

    fn request_id(&self) -> &str {
        match &self.operation {
            None => "",
            Some(Kind::Deposit(it)) => it.request_id(),
            Some(Kind::Withdraw(it)) => it.request_id(),
            Some(Kind::Transfer(it)) => it.request_id(),
            Some(Kind::PlaceHold(it)) => it.request_id(),
            Some(Kind::CaptureHold(it)) => it.request_id(),
            Some(Kind::ReleaseHold(it)) => it.request_id(),
            Some(Kind::ReverseTransaction(it)) => it.request_id(),
        }
    }
}

/// The method that an operation of a batch would be on its own.
pub(in crate::grpc) fn method_of(operation: &proto::Operation) -> Option<&'static str> {
    Some(match operation.operation.as_ref()? {
        Kind::Deposit(_) => "Deposit",
        Kind::Withdraw(_) => "Withdraw",
        Kind::Transfer(_) => "Transfer",
        Kind::PlaceHold(_) => "PlaceHold",
        Kind::CaptureHold(_) => "CaptureHold",
        Kind::ReleaseHold(_) => "ReleaseHold",
        Kind::ReverseTransaction(_) => "ReverseTransaction",
    })
}
