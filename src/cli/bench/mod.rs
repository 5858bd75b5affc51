//! `bank bench`: a load on a bank, one of its own or a running one, and what came of it.
//!
//! First the accounts are opened and, if wanted, transfers posted; then there is load, of which is measured
//! what comes after the warm-up; in the end the bank's trial balance must agree with what it acknowledged.

mod accounts;
mod alarm;
mod callers;
mod http2;
mod load;
mod message;
mod outline;
mod own_bank;
mod pace;
mod plan;
mod report;
mod tally;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tonic::Code;
use tonic::transport::Uri;

use self::load::{Job, Until};
use self::own_bank::OwnBank;
use self::plan::{Kind, Settings};
use self::report::{Books, Report, Source};
use self::tally::{Figures, Tally};
use self::usage::Watched;
use super::Failure;
use super::remote::Remote;
use crate::config::Bench;
use crate::grpc::code_name;
use crate::grpc::proto::{CurrencyTotals, GetTrialBalanceRequest};

/// How many calls of a closed and of an open loop are on their way, unless it is said.
const IN_FLIGHT: (u32, u32) = (64, 1024);
/// How many accounts are being opened at a time, and how many operations of a stream are on their way while
/// transfers are posted.
const PREPARING: (u32, u32) = (512, 8192);
/// How many entries each account gets before statements are read.
const ENTRIES: u32 = 50;

pub(super) async fn bench(mut what: Bench) -> Result<(), Failure> {
    let stop = stop_on_signals()?;
    let own = match (what.aim.is_named, &what.data) {
        (true, Some(_)) => {
            let text = "--data is for a bank of the load's own, and --endpoint names another";
            return Err(Failure::Misused(text.to_owned()));
        }
        (true, None) => None,
        (false, data) => Some(OwnBank::start(data.as_deref())?),
    };
    if let Some(own) = &own {
        what.aim.how.target.endpoint = own.endpoint.clone();
    }
    let (report, verdict) = load(&what, own.as_ref(), &stop).await?;
    report.show(what.aim.how.output)?;
    verdict?;
    own.map_or(Ok(()), OwnBank::end)
}

/// Prepares the bank and loads it: the report, and what is wrong with the bank.
async fn load(
    what: &Bench,
    own: Option<&OwnBank>,
    stop: &Arc<AtomicBool>,
) -> Result<(Report, Result<(), Failure>), Failure> {
    let endpoint = &what.aim.how.target.endpoint;
    if endpoint.scheme_str() == Some("https") || what.aim.how.token().is_some() {
        let text = "a bank is loaded without TLS and without a token; give another --endpoint";
        return Err(Failure::Misused(text.to_owned()));
    }
    let remote = Remote::new(&what.aim.how)?;
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{elapsed:>4}  {msg}");
    bar.set_style(style.map_err(|error| Failure::Failed(error.to_string()))?);
    // It waits for a bank that isn't ready yet.
    let found = totals(&remote).await?;

    let job = job(what, endpoint, stop);
    prepare(what, &job, found.as_ref(), own.is_some(), &bar).await?;
    let before = totals(&remote).await?;
    let mut server = own.map(|own| Watched::new(own.process()));
    let mut generator = Watched::new(std::process::id());
    let mut is_over = false;
    let tally = load::run(&job, |part| {
        let window = part.window();
        let now = Instant::now();
        let is_warm = now >= window.measured_from;
        tell_progress(&bar, if is_warm { "measuring" } else { "warming up" }, part);
        // The last look is the first one after the end.
        if is_warm && !is_over {
            server.iter_mut().for_each(Watched::look);
            generator.look();
            is_over = now >= window.end;
        }
    })
    .await?;
    let ended = Instant::now();
    bar.finish_and_clear();
    // A bank that broke down under the load is reported all the same.
    let after = totals(&remote).await;
    let books = before.zip(after.as_ref().ok().cloned().flatten()).map(|(before, after)| Books {
        acknowledged: tally.acknowledged(),
        posted: (after.transaction_count - before.transaction_count).cast_unsigned(),
        difference: after.difference,
    });
    let report = Report::new(&Source {
        endpoint,
        is_own: own.is_some(),
        data: what.data.as_ref().map(|path| path.display().to_string()),
        job: &job,
        tally: &tally,
        ended,
        server,
        generator,
        books,
    });
    let fault = match books.and_then(Books::fault) {
        None if tally.all().operations == 0 => Some("no call succeeded".to_owned()),
        fault => fault,
    };
    let verdict = after.and_then(|_| fault.map_or(Ok(()), |fault| Err(Failure::Failed(fault))));
    Ok((report, verdict))
}

fn job(what: &Bench, endpoint: &Uri, stop: &Arc<AtomicBool>) -> Job {
    let default = if what.rate.is_none() { IN_FLIGHT.0 } else { IN_FLIGHT.1 };
    Job {
        endpoint: endpoint.clone(),
        what: Settings {
            mix: Settings::kinds(&what.mix),
            accounts: what.accounts,
            distribution: what.accounts_distribution,
            batch_size: what.batch_size,
            with_request_ids: !what.no_request_id,
        },
        connections: what.connections,
        in_flight: what.in_flight.unwrap_or(default),
        threads: what.threads,
        rate: what.rate,
        until: Until::Time { warm_up: what.warm_up, measured: what.duration },
        timeout: what.aim.how.timeout,
        stop: stop.clone(),
    }
}

/// Opens the accounts and posts the transfers that shall be there before.
async fn prepare(
    what: &Bench,
    job: &Job,
    found: Option<&CurrencyTotals>,
    is_own: bool,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let closed = |kind, in_flight, count: u32| Job {
        what: job.what.with_mix(vec![(kind, 1)]),
        connections: 8,
        in_flight,
        threads: 1,
        rate: None,
        until: Until::Count(count.into()),
        ..job.clone()
    };
    // They are always opened in the same order, so those of an earlier load are the first ones.
    if found.is_none_or(|totals| totals.account_count < what.accounts.into()) {
        let opening = closed(Kind::CreateAccount, PREPARING.0, what.accounts);
        do_all(&opening, "opening accounts", bar).await?;
    }

    let reads_statements = job.what.mix.iter().any(|(kind, _)| *kind == Kind::Statement);
    let default = if is_own && reads_statements { what.accounts * ENTRIES / 2 } else { 0 };
    let fill = what.fill.unwrap_or(default);
    if fill > 0 {
        do_all(&closed(Kind::Stream, PREPARING.1, fill), "posting transfers", bar).await?;
    }
    Ok(())
}

/// Does a job of which nothing may fail; accounts may be there.
async fn do_all(job: &Job, name: &'static str, bar: &ProgressBar) -> Result<(), Failure> {
    let tally = load::run(job, |part| tell_progress(bar, name, part)).await?;
    let failed = tally.errors().iter().find(|(cause, _)| cause.code() != Code::AlreadyExists);
    if let Some((cause, count)) = failed {
        let (code, reason) = (code_name(cause.code()), &cause.reason);
        return Err(Failure::Failed(format!("{name}: {count} calls failed: {code} {reason}")));
    }
    if job.stop.load(Ordering::Relaxed) {
        return Err(Failure::Failed("interrupted".to_owned()));
    }
    Ok(())
}

/// What was noted in the last interval, on a terminal.
fn tell_progress(bar: &ProgressBar, name: &str, part: &Tally) {
    let Figures { operations, latencies, .. } = part.all();
    let count = HumanCount(operations);
    let errors = part.error_count();
    let p99 = Duration::from_micros(latencies.value_at_quantile(0.99));
    bar.set_message(format!("{name}  {count} in 0.2 s  p99 {p99:.1?}  errors {errors}"));
}

/// The totals of the asset that loads move; none before there is an account of it.
async fn totals(remote: &Remote) -> Result<Option<CurrencyTotals>, Failure> {
    let request = GetTrialBalanceRequest { currency_code: accounts::CURRENCY.to_owned() };
    let answer = remote
        .call(request, async |mut client, request| client.get_trial_balance(request).await)
        .await?;
    Ok(answer.totals.into_iter().next())
}

/// Is set by the first SIGINT or SIGTERM.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let watch = |kind| {
        signal(kind).map_err(|error| Failure::Failed(format!("can't watch for signals: {error}")))
    };
    let (mut interrupt, mut terminate) =
        (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?);
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        set.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
