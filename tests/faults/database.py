"""What a bank does when the disk of its PostgreSQL is full.

    python3 tests/faults/database.py target/debug/bank [--not-run FILE]

The client's own book is `bank import`, as in disk.py. What can't be tried on this machine is written to the file
of --not-run.
"""

from postgresql import Cluster, hand_over
from support import (
    EXIT_FAILED,
    EXIT_OVER_LIMIT,
    EXIT_SOME_REFUSED,
    EXIT_UNAVAILABLE,
    PATIENCE,
    Server,
    cents,
    folder,
    has_all,
    resize,
    small_disk,
    summary,
    tell_not_run,
    try_on_small_disks,
)


def goes_on(server, file, lines, acknowledged):
    """Everything that was acknowledged is there, and the rest can be done, once."""
    while True:
        again = server.run("import", file, "-o", "ndjson")
        if again.returncode == 0:
            break
        assert again.returncode in (EXIT_UNAVAILABLE, EXIT_SOME_REFUSED, EXIT_OVER_LIMIT), again.stderr
        acknowledged += summary(again.stdout)["done"]
    has_all(server, lines, acknowledged, summary(again.stdout))


def tables_that_have_no_room_refuse_writes():
    """The engine lives, so reads and health go on, and writes do by themselves when there is room."""
    lines = 30_000
    with small_disk("30m") as place, folder() as wal, folder() as other:
        (wal / "wal").mkdir()
        hand_over(wal, wal / "wal")
        cluster = Cluster(place, other / "log", making=["--waldir", wal / "wal"])
        cluster.migrate()
        server = Server(cluster.url)
        server.ask("account", "create", "alice", "--currency", "USD")
        file = cents(other / "cents.csv", lines)
        full = server.run("import", file, "-o", "ndjson", timeout="2s")
        assert full.returncode in (EXIT_SOME_REFUSED, EXIT_OVER_LIMIT), (full.returncode, full.stderr)
        assert "STORE_FULL" in full.stdout + full.stderr, full.stderr
        done = summary(full.stdout)["done"]
        assert 0 < done < lines, done
        assert server.ask("balance", "alice")["balance"]["posted"] == str(done)
        assert server.run("healthcheck").returncode == 0

        resize(place, "256m")
        goes_on(server, file, lines, done)
        server.end()
        cluster.verify()
        cluster.stop()


def a_full_disk_of_the_wal_loses_nothing():
    """The engine can't log any more and gives up; with room it is started again, and the bank goes on by itself."""
    lines = 25_000
    with folder() as place, small_disk("12m") as wal, folder() as other:
        (wal / "wal").mkdir()
        hand_over(wal / "wal")
        cluster = Cluster(
            place, other / "log", making=["--waldir", wal / "wal", "--wal-segsize=1"], settings=["min_wal_size=2MB"]
        )
        cluster.migrate()
        server = Server(cluster.url)
        server.ask("account", "create", "alice", "--currency", "USD")
        file = cents(other / "cents.csv", lines)
        full = server.run("import", file, "-o", "ndjson", timeout="3s")
        assert full.returncode == EXIT_UNAVAILABLE, (full.returncode, full.stderr)
        # It can't be brought back without a new segment, which there is no room for.
        cluster.process.wait(timeout=PATIENCE)
        assert server.run("healthcheck").returncode == EXIT_FAILED

        resize(wal, "256m")
        cluster.start()
        goes_on(server, file, lines, summary(full.stdout)["done"])
        assert server.run("healthcheck").returncode == 0
        server.end()
        cluster.verify()
        cluster.stop()


cases = (tables_that_have_no_room_refuse_writes, a_full_disk_of_the_wal_loses_nothing)
tell_not_run(try_on_small_disks("a full disk under PostgreSQL", *cases))
