//! A journal that holds back its word that records are durable, until the test lets it.

use bank::ledger::{Record, Sequence};
use bank::store::Error;
use bank::store::journal::{Journal, Scanned, VolatileJournal};
use tokio::sync::watch;

/// Lets records up to a sequence be durable, and sees which have been appended.
#[derive(Debug)]
pub(crate) struct Gate {
    durable: watch::Sender<u64>,
    appended: watch::Receiver<u64>,
}

impl Gate {
    pub(crate) fn open_to(&self, sequence: u64) {
        self.durable.send_replace(sequence);
    }

    pub(crate) fn open(&self) {
        self.open_to(u64::MAX);
    }

    /// The newest record that is appended, durable or not.
    pub(crate) fn newest(&self) -> u64 {
        *self.appended.borrow()
    }

    /// Waits until a record is appended, durable or not.
    pub(crate) async fn wait_for(&self, sequence: u64) {
        let mut appended = self.appended.clone();
        appended.wait_for(|newest| *newest >= sequence).await.expect("the journal is there");
    }
}

#[derive(Debug)]
pub(crate) struct GatedJournal {
    inner: VolatileJournal,
    durable: watch::Receiver<u64>,
    appended: watch::Sender<u64>,
}

impl GatedJournal {
    /// A journal in which nothing is durable yet.
    pub(crate) fn closed() -> (Self, Gate) {
        let (open, durable) = watch::channel(0);
        let (append, appended) = watch::channel(0);
        let journal = Self { inner: VolatileJournal::default(), durable, appended: append };
        (journal, Gate { durable: open, appended })
    }
}

impl Journal for GatedJournal {
    fn append(&self, record: &Record) {
        self.inner.append(record);
        self.appended.send_replace(record.sequence.number());
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        self.inner.read(sequence)
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        self.inner.scan(each)
    }

    fn undurable(&self, last: Sequence) -> u64 {
        last.number().saturating_sub(*self.durable.borrow())
    }

    async fn durable(&self, sequence: Sequence) -> Result<(), Error> {
        let mut durable = self.durable.clone();
        durable
            .wait_for(|newest| *newest >= sequence.number())
            .await
            .expect("the gate outlives the store");
        Ok(())
    }
}
