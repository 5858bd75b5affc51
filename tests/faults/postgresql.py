"""A PostgreSQL of a check's own, which ends with it."""

import atexit
import glob
import os
import signal
import socket
import subprocess
import time

from support import PATIENCE, bank, environment


def program(name):
    """A program of PostgreSQL's, which Debian keeps out of the way."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else name


def as_postgres(*command):
    """A command that runs as somebody whom PostgreSQL puts up with, and ends with this process."""
    whom = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig=QUIT", *whom, program(command[0]), *command[1:]]


def hand_over(*folders):
    if os.geteuid() == 0:
        subprocess.run(["chown", "postgres", *folders], check=True)


class Cluster:
    """Its files are in a new folder of a place; its log, which may go on where the disk is full, in another."""

    def __init__(self, place, log, making=(), settings=()):
        self.data, self.settings, self.log = place / "data", settings, log
        hand_over(place)
        command = as_postgres("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8")
        command += ["--locale=C.UTF-8", "--pgdata", self.data, *making]
        made = subprocess.run(command, cwd="/", capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self.start()

    def start(self):
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", *self.settings]
        command = as_postgres("postgres", "-D", self.data, "-p", str(self.port))
        command += [word for setting in settings for word in ("-c", setting)]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log)
        atexit.register(self.process.kill)
        limit = time.monotonic() + PATIENCE
        asked = [program("pg_isready"), "--quiet", "--host=127.0.0.1", "--port", str(self.port)]
        while subprocess.run(asked).returncode != 0:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < limit, "PostgreSQL did not start"
            time.sleep(0.02)

    def migrate(self):
        self.bank("migrate")

    def verify(self):
        """`bank verify` has nothing to say against what is there."""
        self.bank("verify")

    def bank(self, command):
        whole = [bank, command, "--database-url", self.url]
        done = subprocess.run(whole, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def stop(self):
        # An interrupt closes connections that are open, which a termination would wait for.
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=PATIENCE)
