"""How a command ends: what is a sentence, what is a bug, and outputs that go away."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.folder import Folder
from tests.conftest import hear_interrupts

JOBS = Path(__file__).parent.parent / "jobs"


class ElsewhereError(Exception):
    """As Ray hands on what happened in another process."""

    def __init__(self, cause: Exception):
        super().__init__(f"Traceback of\nanother process\n{cause}")
        self.cause = cause


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("one\n  two"), "one two"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), r"Permission denied (/x): allow access"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "(/x): choose a place that can be written"),
        (OSError(errno.EMFILE, "Too many open files"), "raise `ulimit -n`"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "No such file or directory"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "use a shorter name"),
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (ElsewhereError(UserError("mend it")), "mend it"),
        (ElsewhereError(OSError(errno.ENOSPC, "No space left on device")), "free some space"),
    ],
)
def test_errors_that_the_user_can_fix_are_one_line(error: Exception, expected: str) -> None:
    message = cli.message_of(error)
    assert message is not None and expected in message and "\n" not in message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        AssertionError("x"),
        RuntimeError("shapes differ"),
        OSError(errno.EINVAL, "Invalid argument"),
        OSError(errno.EBADF, "Bad file descriptor"),
        OSError("no number"),
        RecursionError("x"),
        ElsewhereError(ValueError("x")),
    ],
)
def test_a_bug_has_no_message(error: Exception) -> None:
    assert cli.message_of(error) is None


def run(job: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(SystemExit) as ended:
        cli.main(job)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def raising(error: BaseException) -> Any:
    def job(arguments: Sequence[str]) -> None:
        raise error

    return job


def test_main_prints_user_errors_and_raises_bugs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(cli.TRACEBACK, raising=False)
    full = OSError(errno.ENOSPC, "No space left on device", "/x")
    assert run(raising(full), monkeypatch) == 2
    assert capsys.readouterr().err.startswith("error: No space left on device (/x)")
    assert run(raising(KeyboardInterrupt()), monkeypatch) == 130
    assert "the same command continues" in capsys.readouterr().err
    with pytest.raises(ValueError, match="a bug"):
        cli.main(raising(ValueError("a bug")))
    monkeypatch.setenv(cli.TRACEBACK, "1")
    with pytest.raises(OSError, match="No space"):
        cli.main(raising(full))
    assert run(raising(UserError("mine")), monkeypatch) == 2


def test_a_broken_connection_is_not_a_closed_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_reader_is_gone", lambda: False)
    with pytest.raises(BrokenPipeError):
        cli.main(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))


# ---- outputs that go away, with a real process


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CNN of random weights, which takes no time to load."""
    folder = Folder(tmp_path_factory.mktemp("victim"))
    torch.manual_seed(0)
    config = ModelConfig(kernels=2, embedding_dim=4, vectors=None)
    encoder = Encoder(Vocabulary.build([["a", "good", "film"]], 0), 50)
    model = checkpoints.build(config, len(encoder.vocabulary), 2).eval()
    checkpoints.save(Checkpoint(model, config, encoder, ("negative", "positive")), folder)
    return folder.uri


def start(victim: str, **settings: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(JOBS / "predict.py"), "--checkpoint", victim, "--batch-size", "1"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, **settings)


def test_predict_ends_silently_when_its_reader_ends(victim: str) -> None:
    with start(victim, stdout=subprocess.PIPE) as job:
        assert job.stdin and job.stdout and job.stderr
        job.stdin.write(b"a film\n" * 1000)  # their predictions are more than a pipe holds
        job.stdin.flush()
        assert json.loads(job.stdout.readline())["text"] == "a film"
        job.stdout.close()
        assert job.stderr.read() == b""
        assert job.wait(timeout=60) == cli.PIPE_CLOSED


def test_a_full_disk_is_one_line(victim: str) -> None:
    with Path("/dev/full").open("wb") as full, start(victim, stdout=full) as job:
        _, said = job.communicate(b"a film\n", timeout=60)
    assert job.returncode == 2
    assert said.startswith(b"error: No space left on device") and said.count(b"\n") == 1


def test_ctrl_c_ends_predict_with_one_line(victim: str) -> None:
    with start(victim, stdout=subprocess.PIPE, preexec_fn=hear_interrupts) as job:
        assert job.stdin and job.stdout and job.stderr
        job.stdin.write(b"a film\n")
        job.stdin.flush()
        job.stdout.readline()  # it now waits for another
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=60)
    assert (job.returncode, said) == (130, b"interrupted; the predictions written so far are complete\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_each_line_is_answered_in_any_encoding_of_the_terminal(victim: str, encoding: str) -> None:
    texts = "\ufeffa film\r\n\n***\n  \ncafé 模型\n" + "a " * 100_000 + "\ngood film"
    with start(victim, stdout=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": encoding}) as job:
        out, said = job.communicate(texts.encode(), timeout=60)
    assert job.returncode == 0
    assert said == b"3 of 7 texts have no word that the model reads: their predictions say nothing about them\n"
    rows = [json.loads(line) for line in out.decode(encoding.partition(":")[0]).splitlines()]
    assert [row["text"] for row in rows] == ["a film", "", "", "", "café 模型", " ".join(["a"] * 50), "good film"]


def test_help_into_a_closed_pipe_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, str(JOBS / "prepare.py"), "--help"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (cli.PIPE_CLOSED, b"")
