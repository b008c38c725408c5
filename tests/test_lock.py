"""One driver at a time: locks of the kernel, and leases on object stores; time is a clock that the tests turn."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import obstore
import pytest
from obstore import exceptions
from obstore.store import MemoryStore

from flat_dist.config.errors import UserError
from flat_dist.storage import conditional_write, lease, lock
from flat_dist.storage.folder import Folder
from flat_dist.storage.lease import FREE
from flat_dist.storage.lock import exclusive_lock
from flat_dist.storage.lock_holder import HOLDER, LockHolder
from tests import object_store

HOLDS = """
import sys, time
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
with exclusive_lock(Folder(sys.argv[1]), "a run"):
    print("held", flush=True)
    time.sleep(600)
"""

RACES = """
import os, sys, time
from pathlib import Path
from flat_dist.storage import lock
from flat_dist.storage.folder import Folder
uri, witness, shift, times = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
wall = time.time
time.time = lambda: wall() + shift
lock.RETRY_SECONDS = 0.001
print("ready", flush=True)
input()
for _ in range(times):
    with lock.exclusive_lock(Folder(uri), "a race", lambda line: None):
        os.close(os.open(witness, os.O_CREAT | os.O_EXCL))  # fails if another is here
        Path(f"{witness}.log").open("a").write(f"{os.getpid()}\\n")
        witness.unlink()
    time.sleep(0.01)
"""

ELSEWHERE = LockHolder("elsewhere", 1, 1.7e9, "theirs", "another machine", 1)


class Clock:
    """Time that passes when somebody sleeps, and what happens meanwhile."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.meanwhile: Callable[[], object] = lambda: None

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(lease, "_now", found.now)
    monkeypatch.setattr(lock.time, "sleep", found.sleep)
    return found


class Bucket:
    """A folder in a bucket whose store is in this process."""

    def __init__(self) -> None:
        self.store, self.folder = MemoryStore(), Folder("s3://bucket/run?region=us-east-1")

    def put(self, content: bytes | LockHolder) -> None:
        obstore.put(self.store, f"run/{HOLDER}", content if isinstance(content, bytes) else content.to_bytes())

    def get(self) -> bytes:
        return bytes(obstore.get(self.store, f"run/{HOLDER}").bytes())

    def holder(self) -> LockHolder:
        found = LockHolder.parse(self.get())
        assert found is not None
        return found


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    found = Bucket()
    monkeypatch.setattr(conditional_write, "_open_store", lambda _: found.store)
    monkeypatch.setattr(conditional_write, "_supports_conditions", {})
    monkeypatch.setattr(lease, "RENEW_SECONDS", 3600)  # by itself: never
    return found


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[str]:
    with object_store.bucket() as uri:
        yield (Folder(uri) / tmp_path.name).uri


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_second_driver_is_refused_until_the_first_is_killed(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri = str(tmp_path) if kind == "local" else request.getfixturevalue("s3")
    first = subprocess.Popen([sys.executable, "-c", HOLDS, uri], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with (
        pytest.raises(UserError, match=rf"a run: .* is in use by process {first.pid} on {socket.gethostname()}, since"),
        exclusive_lock(Folder(uri), "a run"),
    ):
        pass
    first.kill()  # not waited for: what is left of it is still in the table of processes
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    with exclusive_lock(Folder(uri), "a run"):
        pass
    first.wait()


def test_a_waiting_driver_continues_when_the_other_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RETRY_SECONDS", 0.01)
    said: list[str] = []
    first = exclusive_lock(Folder(tmp_path), "training")
    first.__enter__()

    def log_line(line: str) -> None:
        said.append(line)
        first.__exit__(None, None, None)

    with exclusive_lock(Folder(tmp_path), "training", log_line):
        assert said[0].startswith(f"training: waiting for process {os.getpid()} on ")
    assert len(said) == 1
    assert not (tmp_path / HOLDER).exists()


DAMAGED = {
    "empty": b"",
    "cut": b'{"host": "x", "pi',
    "null": b"null",
    "list": b'["host", "pid"]',
    "nested": b"[" * 100_000,
    "binary": b"\xff\x00",
    "words": b'{"host": "x", "pid": "one", "since": "today"}',
    "no process": b'{"host": "x", "pid": -1, "since": 0.0}',
    "huge": b'{"host": "x", "pid": 1' + b"0" * 400 + b', "since": 1e308}',
    "no time": b'{"host": "x", "pid": 1, "since": NaN}',
    "escapes": b'{"host": "\\u001b[2J", "pid": 1, "since": 0.0}',
    "an older release's": b'{"host": "x", "pid": 1, "token": "t", "since": 1.7e9, "renewed": 1.7e9}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_holder_file_does_not_block_the_lock(
    content: bytes, tmp_path: Path, bucket: Bucket, clock: Clock
) -> None:
    assert LockHolder.parse(content) is None
    (tmp_path / HOLDER).write_bytes(content)
    with exclusive_lock(Folder(tmp_path), "a run"):
        assert LockHolder.parse((tmp_path / HOLDER).read_bytes()) is not None
    bucket.put(content)
    said: list[str] = []
    with exclusive_lock(bucket.folder, "a run", log_line=said.append):
        assert clock.seconds == pytest.approx(1000 + lease.LEASE_SECONDS, abs=2 * lock.RETRY_SECONDS)
    assert said[0] == "a run: waiting for another driver, for at most 90 s, to see whether it still runs"


def test_a_lock_file_that_is_a_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / HOLDER).mkdir()
    for _ in range(2):  # the second would find it in use, were it not freed
        with pytest.raises(UserError, match="cannot be written"), exclusive_lock(Folder(tmp_path), "a run"):
            pass


def test_an_expired_lease_is_taken_over(bucket: Bucket, clock: Clock) -> None:
    bucket.put(ELSEWHERE)
    said: list[str] = []
    with exclusive_lock(bucket.folder, "a run", said.append):
        assert lease.LEASE_SECONDS < clock.seconds - 1000 < lease.LEASE_SECONDS + 2 * lock.RETRY_SECONDS
        assert bucket.holder().pid == os.getpid()
    assert said[0].startswith("a run: waiting for process 1 on elsewhere, since 2023-11-14")
    assert bucket.get() == FREE


@pytest.mark.parametrize("shift", [-1e8, -100, 100, 1e8])
def test_a_running_driver_keeps_its_lease_whatever_its_clock(shift: float, bucket: Bucket, clock: Clock) -> None:
    theirs = replace(ELSEWHERE, since=time.time() + shift)
    bucket.put(theirs)

    def renew() -> None:
        if clock.seconds > 1000 + lease.LEASE_SECONDS - lock.RETRY_SECONDS:  # at the last moment
            bucket.put(replace(theirs, renewed=1))

    clock.meanwhile = renew
    with pytest.raises(UserError, match="in use by process 1 on elsewhere"), exclusive_lock(bucket.folder, "a run"):
        pass
    assert bucket.holder() == replace(theirs, renewed=1)


def test_a_lease_renewed_at_the_last_moment_is_kept(
    bucket: Bucket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(ELSEWHERE)
    put = obstore.put

    def late(store: Any, path: str, content: bytes, *, mode: Any) -> Any:
        if path.endswith(HOLDER):
            bucket.put(replace(ELSEWHERE, renewed=1))
        return put(store, path, content, mode=mode)

    monkeypatch.setattr(conditional_write.obstore, "put", late)
    monkeypatch.setattr(bucket, "put", lambda content: put(bucket.store, f"run/{HOLDER}", content.to_bytes()))
    with pytest.raises(UserError, match="in use by process 1 on elsewhere"), exclusive_lock(bucket.folder, "a run"):
        pass
    assert bucket.holder() == replace(ELSEWHERE, renewed=1)


def test_a_dead_holder_on_this_machine_is_detected_at_once(bucket: Bucket, clock: Clock) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = LockHolder.of_this_process()
    assert here.is_alive()
    for theirs in (replace(here, pid=gone.pid), replace(here, started=here.started - 1)):
        bucket.put(theirs)
        with exclusive_lock(bucket.folder, "a run"):
            assert clock.seconds == 1000
    bucket.put(here)
    with pytest.raises(UserError, match="in use"), exclusive_lock(bucket.folder, "a run"):
        pass
    assert clock.seconds == 1000


def test_a_holder_on_another_machine_of_the_same_name_is_unknown() -> None:
    assert replace(LockHolder.of_this_process(), machine="another", pid=2**30).is_alive() is None
    assert replace(LockHolder.of_this_process(), machine="").is_alive() is None
    assert replace(LockHolder.of_this_process(), started=0).is_alive() is None


def test_a_lease_is_renewed_and_released(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    with exclusive_lock(bucket.folder, "a run"):
        while bucket.holder().renewed < 3:
            time.sleep(0.01)
    assert bucket.get() == FREE
    with exclusive_lock(bucket.folder, "a run"):
        assert bucket.holder().pid == os.getpid()


def test_a_run_ends_when_its_lease_is_taken_over(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    with (
        pytest.raises(UserError, match="was taken over by process 1 on elsewhere"),
        exclusive_lock(bucket.folder, "a run"),
    ):
        bucket.put(ELSEWHERE)
        time.sleep(30)  # interrupted
    assert bucket.holder() == ELSEWHERE


def test_a_removed_lease_is_written_again(bucket: Bucket, clock: Clock) -> None:
    with exclusive_lock(bucket.folder, "a run"):
        obstore.delete(bucket.store, f"run/{HOLDER}")
        clock.seconds += lease.TRUST_SECONDS + 1
        lease.files.before_writing[-1]()
        assert bucket.holder().pid == os.getpid()


def test_nothing_is_written_before_an_old_lease_is_renewed(
    bucket: Bucket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(bucket.folder, "_put", lambda path, data: written.append(data))
    put = obstore.put

    def away(*given: Any, **named: Any) -> Any:
        raise exceptions.GenericError("no answer")

    with (
        pytest.raises(UserError, match="was taken over by process 1 on elsewhere"),
        exclusive_lock(bucket.folder, "a run"),
    ):
        bucket.folder.write("a", b"1")
        clock.seconds += lease.TRUST_SECONDS + 1
        monkeypatch.setattr(conditional_write.obstore, "put", away)
        with pytest.raises(UserError, match=r"the lock in s3://bucket/run.* cannot be written .no answer"):
            bucket.folder.write("a", b"2")
        monkeypatch.setattr(conditional_write.obstore, "put", put)
        bucket.folder.write("a", b"3")  # taken again
        clock.seconds += lease.TRUST_SECONDS + 1
        bucket.put(ELSEWHERE)
        bucket.folder.write("a", b"4")
    assert written == [b"1", b"3"]
    bucket.folder.write("a", b"5")
    assert written[-1] == b"5"


@pytest.mark.parametrize(
    "error", [exceptions.GenericError, exceptions.PreconditionError, exceptions.AlreadyExistsError]
)
def test_a_lost_answer_does_not_lose_the_lease(
    error: type[Exception], bucket: Bucket, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, losing = obstore.put, False

    def lossy(store: Any, path: str, content: bytes, *, mode: Any) -> Any:
        found = put(store, path, content, mode=mode)
        if losing:
            raise error("the answer was lost")
        return found

    monkeypatch.setattr(conditional_write.obstore, "put", lossy)
    claim = lease.Lease(bucket.folder, print)
    losing = error is not exceptions.GenericError
    assert claim.acquire()
    for renewed in (1, 2):
        clock.seconds += lease.TRUST_SECONDS + 1
        losing = True
        if error is exceptions.GenericError:
            with pytest.raises(UserError):
                claim.confirm()
            losing = False
        claim.confirm()
        assert bucket.holder().token == claim.mine.token
        assert bucket.holder().renewed >= renewed
    claim.release()
    assert bucket.get() == FREE


def test_an_unreachable_store_at_the_end_does_not_fail_the_run(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*given: Any, **named: Any) -> Any:
        raise exceptions.GenericError("no answer")

    said: list[str] = []
    with exclusive_lock(bucket.folder, "a run", log_line=said.append):
        monkeypatch.setattr(conditional_write.obstore, "put", away)
    assert len(said) == 1
    assert "no answer" in said[0]
    assert said[0].endswith("it expires by itself in 90 s")


def test_racing_drivers_never_hold_a_lock_together(s3: str, tmp_path: Path) -> None:
    witness, times = tmp_path / "witness", 15
    Folder(s3).write(HOLDER, replace(LockHolder.of_this_process(), started=1).to_bytes())  # of one that is gone
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACES, s3, str(witness), shift, str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for shift in ("-100", "100")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    assert [racer.communicate(timeout=120)[1] for racer in racers] == ["", ""]
    assert [racer.returncode for racer in racers] == [0, 0]
    order = Path(f"{witness}.log").read_text().split()
    assert sorted(order) == sorted([str(racer.pid) for racer in racers] * times)


@pytest.mark.parametrize("conditions", ["ignored", "refused"])
def test_without_conditional_writes_a_warning_is_logged_and_a_second_driver_refused(
    conditions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditional_write, "SETTLE_SECONDS", 0.01)
    with object_store.bucket(object_store.Server(conditions=conditions)) as uri:
        folder, said = Folder(uri) / conditions, list[str]()
        with exclusive_lock(folder, "a run", log_line=said.append):
            with pytest.raises(UserError, match=f"in use by process {os.getpid()}"), exclusive_lock(folder, "a run"):
                pass
            assert folder.names() == []
        with exclusive_lock(folder / "stage", "a stage", said.append):
            pass
        file = conditional_write.open_file(folder, "other", said.append)
        seen = file.write(b"mine", None)
        assert file.write(b"theirs", None) is None
        assert file.read() == seen
    assert len(said) == 1
    assert "this store has no conditional writes (If-None-Match, If-Match)" in said[0]


def test_denied_access_is_a_user_error(s3: str) -> None:
    folder = Folder(s3.replace("storage", "nobody", 1))
    with pytest.raises(UserError, match=r"the lock in s3://nobody/here\S* cannot be .*credentials") as error:
        conditional_write.open_file(folder, HOLDER, print)
    assert "\n" not in str(error.value)


class Google(BaseHTTPRequestHandler):
    """As much of Google's storage as a lease needs: objects with generations."""

    files: dict[str, tuple[int, bytes]]
    lock: Lock
    made: int

    def do_PUT(self) -> None:
        content, wanted = (
            self.rfile.read(int(self.headers["Content-Length"])),
            self.headers["x-goog-if-generation-match"],
        )
        kind = type(self)
        with kind.lock:
            now = kind.files.get(self.path, (0, b""))[0]
            if wanted is not None and int(wanted) != now:
                self.answer(412, 0)
                return
            kind.made += 1
            kind.files[self.path] = kind.made, content
            self.answer(200, kind.made)

    def do_GET(self) -> None:
        generation, content = type(self).files.get(self.path, (0, b""))
        self.answer(200 if generation else 404, generation, content)

    def do_DELETE(self) -> None:
        type(self).files.pop(self.path, None)
        self.answer(204, 0)

    def answer(self, status: int, generation: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{generation}"')
        self.send_header("x-goog-generation", str(generation))
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *given: object) -> None:
        pass


def test_leases_on_google_storage_are_written_by_generation(clock: Clock) -> None:
    kind = type("Handler", (Google,), {"files": {}, "lock": Lock(), "made": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        folder = Folder(f"gs://anonymous@bucket/a run?endpoint_override=127.0.0.1:{server.server_port}&scheme=http")
        said: list[str] = []
        with exclusive_lock(folder, "a run", log_line=said.append):
            clock.seconds += lease.TRUST_SECONDS + 1
            for confirm in lease.files.before_writing:
                confirm()
            with pytest.raises(UserError, match=f"in use by process {os.getpid()}"), exclusive_lock(folder, "a run"):
                pass
        assert said == []
        assert [content for _, content in kind.files.values()] == [FREE]  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def test_profile_keys_are_used_if_the_environment_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b%c\n[other]\nrole_arn = r\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert conditional_write._profile() == {"access_key_id": "a", "secret_access_key": "b%c"}
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert conditional_write._profile() == {}
    file.write_bytes(b"\xff[")
    assert conditional_write._profile() == {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "c")
    assert conditional_write._profile() == {}


def test_a_holder_is_written_and_parsed_back() -> None:
    here = LockHolder.of_this_process()
    assert LockHolder.parse(here.to_bytes()) == here
    assert json.loads(here.to_bytes())["host"] == socket.gethostname()
    assert LockHolder.parse(json.dumps(asdict(here) | {"new": "field"}).encode()) == here
