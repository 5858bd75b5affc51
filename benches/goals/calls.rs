//! Calls a second and their latencies, against the floor, h2load and `TigerBeetle`.

use crate::support::Bank;
use crate::support::load::{Outcome, bench, h2load};
use crate::support::table::{Goal, Series, Verdict, count, markdown, millis};
use crate::{Run, Server};

/// `TigerBeetle`, a single replica on two cores of such a machine: transfers a second of 64 callers that send
/// one at a time, from the slowest run to the fastest.
const TIGERBEETLE_SINGLE: (f64, f64) = (7_000.0, 38_000.0);
/// The same with batches of 8189.
const TIGERBEETLE_BATCHES: (f64, f64) = (275_000.0, 338_000.0);

/// The floor, the floor again, and the banks.
const FLOOR: usize = 0;
const AGAIN: usize = 1;
const MEMORY: usize = 2;
const DATA: usize = 3;

/// What several rounds of one load say of one server.
#[derive(Default)]
struct Figures {
    per_second: Series,
    p50_us: Series,
    p99_us: Series,
    generator_us: Series,
}

impl Figures {
    fn push(&mut self, outcome: Outcome) {
        self.per_second.push(outcome.per_second);
        self.p50_us.push(outcome.p50_us);
        self.p99_us.push(outcome.p99_us);
        self.generator_us.push(outcome.generator_us);
    }
}

/// A row of the details.
fn row(load: &str, server: &str, figures: &Figures, floor: Option<f64>) -> Vec<String> {
    let of_floor = floor.map(|floor| format!("{:.2}", figures.per_second.median() / floor));
    vec![
        load.to_owned(),
        server.to_owned(),
        figures.per_second.text(),
        of_floor.unwrap_or_default(),
        millis(figures.p50_us.median()),
        millis(figures.p99_us.median()),
        format!("{:.1} us", figures.generator_us.median()),
    ]
}

pub(crate) fn measure(run: &Run) -> (Vec<Goal>, String) {
    let folder = tempfile::tempdir_in(&run.folder).expect("a folder can be made");
    let data = folder.path().join("bank.db");
    let data = data.to_str().expect("its name is UTF-8");
    let servers = [
        Server { name: "floor", bank: Bank::start_floor() },
        Server { name: "floor again (A/A)", bank: Bank::start_floor() },
        Server { name: "in memory", bank: Bank::start(&[]) },
        Server { name: "`--data`", bank: Bank::start(&["--data", data]) },
    ];
    let mut rows = Vec::new();
    let mut goals = Vec::new();

    let few = compare(run, &servers, &mut rows, "transfer", 64, 1.0, &[]);
    let many = compare(run, &servers, &mut rows, "transfer", 800, 1.0, &[]);
    let many_per_second = |server: usize| many[server].per_second.median();
    goals.push(of_floor("unary Transfer in memory, 800 in flight", 1.5, &many, MEMORY));
    goals.push(of_floor("unary Transfer, `--data`, 800 in flight", 1.0, &many, DATA));
    goals.push(against_range(
        "unary Transfer, `--data`, 64 in flight",
        3.0,
        few[DATA].per_second.median(),
        "TigerBeetle, 64 single callers",
        TIGERBEETLE_SINGLE,
    ));

    let batch = ["--batch-size", "8192", "--connections", "2"];
    let batches = compare(run, &servers[MEMORY..], &mut rows, "batch", 2, 8192.0, &batch);
    let streams = compare(run, &servers[MEMORY..], &mut rows, "stream", 8192, 1.0, &[]);
    for (what, wanted, figures) in
        [("ExecuteBatch of 8192", 450_000.0, &batches), ("ExecuteStream", 300_000.0, &streams)]
    {
        let figure = figures[DATA - MEMORY].per_second.median();
        let (low, high) = TIGERBEETLE_BATCHES;
        goals.push(Goal {
            what: format!("{what}, `--data`, transfers/s"),
            wanted: count(wanted),
            figure: count(figure),
            reference: format!("TigerBeetle's batches: {} to {}", count(low), count(high)),
            comes_to: format!("{:.2} of it", figure / wanted),
            verdict: Verdict::of(figure >= wanted),
        });
    }

    let balances = compare(run, &servers, &mut rows, "balance", 800, 1.0, &[]);
    goals.push(of_floor("GetBalance in memory", 1.4, &balances, MEMORY));
    let statements = compare(run, &servers, &mut rows, "statement", 800, 1.0, &[]);
    goals.push(of_floor("ListTransactions of 50, in memory", 0.4, &statements, MEMORY));

    let halves = [FLOOR, AGAIN, MEMORY, DATA].map(|server| many_per_second(server) / 2.0);
    // One thread of the generator is busy all the time at these rates, so that it tells more of its own queue.
    open_loop(run, &servers, &mut rows, halves, 1);
    let open = open_loop(run, &servers, &mut rows, halves, 2);
    let floor_p99 = open[FLOOR].p99_us.and(&open[AGAIN].p99_us).median();
    for (name, server) in [("in memory", MEMORY), ("`--data`", DATA)] {
        let p99 = open[server].p99_us.median();
        let ratio = p99 / floor_p99;
        goals.push(Goal {
            what: format!("p99 of Transfer at half of its peak, {name}"),
            wanted: "at most 1.5 x".to_owned(),
            figure: millis(p99),
            reference: format!("floor at half of its peak: {}", millis(floor_p99)),
            comes_to: format!("{ratio:.2} x"),
            verdict: Verdict::of(ratio <= 1.5),
        });
    }
    let titles =
        ["load", "server", "per second", "of the floor", "p50", "p99", "generator, an operation"];
    let mut text = format!("### Calls\n\n{}", markdown(&titles, &rows));
    text += &generators(run, &servers);
    (goals, text)
}

/// One load on several servers in turn, round after round.
fn compare(
    run: &Run,
    servers: &[Server],
    rows: &mut Vec<Vec<String>>,
    mix: &str,
    in_flight: u32,
    each: f64,
    further: &[&str],
) -> Vec<Figures> {
    let in_flight = in_flight.to_string();
    let load = [&["--mix", mix, "--in-flight", &in_flight], further].concat();
    let figures = rounds(run, servers, |server| bench(&server.bank, run.times, &load));
    let name = match mix {
        "batch" => format!("batches of {each}, {in_flight} in flight"),
        _ => format!("{mix}, {in_flight} in flight"),
    };
    tell(rows, &name, servers, &figures);
    figures
}

/// The same in an open loop, each server at a rate of its own, by a generator of so many threads.
fn open_loop(
    run: &Run,
    servers: &[Server],
    rows: &mut Vec<Vec<String>>,
    rates: [f64; 4],
    threads: u32,
) -> Vec<Figures> {
    let name = format!("transfer, open loop at half of its peak, generator threads: {threads}");
    let threads = threads.to_string();
    let mut next = (0..servers.len()).cycle();
    let figures = rounds(run, servers, |server| {
        let rate = rates[next.next().expect("it goes round")];
        let rate = format!("{rate:.0}");
        bench(&server.bank, run.times, &["--rate", &rate, "--threads", &threads])
    });
    tell(rows, &name, servers, &figures);
    figures
}

fn rounds(run: &Run, servers: &[Server], mut load: impl FnMut(&Server) -> Outcome) -> Vec<Figures> {
    let mut figures: Vec<Figures> = servers.iter().map(|_| Figures::default()).collect();
    for _ in 0..run.rounds {
        for (server, figures) in servers.iter().zip(&mut figures) {
            figures.push(load(server));
        }
    }
    figures
}

fn tell(rows: &mut Vec<Vec<String>>, load: &str, servers: &[Server], figures: &[Figures]) {
    let has_floor = servers.len() > DATA;
    let floor = has_floor.then(|| figures[FLOOR].per_second.median());
    for (place, (server, figures)) in servers.iter().zip(figures).enumerate() {
        let floor = floor.filter(|_| place != FLOOR);
        let row = row(load, server.name, figures, floor);
        eprintln!("{}", row.join("  "));
        rows.push(row);
    }
}

/// A goal of calls a second against both floors.
fn of_floor(what: &str, wanted: f64, figures: &[Figures], server: usize) -> Goal {
    let figure = figures[server].per_second.median();
    let floor = figures[FLOOR].per_second.and(&figures[AGAIN].per_second).median();
    let ratio = figure / floor;
    Goal {
        what: format!("{what}, calls/s"),
        wanted: format!("{wanted:.1} x"),
        figure: count(figure),
        reference: format!("floor: {}", count(floor)),
        comes_to: format!("{ratio:.2} x"),
        verdict: Verdict::of(ratio >= wanted),
    }
}

/// A goal against figures of others, which are reached where the best of them is.
fn against_range(what: &str, wanted: f64, figure: f64, name: &str, range: (f64, f64)) -> Goal {
    let (low, high) = range;
    Goal {
        what: format!("{what}, calls/s"),
        wanted: format!("{wanted:.1} x"),
        figure: count(figure),
        reference: format!("{name}: {} to {}", count(low), count(high)),
        comes_to: format!("{:.2} x to {:.2} x", figure / high, figure / low),
        verdict: Verdict::of(figure >= wanted * high),
    }
}

/// The load generator against h2load, with the same transfers.
fn generators(run: &Run, servers: &[Server]) -> String {
    const IN_FLIGHT: u32 = 800;
    let in_flight = IN_FLIGHT.to_string();
    let hot = ["--in-flight", &in_flight, "--no-request-id", "--accounts-distribution", "hot-pair"];
    let mut rows = Vec::new();
    for server in [&servers[FLOOR], &servers[MEMORY]] {
        let (mut ours, mut theirs) = (Series::default(), Series::default());
        for _ in 0..run.rounds {
            ours.push(bench(&server.bank, run.times, &hot).per_second);
            if let Some(per_second) = h2load(&server.bank, run.times, IN_FLIGHT) {
                theirs.push(per_second);
            }
        }
        let ratio = ours.median() / theirs.median();
        let (theirs, ratio) = if theirs.median() > 0.0 {
            (theirs.text(), format!("{ratio:.2}"))
        } else {
            ("not run: h2load is not installed".to_owned(), String::new())
        };
        rows.push(vec![server.name.to_owned(), ours.text(), theirs, ratio]);
    }
    let titles = ["server", "by `bank bench`, calls/s", "by h2load, calls/s", "of h2load"];
    format!(
        "\nThe same transfers without request ids, {in_flight} in flight, by both load generators:\n\n{}",
        markdown(&titles, &rows)
    )
}
