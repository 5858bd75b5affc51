"""A bank as a process, and a client's own book of what it was told."""

import atexit
import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading

EXIT_FAILED, EXIT_UNAVAILABLE, EXIT_OVER_LIMIT, EXIT_SOME_REFUSED = 1, 4, 6, 7
# A limit only so that a hang fails instead of hanging.
PATIENCE = 60

bank = os.path.abspath(sys.argv[1])
environment = {name: value for name, value in os.environ.items() if not name.startswith("BANK_")}


class Server:
    """A bank over books: a file, or a database's URL."""

    def __init__(self, books, *arguments, under=(), settings=None, listen="127.0.0.1:0", level="bank::cli=info,error"):
        kind = "--database-url" if books.startswith("postgres:") else "--data"
        command = [*under, bank, "serve", "--listen", listen, kind, books, *arguments]
        command += ["--drain-timeout", "2s", "--log-level", level]
        all_settings = {**environment, **(settings or {})}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=all_settings)
        # Nothing is left running when a check fails.
        atexit.register(self.process.kill)
        self.log = []
        while True:
            line = self.process.stderr.readline()
            assert line, f"it has ended: {self.log}"
            self.log.append(line)
            if match := re.search(r"127\.0\.0\.1:\d+", line):
                self.address = match[0]
                self.endpoint = f"http://{self.address}"
                break
        # A bank whose log nobody reads would stand still.
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def run(self, *arguments, timeout="10s"):
        command = [bank, *arguments, "--endpoint", self.endpoint, "--timeout", timeout]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)

    def ask(self, *arguments):
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return json.loads(done.stdout)

    def watch(self):
        """Somebody who watches what happens, and has begun to."""
        command = [bank, "watch", "-o", "ndjson", "--endpoint", self.endpoint, "--timeout", "1s"]
        watch = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        atexit.register(watch.kill)
        self.ask("account", "create", "bob", "--currency", "USD")
        while not select.select([watch.stdout], [], [], 0)[0]:
            self.ask("deposit", "bob", "0.01", "USD")
        return watch

    def has_failed(self):
        """Waits until it ends by itself, which it must with a code that says that it failed."""
        self.process.wait(timeout=PATIENCE)
        self.reader.join()
        assert self.process.returncode == EXIT_FAILED, (self.process.returncode, self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
        self.reader.join()
        assert self.process.returncode == 0, self.log


@contextlib.contextmanager
def folder():
    path = tempfile.mkdtemp(prefix="bank-faults-")
    try:
        yield pathlib.Path(path)
    finally:
        shutil.rmtree(path)


def summary(output):
    return json.loads(output.strip().splitlines()[-1])


def cents(path, lines):
    path.parent.mkdir(exist_ok=True)
    with open(path, "w") as file:
        file.write("operation,account_id,amount,currency_code\n")
        file.write("deposit,alice,0.01,USD\n" * lines)
    return str(path)


def may_mount():
    with folder() as place:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True)
        if mounted.returncode == 0:
            subprocess.run(["umount", place], check=True)
    return mounted.returncode == 0


@contextlib.contextmanager
def small_disk(size):
    with folder() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
        try:
            yield place
        finally:
            # Lazily: when a check has failed, a bank may still be using it.
            subprocess.run(["umount", "--lazy", place], check=True)


def resize(place, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)


def has_all(server, lines, acknowledged, counts):
    """By the counts of an import of all lines: what was acknowledged before is there, and each line was done once."""
    assert counts["done_before"] >= acknowledged, (counts, acknowledged)
    assert counts["done"] + counts["done_before"] == lines, counts
    balance = server.ask("balance", "alice")["balance"]
    assert balance["posted"] == str(lines), balance
    totals = server.ask("trial-balance")
    assert [one["difference"] for one in totals] == ["0"], totals


def try_on_small_disks(what, *cases):
    """Tries each case. Returns what could not be tried."""
    if not may_mount():
        return [f"{what}: this process may not mount a tmpfs"]
    for case in cases:
        case()
        print(f"ok       {case.__name__.replace('_', ' ')}")
    return []


def tell_not_run(lines):
    """Adds what could not be tried to the file of --not-run."""
    if "--not-run" in sys.argv:
        with open(sys.argv[sys.argv.index("--not-run") + 1], "a") as file:
            file.writelines(f"{line}\n" for line in lines)
