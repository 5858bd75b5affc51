//! A running bank, called over gRPC: the same request again while the bank is unavailable.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder, Retryable};
use tokio::time::{Instant, sleep};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::Failure;
use super::bearer::Bearer;
use super::connect::{self, Refused};
use super::failure::{cause_of, is_unavailable};
use super::output::tell;
use super::trust::Distrust;
use crate::config::{CallSettings, Form, OnceOnly};
use crate::grpc::proto::bank_service_client::BankServiceClient;

/// The client that is generated from the API.
pub(super) type Client = BankServiceClient<InterceptedService<Channel, Bearer>>;

/// The largest answer that is read, in bytes: a page of 1000 transactions, each with all that it may bear.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// How long a silent connection is believed to be alive.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The first and the longest pause before a request is sent again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// A running bank.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    client: Client,
    endpoint: Uri,
    refused: Refused,
    timeout: Duration,
    form: Form,
}

impl Remote {
    /// The bank of the settings; it is connected to with the first call.
    ///
    /// # Errors
    ///
    /// What of the settings can't be used.
    pub(super) fn new(how: &CallSettings) -> Result<Self, Failure> {
        let endpoint = how.target.endpoint.clone();
        let (channel, refused) = connect::channel(&how.target, |endpoint| {
            endpoint
                .connect_timeout(how.timeout)
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE)
        })
        .map_err(Failure::Misused)?;
        let bearer = Bearer::new(how.token().as_ref());
        let client = Client::new(InterceptedService::new(channel, bearer))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client, endpoint, refused, timeout: how.timeout, form: how.output })
    }

    /// Calls a method, again and again while the bank is unavailable, until the time is up. The request
    /// has to be one that may be repeated: a read, or a mutation with its request id.
    pub(super) async fn call<Q: Clone, A>(
        &self,
        request: Q,
        method: impl AsyncFn(Client, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        let began = Instant::now();
        let attempt = || async {
            let mut request = Request::new(request.clone());
            request.set_timeout(self.timeout.saturating_sub(began.elapsed()));
            method(self.client.clone(), request).await.map(Response::into_inner)
        };
        self.while_unavailable(attempt).await
    }

    async fn while_unavailable<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let began = Instant::now();
        let mut told = false;
        attempt
            .retry(pauses())
            .when(|status| self.may_try_again(status))
            .adjust(|status, pause| {
                let wanted = status.get_error_details().retry_info().and_then(|it| it.retry_delay);
                let pause = pause?.max(wanted.unwrap_or_default());
                (began.elapsed() + pause < self.timeout).then_some(pause)
            })
            .notify(|status, _| {
                if !std::mem::replace(&mut told, true) {
                    self.tell_unavailable(status);
                }
            })
            .await
            .map_err(|status| self.failed(status))
    }

    /// What a command fails with when the bank says no.
    pub(super) fn failed(&self, status: Status) -> Failure {
        match self.refused.why() {
            Some(Distrust::Ours(why)) => Failure::Failed(why.clone()),
            Some(Distrust::Theirs(why)) => {
                Failure::Call(Box::new(Status::unauthenticated(why.clone())), self.form)
            }
            None => Failure::Call(Box::new(status), self.form),
        }
    }

    /// Who isn't trusted won't be a moment later.
    fn may_try_again(&self, status: &Status) -> bool {
        is_unavailable(status) && self.refused.why().is_none()
    }

    /// Says what keeps the bank from answering.
    fn tell_unavailable(&self, status: &Status) {
        let cause = cause_of(status);
        let timeout = humantime::format_duration(self.timeout);
        tell(&format!("bank: {} is unavailable ({cause}); trying for {timeout}", self.endpoint));
    }

    /// The client, for calls that are streams.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }
}

/// How long a stream that broke is tried again: for the timeout, from its last sign of life on.
#[derive(Debug)]
pub(super) struct Patience {
    bank: Remote,
    pauses: ExponentialBackoff,
    broken_since: Option<Instant>,
}

impl Patience {
    pub(super) fn new(bank: &Remote) -> Self {
        Self { bank: bank.clone(), pauses: pauses().build(), broken_since: None }
    }

    /// The stream has told something.
    pub(super) fn renew(&mut self) {
        if self.broken_since.take().is_some() {
            self.pauses = pauses().build();
        }
    }

    /// Waits before the stream is begun again.
    ///
    /// # Errors
    ///
    /// What it broke with, when that is no reason to try again, or the time is up.
    pub(super) async fn wait(&mut self, broken: Status) -> Result<(), Failure> {
        // A reader that was too slow has missed nothing: it goes on where it was.
        if !self.bank.may_try_again(&broken) && broken.code() != Code::ResourceExhausted {
            return Err(self.bank.failed(broken));
        }
        if self.broken_since.is_none() {
            self.bank.tell_unavailable(&broken);
        }
        let since = self.broken_since.get_or_insert_with(Instant::now);
        match self.pauses.next() {
            Some(pause) if since.elapsed() + pause < self.bank.timeout => {
                sleep(pause).await;
                Ok(())
            }
            _ => Err(self.bank.failed(broken)),
        }
    }
}

/// The pauses between attempts: longer and longer, and never in step with those of others.
fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(PAUSES.0)
        .with_max_delay(PAUSES.1)
        .with_jitter()
        .without_max_times()
}

/// The id of a request: the one that was given, or a random one. A random one is shown before it is
/// used, so that whoever loses the answer can ask for it, or send the request again.
pub(super) fn request_id(once: OnceOnly) -> String {
    once.request_id.unwrap_or_else(|| {
        let id = Uuid::new_v4().to_string();
        tell(&format!("request id: {id}"));
        id
    })
}
