"""What the checks share: how one is run, and a bank that they look at."""

import json
import os
import re
import signal
import subprocess
import traceback
import urllib.request
from dataclasses import dataclass
from pathlib import Path

# Limits only so that a hang fails instead of hanging.
PATIENCE = 60


class NotRun(Exception):
    """It can't be tried on this machine."""


@dataclass(frozen=True)
class Tools:
    root: Path
    folder: Path
    binary: Path

    def find(self, name):
        """A program of the tools', or of the machine."""
        places = [self.folder / "bin", *map(Path, os.environ["PATH"].split(os.pathsep))]
        found = next((place / name for place in places if (place / name).is_file()), None)
        if found is None:
            raise NotRun(f"{name} is not installed")
        return found


def run(check, tools):
    """True, False, or why it was not run."""
    name = check.__doc__.strip().splitlines()[0].rstrip(".")
    try:
        check(tools)
    except NotRun as why:
        print(f"NOT RUN  {name}: {why}")
        return f"{name}: {why}"
    except Exception as wrong:
        print(f"FAILED   {name}: {wrong}")
        if not isinstance(wrong, AssertionError):
            traceback.print_exc()
        return False
    print(f"ok       {name}")
    return True


def succeed(command, **more):
    """Runs a command that must end with 0, and gives what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **more)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


class Bank:
    """A bank on free ports, for as long as the block lasts."""

    def __init__(self, tools, *arguments):
        self.binary = tools.binary
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("BANK_")}
        self.process = subprocess.Popen(
            [self.binary, "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
             "--log-format", "json", "--log-level", "bank::cli=info,error", *arguments],
            stderr=subprocess.PIPE, env=self.environment, text=True,
        )
        self.address = self.metrics = None
        while not (self.address and self.metrics):
            line = self.process.stderr.readline()
            assert line, "the bank has ended"
            line = json.loads(line)
            if "metrics" in line["message"]:
                self.metrics = line["address"]
            elif "address" in line:
                self.address = line["address"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE)

    def call(self, line, codes=(0,)):
        """Runs a command against it, which may end with one of these codes."""
        command = [self.binary, *line.split(), "--endpoint", f"http://{self.address}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=self.environment)
        assert done.returncode in codes, f"{line}: {done.returncode} {done.stderr}"
        return done.stdout

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.metrics}{path}", timeout=PATIENCE) as answer:
            return answer.headers["Content-Type"], answer.read().decode()


def settings_of(tools, command):
    """The flags and variables that a command of the bank knows."""
    text = succeed([tools.binary, command, "--help"])
    return set(re.findall(r"--[a-z][a-z-]+", text)) | set(re.findall(r"BANK_[A-Z_]+", text))
