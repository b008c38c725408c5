"""Addresses of Ray clusters: a wrong form, and who does not answer, are one sentence soon; no Ray is started."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from flat_dist.config.errors import UserError
from flat_dist.runtime import cluster_address
from flat_dist.runtime.cluster_address import Address


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_address, "START_SECONDS", 1.0)
    monkeypatch.setattr(cluster_address, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(cluster_address.services, "resolve_ip_for_localhost", lambda host: host)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where Ray leaves the address of a `ray start`, and nothing else says one."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("ray://127.0.0.1:10001", "ray job submit"),
        ("http://127.0.0.1:8265", "ray job submit --address"),
        ("HTTPS://head", "job server"),
        ("redis://127.0.0.1:6379", "host:port"),
        ("127.0.0.1", "host:port"),
        ("127.0.0.1:", "host:port"),
        (":6379", "host:port"),
        ("127.0.0.1:port", "host:port"),
        ("127.0.0.1:0", "host:port"),
        ("127.0.0.1:65536", "host:port"),
        ("127.0.0.1:-1", "host:port"),
        ("a b:6379", "host:port"),
        ("what is this", "host:port"),
        ("\N{SUPERSCRIPT TWO}:\N{SUPERSCRIPT TWO}", "host:port"),
    ],
)
def test_malformed_addresses_are_refused(given: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        cluster_address.reachable(Address(given, "RAY_ADDRESS"))
    sentence = str(caught.value)
    assert given in sentence and "RAY_ADDRESS" in sentence and said in sentence
    assert "\n" not in sentence


def test_a_password_is_not_printed() -> None:
    with pytest.raises(UserError, match="//head:8265, which") as caught:
        cluster_address.reachable(Address("http://me:secret@head:8265", "RAY_ADDRESS"))
    assert "secret" not in str(caught.value)


@pytest.fixture(params=["nobody", "silent", "http", "grpc"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port where there is no cluster: free, taken without an answer, or another server's."""
    if request.param == "http":
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield web.server_port
        web.shutdown()
        web.server_close()
    elif request.param == "grpc":
        server = grpc.server(futures.ThreadPoolExecutor(1))
        number: int = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield number
        server.stop(None)
    else:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            if request.param == "silent":
                taken.listen(8)
            yield taken.getsockname()[1]


def test_a_server_that_is_not_a_cluster_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f" 127.0.0.1:{port} ")
    found = cluster_address.find()
    assert found is not None
    with pytest.raises(UserError, match=rf"127.0.0.1:{port}.*does not answer as a Ray cluster.*RAY_ADDRESS=local"):
        cluster_address.reachable(found)


def test_a_stale_address_file_is_named(port: int, temporary: Path) -> None:
    temporary.write_text(f"127.0.0.1:{port}\n")
    found = cluster_address.find()
    assert found is not None
    with pytest.raises(UserError, match=rf"127.0.0.1:{port}.*delete {temporary}"):
        cluster_address.reachable(found)


def test_an_unknown_host_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"nowhere.invalid:6379.*does not answer as a Ray cluster"):
        cluster_address.reachable(Address("nowhere.invalid:6379", "RAY_ADDRESS"))


def test_without_an_address_there_is_no_cluster_to_join(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster_address.find() is None
    temporary.write_text("\n")
    assert cluster_address.find() is None
    temporary.write_text("127.0.0.1:6379")
    assert cluster_address.find() == Address("127.0.0.1:6379", str(temporary))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert cluster_address.find() is None


def test_auto_finds_this_users_ray_start_or_is_an_error(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(UserError, match="RAY_ADDRESS is auto"):
        cluster_address.find()
    temporary.write_text("127.0.0.1:6379")
    assert cluster_address.find() == Address("127.0.0.1:6379", str(temporary))


def test_another_users_cluster_is_joined_only_by_ray_address(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    temporary.write_text("127.0.0.1:6379")
    monkeypatch.setattr(os, "geteuid", lambda: temporary.stat().st_uid + 1)
    monkeypatch.setattr(cluster_address, "ROOT", -1)
    assert cluster_address.find() is None
    assert f"{temporary} belongs to another user" in capsys.readouterr().err


def test_a_missing_token_is_a_user_error(tmp_path: Path) -> None:
    code = "from flat_dist.runtime import cluster_address as places\nplaces.START_SECONDS = 0\n"
    code += "try:\n    places.reachable(places.find())\nexcept places.UserError as error:\n    print(error)"
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    known |= {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path), "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True)
    assert "cannot be asked without a token" in done.stdout, done.stderr
