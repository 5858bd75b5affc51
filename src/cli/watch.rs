//! `bank watch`: transactions as they happen, each once, over any number of connections.

use tonic::Status;

use super::Failure;
use super::output::Output;
use super::remote::{Patience, Remote};
use crate::config::{Call, Watch};
use crate::grpc::proto::WatchTransactionsRequest;

/// The columns of a line, wide enough for most: those of a transaction.
const WIDTHS: [u16; 8] = [29, 22, 12, 14, 16, 16, 12, 0];

pub(super) async fn watch(Call { what, how }: Call<Watch>) -> Result<(), Failure> {
    let bank = Remote::new(&how)?;
    let mut feed = Feed {
        patience: Patience::new(&bank),
        bank,
        output: Output::new(how.output),
        account_id: what.account_id,
        resume_token: what.resume_token,
    };
    loop {
        let broken = feed.follow().await?;
        feed.patience.wait(broken).await?;
    }
}

struct Feed {
    bank: Remote,
    patience: Patience,
    output: Output,
    account_id: String,
    resume_token: String,
}

impl Feed {
    /// Shows what comes until the feed breaks: why it did.
    async fn follow(&mut self) -> Result<Status, Failure> {
        let request = WatchTransactionsRequest {
            account_id: self.account_id.clone(),
            resume_token: self.resume_token.clone(),
        };
        let mut feed = match self.bank.client().watch_transactions(request).await {
            Ok(feed) => feed.into_inner(),
            Err(status) => return Ok(status),
        };
        loop {
            let message = match feed.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Status::unavailable("the feed has ended")),
                Err(status) => return Ok(status),
            };
            self.patience.renew();
            if let Some(transaction) = &message.transaction {
                self.output.live(transaction, &message, &WIDTHS)?;
            }
            // What was shown is not asked for again.
            self.resume_token = message.resume_token;
        }
    }
}
