"""How a command starts: interrupts at any moment, and users without a home."""

import os
import signal
import subprocess
import sys

import pytest

from flat_dist.runtime import interrupts
from tests.conftest import hear_interrupts

COMMAND = """
import sys
import flat_dist.runtime.start
print("imports", flush=True)
import {module}
if "{module}" == "time":
    time.sleep(60)
from flat_dist import cli
def job(arguments):
    import time
    try:
        print("works", flush=True)
        time.sleep(60)
    finally:
        print("puts in order", flush=True)
cli.main(job)
"""


def interrupted(number: signal.Signals, module: str, heard: str) -> tuple[int, str, str]:
    """Exit code and output of a command that gets a signal once it says something."""
    command = [sys.executable, "-c", COMMAND.format(module=module)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )
    assert process.stdout is not None
    out = ""
    while not out.endswith(f"{heard}\n"):
        line = process.stdout.readline()
        assert line, f"the command ended: {process.communicate()[1]}"
        out += line
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    return process.returncode, out + rest, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("module", "heard"), [("time", "imports"), ("sys", "works")])
def test_an_interrupt_is_one_line(number: signal.Signals, module: str, heard: str) -> None:
    code, out, errors = interrupted(number, module, heard)
    assert (code, errors) == (130, f"interrupted; {interrupts.CONTINUES}\n")
    assert ("puts in order" in out) == (heard == "works")


def test_ctrl_c_stays_ignored_if_it_was_ignored_before() -> None:
    code = "import flat_dist.runtime.start, os, signal; os.kill(os.getpid(), signal.SIGINT); print('on')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


def test_other_imports_change_no_signal_handler() -> None:
    code = "import signal\nimport flat_dist.cli, flat_dist.runtime.cluster, flat_dist.runtime.interrupts\n"
    code += (
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGTERM) == 0)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=hear_interrupts)
    assert done.stdout == "True True\n", done.stderr


def test_a_user_without_a_home_folder_can_run_commands() -> None:
    code = "import os, pwd\ndel os.environ['HOME']\ndef nobody(uid):\n    raise KeyError(uid)\npwd.getpwuid = nobody\n"
    code += "import flat_dist.runtime.start\nimport ray.train\nfrom flat_dist.resources import assets\n"
    code += "print(assets.cache_folder())"
    environment = {name: value for name, value in os.environ.items() if name != "FLAT_DIST_CACHE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "/nonexistent/.cache/flat_dist\n", done.stderr


def test_an_interrupt_that_a_library_wraps_in_its_own_error_is_one_line() -> None:
    code = """
import flat_dist.runtime.start, os, signal
from flat_dist import cli
def job(arguments):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt as interrupt:
        raise ValueError("error building the serializer") from interrupt
cli.main(job)
"""
    default = {"preexec_fn": hear_interrupts}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **default)
    assert (done.returncode, done.stderr) == (130, f"interrupted; {interrupts.CONTINUES}\n")
