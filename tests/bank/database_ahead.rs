//! Groups that are decided and written while the one before them is still at work: what comes of them when that
//! ends well, when it fails, and when somebody else comes between the two.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bank::ledger::{Command, Labels, Refusal, Request, Sequence};
use bank::store::{EachAnswer, Error, Executed, PostgresStore, Store};
use tokio::task::{JoinHandle, JoinSet};

use crate::postgres::check_tables;
use crate::support::ManualClock;
use crate::support::cluster::{Cluster, apply, database_of, named_store, posted};
use crate::support::commands::{named, open, pay, plain, put, set_aside};
use crate::support::proxy::{BreakingProxy, Cut};

type Books = Arc<PostgresStore<ManualClock>>;
type Answer = Result<Result<Executed, Refusal>, Error>;

/// So many requests are worth a group of their own while another is at work.
const MANY: usize = 120;
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

fn many(command: &Command) -> Vec<Request> {
    vec![plain(command.clone()); MANY]
}

/// A bank that has been alone with its books for a while: alice and carol have 1000 each, bob and dave nothing.
struct Scene {
    cluster: Cluster,
    url: String,
    clock: ManualClock,
    store: Books,
}

/// Two groups of it: the first stands before its commit until the gate is opened, and the second has come meanwhile.
struct Two {
    gate: tokio_postgres::Client,
    first: JoinHandle<Answer>,
    second: JoinHandle<Result<EachAnswer, Error>>,
}

impl Scene {
    async fn set() -> Self {
        let (cluster, clock) = (Cluster::start(), ManualClock::new());
        let url = cluster.new_books().await;
        let store = named_store(&url, "bank", LONG, &clock).await;
        for (id, balance) in [("alice", 1000), ("bob", 0), ("carol", 1000), ("dave", 0)] {
            apply(&store, open(id, balance)).await;
        }
        Self { cluster, url, clock, store }
    }

    /// Something that another process has done before this one was alone again.
    async fn somebody_else_opens(&self, command: Command) -> Books {
        let other = named_store(&self.url, "other", LONG, &self.clock).await;
        apply(&other, command).await;
        self.be_alone().await;
        other
    }

    /// Has the bank see that nobody else writes.
    async fn be_alone(&self) {
        for _ in 0..2 {
            apply(&self.store, pay("alice", "carol", 1)).await;
            apply(&self.store, pay("carol", "alice", 1)).await;
        }
    }

    /// A group that stands before its commit until the gate is opened.
    async fn one(&self, first: Request) -> (tokio_postgres::Client, JoinHandle<Answer>) {
        let gate = self.cluster.connect(database_of(&self.url)).await;
        let lock = "BEGIN; LOCK TABLE bank_accounts IN EXCLUSIVE MODE";
        gate.batch_execute(lock).await.expect("it is free");
        let store = self.store.clone();
        let first = tokio::spawn(async move { store.execute(first).await });
        self.cluster.until_blocked("bank").await;
        (gate, first)
    }

    async fn two(&self, first: Request, second: Vec<Request>) -> Two {
        let (gate, first) = self.one(first).await;
        let store = self.store.clone();
        let second = tokio::spawn(async move { store.execute_each(second).await });
        Two { gate, first, second }
    }

    /// The same, once the records of the second have been written.
    async fn two_ahead(&self, first: Command, second: Vec<Request>) -> Two {
        let two = self.two(plain(first), second).await;
        let written = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bank' \
                       AND state = 'idle in transaction' AND query LIKE 'COPY bank_records%'";
        self.cluster.until("postgres", written, "1").await;
        two
    }

    fn retries(&self) -> u64 {
        self.store.writing().expect("it tells").retries()
    }

    async fn balances(&self) -> [i64; 4] {
        let mut balances = [0; 4];
        for (balance, id) in balances.iter_mut().zip(["alice", "bob", "carol", "dave"]) {
            *balance = posted(&self.store, id).await;
        }
        check_tables(&self.cluster, &self.url);
        balances
    }
}

impl Two {
    /// Lets both go on, once the second has been sent and had every chance to go wrong.
    async fn open_the_gate_late(&self, scene: &Scene) {
        while scene.store.figures().await.expect("it answers").undurable <= MANY as u64 {}
        for _ in 0..100 {
            self.gate.batch_execute("SELECT 1").await.expect("it answers");
        }
        self.open_the_gate().await;
    }

    async fn open_the_gate(&self) {
        self.gate.batch_execute("COMMIT").await.expect("it is held");
    }

    /// How many of the second were done, after the first was.
    async fn done_of_the_second(self) -> usize {
        let (first, second) = self.answers().await;
        first.expect("there is enough");
        second.iter().filter(|answer| answer.is_ok()).count()
    }

    /// What came of both.
    async fn answers(self) -> (Result<Executed, Refusal>, EachAnswer) {
        let first = self.first.await.expect("no panic").expect("it answers");
        (first, self.second.await.expect("no panic").expect("it answers"))
    }
}

fn all_done(answers: &EachAnswer) -> bool {
    answers.len() == MANY && answers.iter().all(Result::is_ok)
}

/// The second rests on what the first leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_written_while_the_one_before_stands_before_its_commit() {
    let scene = Scene::set().await;
    let mut requests = many(&put("bob", 1));
    requests[0] = plain(pay("alice", "bob", 1));
    let two = scene.two_ahead(pay("alice", "bob", 1000), requests).await;
    two.open_the_gate().await;
    let (first, second) = two.answers().await;
    first.expect("there is enough");
    assert!(matches!(second[0], Err(Refusal::InsufficientFunds { .. })), "{:?}", second[0]);
    assert!(second[1..].iter().all(Result::is_ok));
    assert_eq!(scene.balances().await, [0, 1000 + 119, 1000, 0]);
    assert_eq!(scene.retries(), 0);
}

/// The first fails before its commit: both are decided anew, and done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rests_on_a_group_that_failed_is_done_anew() {
    let scene = Scene::set().await;
    let two = scene.two_ahead(pay("carol", "dave", 7), many(&pay("alice", "bob", 1))).await;
    scene.cluster.sql(
        "postgres",
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'bank' AND wait_event_type = 'Lock'",
    );
    while scene.retries() < 2 {
        tokio::task::yield_now().await;
    }
    two.open_the_gate().await;
    let (first, second) = two.answers().await;
    assert!(first.is_ok() && all_done(&second));
    assert_eq!(scene.balances().await, [880, 120, 993, 7]);
}

/// Another process waits for the lock: when it comes between, what was written ahead of it is written anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_process_may_come_between() {
    let scene = Scene::set().await;
    let other = named_store(&scene.url, "other", LONG, &scene.clock).await;
    let two = scene.two_ahead(pay("carol", "dave", 7), many(&pay("alice", "bob", 1))).await;
    let between = tokio::spawn(async move { other.execute(plain(pay("dave", "carol", 2))).await });
    scene.cluster.until_blocked("other").await;
    two.open_the_gate().await;
    let between = between.await.expect("no panic").expect("it answers").expect("there is enough");
    let (first, second) = two.answers().await;
    let first = first.expect("there is enough").record.sequence;
    let is_next = between.record.sequence == first.next();
    assert!(all_done(&second));
    assert_eq!(scene.retries(), u64::from(is_next));
    assert_eq!(scene.balances().await, [880, 120, 995, 5]);
}

/// Another process has written before the records could be: their places are taken, and they get others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn places_that_another_process_has_taken_are_left_to_it() {
    let scene = Scene::set().await;
    let other = named_store(&scene.url, "other", LONG, &scene.clock).await;
    scene.cluster.sql(
        database_of(&scene.url),
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF current_setting('application_name') = 'bank' THEN \
         PERFORM pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1); END IF; RETURN NULL; END $$; \
         CREATE TRIGGER wait BEFORE INSERT ON bank_records EXECUTE FUNCTION wait()",
    );
    let (gate, first) = scene.one(plain(pay("carol", "dave", 7))).await;
    gate.execute("SELECT pg_advisory_lock(1)", &[]).await.expect("it is free");
    let store = scene.store.clone();
    let second =
        tokio::spawn(async move { store.execute_each(many(&pay("alice", "bob", 1))).await });
    let waits = "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name = 'bank' AND wait_event = 'advisory'";
    scene.cluster.until("postgres", waits, "1").await;
    gate.batch_execute("COMMIT").await.expect("it is held");
    first.await.expect("no panic").expect("it answers").expect("there is enough");
    apply(&other, pay("dave", "carol", 2)).await;
    gate.execute("SELECT pg_advisory_unlock(1)", &[]).await.expect("it is held");
    assert!(all_done(&second.await.expect("no panic").expect("it answers")));
    assert_eq!(scene.retries(), 1);
    assert_eq!(scene.balances().await, [880, 120, 995, 5]);
}

/// The head row says that the books aren't as they were foreseen, whoever has changed them: they are loaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_that_are_not_as_foreseen_are_loaded() {
    let scene = Scene::set().await;
    let two = scene.two_ahead(pay("carol", "dave", 7), many(&pay("alice", "bob", 1))).await;
    let database = database_of(&scene.url);
    scene.cluster.sql(
        database,
        "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         NEW.hash = sha256(NEW.hash); RETURN NEW; END $$; \
         CREATE TRIGGER change BEFORE UPDATE ON bank_head FOR EACH ROW EXECUTE FUNCTION change()",
    );
    two.open_the_gate().await;
    let (first, second) = two.answers().await;
    assert!(first.is_ok() && all_done(&second));
    assert_eq!(scene.retries(), 1);
}

/// Somebody has been told how the books stood at a moment: nothing gets an earlier time after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moment_that_was_told_stays_in_the_past() {
    let scene = Scene::set().await;
    let two = scene.two_ahead(pay("carol", "dave", 7), many(&pay("alice", "bob", 1))).await;
    scene.cluster.sql(
        database_of(&scene.url),
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         NEW.time_us = NEW.time_us + 1000000; RETURN NEW; END $$; \
         CREATE TRIGGER tell BEFORE UPDATE ON bank_head FOR EACH ROW EXECUTE FUNCTION tell()",
    );
    two.open_the_gate().await;
    let (first, second) = two.answers().await;
    let told = first.expect("there is enough").record.time.micros() + 1_000_000;
    assert!(all_done(&second));
    assert!(second.into_iter().flatten().all(|done| done.record.time.micros() > told));
    assert_eq!(scene.balances().await, [880, 120, 993, 7]);
}

/// What isn't committed yet can't be read, and a request of it that is sent again is known all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_of_what_is_not_committed_yet_is_one() {
    let scene = Scene::set().await;
    let once = named("once", pay("alice", "bob", 1));
    let mut requests = many(&pay("alice", "bob", 1));
    requests[1] = once.clone();
    let two = scene.two(once, requests).await;
    two.open_the_gate_late(&scene).await;
    let (first, second) = two.answers().await;
    assert!(!first.expect("there is enough").replayed);
    let replayed = second.iter().flatten().map(|done| done.replayed);
    assert_eq!(replayed.collect::<Vec<_>>(), [vec![false, true], vec![false; MANY - 2]].concat());
    assert_eq!(scene.balances().await, [880, 120, 1000, 0]);
    assert_eq!(scene.retries(), 0);
}

/// What the first sets aside, the second can't pay with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_not_committed_yet_counts() {
    let scene = Scene::set().await;
    let hold = plain(set_aside("alice", "bob", 1000));
    let two = scene.two(hold, many(&pay("alice", "bob", 1))).await;
    two.open_the_gate_late(&scene).await;
    let (first, second) = two.answers().await;
    first.expect("there is enough");
    let is_refused =
        |answer: &Result<_, _>| matches!(answer, Err(Refusal::InsufficientFunds { .. }));
    assert!(second.len() == MANY && second.iter().all(is_refused));
    assert_eq!(scene.balances().await, [1000, 0, 1000, 0]);
}

/// Accounts that this process hasn't seen yet are taken as they are in the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_were_not_seen_yet_do_not_wait() {
    let scene = Scene::set().await;
    scene.somebody_else_opens(open("erin", 5)).await;
    let two = scene.two_ahead(pay("carol", "dave", 7), many(&pay("erin", "bob", 1))).await;
    two.open_the_gate().await;
    assert_eq!(two.done_of_the_second().await, 5);
    assert_eq!(scene.balances().await, [1000, 5, 993, 7]);
    assert_eq!(scene.retries(), 0);
}

/// On one of them something is held: that is seen under the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_was_not_seen_yet_counts() {
    let scene = Scene::set().await;
    let other = scene.somebody_else_opens(open("erin", 100)).await;
    apply(&other, set_aside("erin", "bob", 95)).await;
    scene.be_alone().await;
    let two = scene.two(plain(pay("carol", "dave", 7)), many(&pay("erin", "bob", 1))).await;
    two.open_the_gate_late(&scene).await;
    assert_eq!(two.done_of_the_second().await, 5);
    assert_eq!(scene.balances().await, [1000, 5, 993, 7]);
    assert_eq!(scene.retries(), 0);
}

/// An account that is too large to be remembered is what the group before leaves all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_not_remembered_waits_for_the_group_before() {
    let scene = Scene::set().await;
    let mut large = open("erin", 0);
    if let Command::CreateAccount { labels, .. } = &mut large {
        let values = ["v".repeat(256), "w".repeat(256)];
        let all = [("first", values[0].as_str()), ("second", values[1].as_str())];
        *labels = Labels::parse(all.into_iter()).expect("they are allowed");
    }
    apply(&scene.store, large).await;
    let two = scene.two(plain(pay("alice", "erin", 5)), many(&pay("erin", "bob", 1))).await;
    two.open_the_gate_late(&scene).await;
    assert_eq!(two.done_of_the_second().await, 5);
    assert_eq!(scene.balances().await, [995, 5, 1000, 0]);
    assert_eq!(scene.retries(), 0);
}

/// Connections break after so many bytes of the one side or the other, while groups follow close upon each other: each
/// is done once or not at all, and what was answered was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_are_cut_off_anywhere_are_whole_or_not_there() {
    let scene = Scene::set().await;
    apply(&scene.store, put("alice", 1_000_000)).await;
    let size = i64::try_from(MANY).expect("a few");
    let (mut answered, mut done, mut undone) = (0, 0, 0);
    // A connection's statements are made ready first; a group's records are some 30,000 bytes.
    let cuts = (2000..6000).step_by(499).map(Cut::Heard as fn(usize) -> Cut);
    let cuts_sent = (5000..150_000).step_by(17_777).map(Cut::Sent as fn(usize) -> Cut);
    for cut in cuts.chain(cuts_sent) {
        let proxy = BreakingProxy::start(format!("127.0.0.1:{}", scene.cluster.port), cut);
        let broken = format!("postgres://postgres@{}/{}", proxy.address, database_of(&scene.url));
        let store = named_store(&broken, "broken", LONG, &scene.clock).await;
        // From here on it seems to be alone.
        apply(&store, put("bob", 1)).await;
        apply(&store, put("bob", 1)).await;
        proxy.begin();
        let before = posted(&scene.store, "bob").await;
        let mut groups = JoinSet::new();
        for _ in 0..8 {
            let store = store.clone();
            groups.spawn(async move { store.execute_each(many(&pay("alice", "bob", 1))).await });
        }
        let (mut told, mut untold) = (0, 0);
        while let Some(answer) = groups.join_next().await {
            match answer.expect("no panic") {
                Ok(answers) => told += i64::from(all_done(&answers)),
                Err(Error::Unreachable) => untold += 1,
                Err(other) => panic!("{cut:?}: {other}"),
            }
        }
        assert_eq!(told + untold, 8, "{cut:?}");
        drop(store);
        // Whoever locks the head row now knows that whatever was under way has ended.
        apply(&scene.store, put("bob", 1)).await;
        let came = posted(&scene.store, "bob").await - before - 1;
        assert_eq!(came % size, 0, "{cut:?}");
        let came = came / size;
        assert!((told..=told + untold).contains(&came), "{cut:?}: {told}, {untold}, {came}");
        answered += told;
        done += came - told;
        undone += told + untold - came;
    }
    println!("{answered} answered, {done} done and {undone} not done without an answer");
    assert!(answered > 0 && undone > 0, "{answered}, {undone}");
    check_tables(&scene.cluster, &scene.url);
}

/// A process writes group upon group, and another one comes and goes, with groups that are small or larger; both are sent
/// the same requests now and then. Each takes effect once, whoever has done it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_process_that_comes_and_goes_does_no_harm() {
    let seed = fastrand::u64(..);
    println!("seed {seed:#x}");
    let mut random = fastrand::Rng::with_seed(seed);
    let scene = Scene::set().await;
    apply(&scene.store, put("alice", 1_000_000)).await;
    let other = named_store(&scene.url, "other", LONG, &scene.clock).await;
    let mut done: HashMap<_, Sequence> = HashMap::new();
    let (mut ids, mut news) = (0, 0);
    let mut note = |(answers, requests): (Result<EachAnswer, Error>, Vec<Request>)| {
        for (answer, request) in answers.expect("it answers").into_iter().zip(requests) {
            let executed = answer.expect("there is enough");
            news += usize::from(!executed.replayed);
            let sequence = executed.record.sequence;
            assert_eq!(*done.entry(request.id).or_insert(sequence), sequence);
        }
    };
    let mut jobs = JoinSet::new();
    for round in 0..150 {
        // At first it is alone.
        let is_others = round > 10 && random.u8(..6) == 0;
        let count = if is_others { random.usize(1..3 * MANY) } else { MANY };
        let requests: Vec<Request> = (0..count)
            .map(|_| {
                // One of those that were sent before, or are under way, or a new one.
                let id = if random.u8(..) == 0 { random.usize(..=ids) } else { ids };
                ids = ids.max(id + 1);
                named(&format!("id-{id}"), pay("alice", "bob", 1))
            })
            .collect();
        let store = if is_others { other.clone() } else { scene.store.clone() };
        jobs.spawn(async move { (store.execute_each(requests.clone()).await, requests) });
        while jobs.len() > 3 {
            note(jobs.join_next().await.expect("there are some").expect("no panic"));
        }
    }
    while let Some(job) = jobs.join_next().await {
        note(job.expect("no panic"));
    }
    assert_eq!((news, done.len()), (ids, ids));
    assert_eq!(posted(&scene.store, "bob").await, i64::try_from(ids).expect("a few"));
    println!("{} groups were written again", scene.retries());
    check_tables(&scene.cluster, &scene.url);
}
