"""What is there after a power cut, also after a sync that failed once.

    python3 tests/faults/power.py target/debug/bank

The bank runs with power.c preloaded, which keeps apart what was synced. A power cut is a kill, after which a
bank goes on with what the disk has. Everything that was acknowledged must be there: the client's own book is
`bank import`, which counts what was acknowledged and what an earlier run had done.
"""

import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

from support import EXIT_UNAVAILABLE, PATIENCE, Server, bank, environment, folder, summary

LINES = 60_000


def lines(path, count):
    """Deposits with long texts: some tens of thousands go through a checkpoint."""
    with open(path, "w") as file:
        file.write("operation,account_id,amount,currency_code,description\n")
        for number in range(count):
            file.write(f"deposit,alice,0.01,USD,{number:0400}\n")
    return str(path)


class Disk:
    """A folder with a bank's file, and another one with what of it was synced."""

    def __init__(self, place, library):
        self.data, self.disk = place / "data", place / "disk"
        self.data.mkdir()
        self.disk.mkdir()
        self.fail = place / "fail"
        self.settings = {
            "LD_PRELOAD": str(library),
            "POWER_DATA": str(self.data / "bank.db"),
            "POWER_DISK": str(self.disk),
            "POWER_FAIL": str(self.fail),
        }
        # A new file is whole on the disk before it has its name.
        server = Server(self.path())
        server.ask("account", "create", "alice", "--currency", "USD")
        server.end()
        shutil.copy(self.path(), self.disk)

    def path(self):
        return str(self.data / "bank.db")

    def serve(self):
        return Server(self.path(), "--min-free-space", "0B", settings=self.settings)

    def cut_power(self):
        """What the system had in its cache is gone."""
        shutil.rmtree(self.data)
        shutil.copytree(self.disk, self.data)


def import_until(server, file, enough):
    """Imports until so much was acknowledged, and kills the bank then: how much was acknowledged in the end."""
    command = [bank, "import", file, "-o", "ndjson", "--endpoint", server.endpoint, "--timeout", "1s"]
    client = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while int(server.ask("balance", "alice")["balance"]["posted"]) < enough:
        assert client.poll() is None, client.communicate()
    server.process.kill()
    server.process.wait()
    output, errors = client.communicate(timeout=PATIENCE)
    assert client.returncode == EXIT_UNAVAILABLE, (client.returncode, errors)
    counts = summary(output)
    return counts["done"] + counts["done_before"]


def check(disk, file, acknowledged):
    """What was acknowledged is there, and all ends as if nothing had happened."""
    verified = subprocess.run([bank, "verify", disk.path()], env=environment, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
    server = disk.serve()
    posted = int(server.ask("balance", "alice")["balance"]["posted"])
    assert posted >= acknowledged, (posted, acknowledged)
    done = server.run("import", file, "-o", "ndjson", timeout="60s")
    counts = summary(done.stdout)
    assert counts["done_before"] >= acknowledged, (counts, acknowledged)
    assert counts["done"] + counts["done_before"] == LINES, counts
    server.end()


def power_is_cut(library, seed):
    """At any moment, under load."""
    with folder() as place:
        disk, file = Disk(place, library), lines(place / "lines.csv", LINES)
        acknowledged = import_until(disk.serve(), file, random.Random(seed).randrange(LINES - 20_000))
        disk.cut_power()
        check(disk, file, acknowledged)


def a_sync_fails(library, which):
    """Once; the bank ends. Another one goes on with what the cache shows, and then power is cut."""
    with folder() as place:
        disk, file = Disk(place, library), lines(place / "lines.csv", LINES)
        server = disk.serve()
        disk.fail.write_text(which)
        broken = server.run("import", file, "-o", "ndjson", timeout="1s")
        assert broken.returncode == EXIT_UNAVAILABLE, (which, broken.returncode, broken.stdout[-300:])
        assert not disk.fail.exists(), "nothing was synced"
        server.has_failed()
        first = summary(broken.stdout)["done"]

        server = disk.serve()
        posted = int(server.ask("balance", "alice")["balance"]["posted"])
        assert posted >= first, (posted, first)
        # More than an import has under way without an answer.
        acknowledged = import_until(server, file, posted + 10_000)
        assert acknowledged > first
        disk.cut_power()
        check(disk, file, acknowledged)


def main():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as place:
        library = pathlib.Path(place) / "power.so"
        source = pathlib.Path(__file__).with_name("power.c")
        command = ["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"]
        subprocess.run(command, check=True)
        for which in ("db", "wal"):
            a_sync_fails(library, which)
            print(f"ok       a sync of the {which} fails once, and then power is cut")
        for round in range(5):
            power_is_cut(library, seed + round)
        print("ok       power is cut at any moment")


main()
