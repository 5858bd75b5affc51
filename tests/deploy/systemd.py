"""The unit for systemd: one that it understands, and hardened."""

import re
import subprocess
import tempfile
from pathlib import Path

from checks import PATIENCE, settings_of

# In tenths: systemd's own scale goes from 0, nothing is exposed, to 10.
MAX_EXPOSURE = 15


def with_unit(tools, *command):
    """Runs a command on the unit, with the binary where it is: what it printed, and its code."""
    analyze = tools.find("systemd-analyze")
    text = (tools.root / "deploy/systemd/bank.service").read_text()
    installed = "/usr/local/bin/bank"
    assert f"ExecStart={installed} " in text
    with tempfile.TemporaryDirectory(prefix="bank-unit-") as folder:
        unit = Path(folder) / "bank.service"
        unit.write_text(text.replace(installed, str(tools.binary)))
        done = subprocess.run([analyze, *command, unit], capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout + done.stderr, done.returncode


def understood(tools):
    """systemd understands the unit"""
    text, code = with_unit(tools, "verify")
    # What it does not know it ignores, and says so.
    about_it = [line for line in text.splitlines() if "bank.service" in line]
    assert code == 0 and not about_it, text


def hardened(tools):
    """The unit exposes next to nothing"""
    text, code = with_unit(tools, "security", "--offline=true", "--no-pager", f"--threshold={MAX_EXPOSURE}")
    level = re.search(r"Overall exposure level.*", text)
    assert code == 0 and level, level[0] if level else text


def settings(tools):
    """The settings of the unit are the bank's"""
    text = (tools.root / "deploy/systemd/bank.service").read_text()
    start = re.search(r"^ExecStart=\S+ (\w+) (.*)$", text, re.MULTILINE)
    named = set(re.findall(r"--[a-z][a-z-]+", start[2])) | set(re.findall(r"BANK_[A-Z_]+", text))
    unknown = named - settings_of(tools, start[1])
    assert not unknown, unknown


CHECKS = [understood, hardened, settings]
