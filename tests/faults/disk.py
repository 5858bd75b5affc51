"""What a bank does when its disk fails or is full, with real errors from the system.

    python3 tests/faults/disk.py target/debug/bank [--not-run FILE]

EIO and ENOSPC come from libfiu's preloaded library (Debian's fiu-utils), and from a tmpfs of 1 MiB.
The client's own book is `bank import`: it counts what was acknowledged, and what an earlier run had done.
What can't be tried on this machine is written to the file of --not-run, a line each.
"""

import json
import os
import shutil
import subprocess

from support import (
    EXIT_OVER_LIMIT,
    EXIT_SOME_REFUSED,
    EXIT_UNAVAILABLE,
    PATIENCE,
    Server,
    bank,
    cents,
    environment,
    folder,
    has_all,
    resize,
    small_disk,
    summary,
    tell_not_run,
    try_on_small_disks,
)

EIO, ENOSPC = 5, 28


def check_restart(data, file, lines, acknowledged):
    """On a healthy disk everything that was acknowledged is there, and the rest can be done, once."""
    verified = subprocess.run([bank, "verify", data], env=environment, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
    server = Server(data)
    done = server.run("import", file, "-o", "ndjson")
    assert done.returncode == 0, done.stderr
    has_all(server, lines, acknowledged, summary(done.stdout))
    server.end()


def control_faults(server, control, command):
    subprocess.run(["fiu-ctrl", "-f", control, "-c", command, str(server.process.pid)], check=True)


def a_failing_call(name, error):
    """One of the calls that write fails from some moment on."""
    with folder() as place:
        data, lines = str(place / "bank.db"), 500
        control = str(place / "control")
        server = Server(data, "--min-free-space", "0B", under=["fiu-run", "-x", "-f", control])
        server.ask("account", "create", "alice", "--currency", "USD")
        file = cents(place / "cents.csv", lines)
        first = server.run("import", cents(place / "before/cents.csv", 200), "-o", "ndjson")
        assert summary(first.stdout)["done"] == 200, first.stderr

        watch = server.watch()
        control_faults(server, control, f"enable name={name},failinfo={error}")
        broken = server.run("import", file, "-o", "ndjson", timeout="3s")
        assert broken.returncode == EXIT_UNAVAILABLE, (broken.returncode, broken.stderr)
        server.has_failed()
        shown, errors = watch.communicate(timeout=PATIENCE)
        assert watch.returncode == EXIT_UNAVAILABLE, (watch.returncode, errors)
        shown = [int(json.loads(line)["transaction"]["sequence"]) for line in shown.splitlines()]
        head = subprocess.run([bank, "head", data, "-o", "json"], env=environment, capture_output=True, text=True)
        assert 0 < shown[-1] <= json.loads(head.stdout)["sequence"], (shown[-1], head.stdout)
        check_restart(data, file, lines, 200 + summary(broken.stdout)["done"])


def failing_reads():
    """What needs a record is unavailable while none can be read, and is there again afterwards; the rest goes on."""
    with folder() as place:
        data, lines = str(place / "bank.db"), 5000
        control = str(place / "control")
        server = Server(data, under=["fiu-run", "-x", "-f", control])
        server.ask("account", "create", "alice", "--currency", "USD")
        file = cents(place / "cents.csv", lines)
        assert server.run("import", file, "-o", "ndjson").returncode == 0

        control_faults(server, control, f"enable name=posix/io/rw/pread,failinfo={EIO}")
        statement = ["statement", "alice", "--oldest-first", "--limit", "2"]
        unread = server.run(*statement, timeout="1s")
        assert unread.returncode == EXIT_UNAVAILABLE, (unread.returncode, unread.stderr)
        assert "STORE_UNAVAILABLE" in unread.stderr and not unread.stdout, (unread.stdout, unread.stderr)
        # A repeat is answered from the record of the first: as long as it can't be read, the repeat isn't answered.
        repeated = server.run("import", file, "-o", "ndjson", timeout="1s")
        assert repeated.returncode == EXIT_UNAVAILABLE, (repeated.returncode, repeated.stderr)
        # Balances are in memory, and a new deposit is only written.
        assert server.ask("balance", "alice")["balance"]["posted"] == str(lines)
        server.ask("deposit", "alice", "0.01", "USD")
        assert server.run("healthcheck").returncode == 0

        control_faults(server, control, "disable name=posix/io/rw/pread")
        assert len(server.ask(*statement)) == 2
        repeated = server.run("import", file, "-o", "ndjson")
        assert summary(repeated.stdout)["done_before"] == lines, (repeated.stdout, repeated.stderr)
        assert server.ask("balance", "alice")["balance"]["posted"] == str(lines + 1)
        server.end()


def little_space_refuses_writes():
    """Before the disk is full, writes are refused; they go on by themselves when there is room."""
    with small_disk("12m") as place, folder() as other:
        lines = 60_000
        server = Server(str(place / "bank.db"), "--min-free-space", "6MiB")
        server.ask("account", "create", "alice", "--currency", "USD")
        file = cents(other / "cents.csv", lines)
        full = server.run("import", file, "-o", "ndjson", timeout="2s")
        assert full.returncode in (EXIT_SOME_REFUSED, EXIT_OVER_LIMIT), (full.returncode, full.stderr)
        assert "STORE_FULL" in full.stdout + full.stderr, full.stderr
        done = summary(full.stdout)["done"]
        one = server.run("deposit", "alice", "1", "USD")
        assert one.returncode == EXIT_OVER_LIMIT, one.stderr
        assert server.ask("balance", "alice")["balance"]["posted"] == str(done)
        assert server.run("healthcheck").returncode == 0

        resize(place, "256m")
        # It looks at the disk several times a second.
        while True:
            again = server.run("import", file, "-o", "ndjson")
            if again.returncode == 0:
                break
            assert "STORE_FULL" in again.stdout + again.stderr, again.stderr
        assert server.ask("balance", "alice")["balance"]["posted"] == str(lines)
        server.end()


def a_full_disk_loses_nothing():
    """Without that precaution the disk fills up under it: it fails, and a restart has everything."""
    with small_disk("1m") as place, folder() as other:
        lines = 20_000
        data = str(place / "bank.db")
        server = Server(data, "--min-free-space", "0B")
        server.ask("account", "create", "alice", "--currency", "USD")
        file = cents(other / "cents.csv", lines)
        full = server.run("import", file, "-o", "ndjson", timeout="3s")
        assert full.returncode == EXIT_UNAVAILABLE, (full.returncode, full.stderr)
        server.has_failed()
        resize(place, "256m")
        check_restart(data, file, lines, summary(full.stdout)["done"])


def main():
    not_run = []
    if shutil.which("fiu-run"):
        for name, error in [
            ("posix/io/sync/fdatasync", EIO),
            ("posix/io/rw/pwrite", EIO),
            ("posix/io/rw/pwrite", ENOSPC),
        ]:
            a_failing_call(name, error)
            print(f"ok       {name} fails with {os.strerror(error)}")
        failing_reads()
        print("ok       failing reads")
    else:
        not_run.append("failing writes, reads and syncs: libfiu is not installed")
    not_run += try_on_small_disks("a full disk", little_space_refuses_writes, a_full_disk_loses_nothing)
    tell_not_run(not_run)


main()
