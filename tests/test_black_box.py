"""Models of which only the probabilities are known: functions, and endpoints on the network."""

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flat_dist.commands import predict
from flat_dist.config.errors import UserError
from flat_dist.config.schema import EndpointConfig
from flat_dist.evaluation import lime
from flat_dist.evaluation.lime import Lime
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.black_box import check_probabilities
from flat_dist.models.endpoint import TOKEN, Endpoint, check_address
from flat_dist.pipeline import own_models
from flat_dist.storage.folder import Folder

NAMES = ("negative", "positive")

SOURCE = """
import math

asked = []

def predict(texts):
    asked.append(list(texts))
    good = [text.split().count("good") - text.split().count("bad") for text in texts]
    return [[1 / (1 + math.exp(count)), 1 / (1 + math.exp(-count))] for count in good]

predict.label_names = ["negative", "positive"]

def nameless(texts):
    return predict(texts)

def logits(texts):
    return [[3.0, -1.0]] * len(texts)

def three(texts):
    return [[0.2, 0.3, 0.5]] * len(texts)

def nothing(texts):
    return None

def broken(texts):
    raise KeyError("no such word")

def infinite(texts):
    return [[float("nan"), 0.5]] * len(texts)

number = 3
"""


def probability(text: str) -> float:
    """Of the class positive, as in SOURCE."""
    return 1 / (1 + math.exp(text.split().count("bad") - text.split().count("good")))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A user's module in the current folder."""
    (tmp_path / "users_model.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: sys.modules["users_model"]
    sys.modules.pop("users_model", None)


def place(model: str, storage: Path, names: tuple[str, ...] = NAMES, **endpoint: Any) -> tuple[str | None, Folder]:
    name, uri = own_models.place(model, str(storage), EndpointConfig(**endpoint), names, lambda: NAMES)
    return name, Folder(uri)


@pytest.mark.usefixtures("module")
def test_a_function_is_a_checkpoint(tmp_path: Path) -> None:
    name, folder = place("users_model:predict", tmp_path / "runs", ())
    assert name == "predict"
    checkpoint = checkpoints.load(folder)
    assert checkpoint.label_names == NAMES
    assert checkpoints.describe(folder)["architecture"] == "function"
    texts = ["a good film", "", "bad bad", "good  good naïve 🎬", "x " * 3000 + "bad"]
    expected = [probability(text) for text in texts]
    assert checkpoint.probabilities(texts)[:, 1].tolist() == pytest.approx(expected, abs=1e-7)
    ids = [checkpoint.encoder.encode(text) for text in texts]
    assert checkpoint.predict_margins(ids)[:, 1].tolist() == pytest.approx(
        [math.log(one / (1 - one)) for one in expected], abs=1e-9
    )
    tempered = checkpoint.predict(ids, temperature=2)[0, 1].item()  # a logit of 1 halves
    assert tempered == pytest.approx(1 / (1 + math.exp(-0.5)), abs=1e-6)


def test_a_function_is_asked_once_for_each_text_and_as_it_is_written(module: Any, tmp_path: Path) -> None:
    _, folder = place("users_model:predict", tmp_path / "runs")
    checkpoint = checkpoints.load(folder)
    module().asked.clear()
    texts = ["Good, BAD; it's <b>fine</b>", "two words", "one"]
    checkpoint.probabilities(texts)
    assert sorted(text for batch in module().asked for text in batch) == sorted(texts)


@pytest.mark.usefixtures("module")
def test_lime_asks_about_texts_without_some_of_their_words(tmp_path: Path) -> None:
    _, folder = place("users_model:predict", tmp_path / "runs")
    checkpoint = checkpoints.load(folder)
    text = "a good film with a bad end"
    encoder = checkpoint.encoder
    assert encoder.words(text) == text.split()
    asked = lime.Text(encoder.encode(text), encoder.spans(text))
    (found,) = lime.explain(checkpoint.model, [asked], encoder.vocabulary.unknown, Lime(samples=400))
    words = dict(zip(text.split(), found[1], strict=True))
    assert words["good"] == pytest.approx(-words["bad"], rel=0.2)
    assert words["good"] > 0.15
    assert all(abs(words[word]) < 0.02 for word in ("film", "with", "end"))


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("logits", r"returned \[3.0, -1.0\] \(list\) for a text, with the sum 2: return probabilities"),
        ("three", r"shape \(2, 3\) for 2 texts and the 2 classes negative, positive: it must be \(2, 2\)"),
        ("nothing", r"returned an array of shape \(\) for 2 texts"),
        ("broken", "users_model:broken raises KeyError: 'no such word'"),
        ("infinite", r"returned \[nan, 0.5\].*all numbers must be finite"),
        ("missing", "users_model has no missing"),
        ("number", "number is a int, but must be a function"),
    ],
)
def test_a_function_is_tried_before_any_work(function: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        place(f"users_model:{function}", tmp_path / "runs")


@pytest.mark.usefixtures("module")
def test_the_folder_stands_for_one_version_of_the_code(tmp_path: Path) -> None:
    _, folder = place("users_model:nameless", tmp_path / "runs")
    assert checkpoints.describe(folder)["label_names"] == list(NAMES)  # those of the data
    before = checkpoints.fingerprint(folder)
    (tmp_path / "users_model.py").write_text(SOURCE + "\nmore = 1\n")
    with pytest.raises(UserError, match="differs from that of the run"):
        checkpoints.load(folder)
    _, again = place("users_model:nameless", tmp_path / "runs")
    assert checkpoints.fingerprint(again) != before
    _, other = place("users_model:nameless", tmp_path / "runs", ("no", "yes"))
    assert checkpoints.fingerprint(other) != checkpoints.fingerprint(again)


@pytest.mark.usefixtures("module")
def test_what_needs_word_vectors_is_refused_with_one_sentence(tmp_path: Path) -> None:
    _, folder = place("users_model:predict", tmp_path / "runs")
    own_models.check_uses(folder, ["textfooler", "pwws"], ["lime"])
    with pytest.raises(UserError, match="textfooler-gradient needs the gradient of the model, but users_model:predict"):
        own_models.check_uses(folder, ["pwws", "textfooler-gradient"])
    with pytest.raises(UserError, match=r"ig needs the model's word vectors.*choose --evaluation.explain lime"):
        own_models.check_uses(folder, ["pwws"], ["lime", "ig"])
    with pytest.raises(UserError, match=r"--explain ig needs the model's word vectors.*: choose --explain lime$"):
        predict.job(["--checkpoint", folder.uri, "--explain", "ig"])


def test_probabilities_of_any_library_are_read() -> None:
    rows = [[0.25, 0.75], [1.0, 0.0]]
    for answer in (rows, np.array(rows), torch.tensor(rows, requires_grad=True)):
        assert check_probabilities(answer, 2, NAMES, "m").tolist() == rows
    with pytest.raises(UserError, match=r"m returned 'text'.*which is no array of numbers"):
        check_probabilities("text", 2, NAMES, "m")


# Endpoints

Reply = Callable[[int, list[str]], tuple[int, Any]]
"""Number of the request, from 0, and its texts to status and body."""

SECRET = "s3cr3t-t0ken"


@contextmanager
def server(reply: Reply, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[Any]]]:
    """A server on this machine: its address, and header and texts of each request."""
    requests: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["texts"]
            requests.append((self.headers.get("Authorization"), texts))
            status, body = reply(len(requests) - 1, texts)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}/classify", requests
    finally:
        served.shutdown()
        served.server_close()


def right(_: int, texts: list[str]) -> tuple[int, Any]:
    return 200, {"probabilities": [[1 - probability(text), probability(text)] for text in texts]}


def test_texts_are_sent_in_batches_with_the_token_which_is_stored_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, SECRET)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    texts = [f"a good film {number}" for number in range(7)] + ["bad 🎬"]
    with server(right) as (address, requests):
        name, folder = place(address, tmp_path / "runs", batch_size=3)
        requests.clear()
        found = checkpoints.load(folder).probabilities(texts)
    assert found[:, 1].tolist() == pytest.approx([probability(text) for text in texts], abs=1e-7)
    assert [len(sent) for _, sent in requests] == [3, 3, 2]
    assert {header for header, _ in requests} == {f"Bearer {SECRET}"}
    assert name == "127.0.0.1"
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and SECRET in path.read_text()] == []


def test_without_a_token_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    with server(right) as (address, requests):
        Endpoint(address, EndpointConfig())(["good"])
    assert requests == [(None, ["good"])]


def test_a_failure_that_passes_is_tried_again_and_waits_grow() -> None:
    statuses = {0: 503, 1: 429, 2: 500}

    def reply(number: int, texts: list[str]) -> tuple[int, Any]:
        return (statuses[number], "busy") if number in statuses else right(number, texts)

    waits: list[float] = []
    with server(reply) as (address, requests):
        rows = Endpoint(address, EndpointConfig(), waits.append)(["good"])
    assert rows[0][1] == pytest.approx(probability("good"))
    assert len(requests) == 4
    assert all(0.25 * 2**number <= wait <= 0.5 * 2**number for number, wait in enumerate(waits))
    assert len(waits) == 3


def test_the_server_says_how_long_to_wait() -> None:
    waits: list[float] = []
    with server(lambda n, texts: (503, "") if n == 0 else right(n, texts), {"Retry-After": "7"}) as (address, _):
        Endpoint(address, EndpointConfig(), waits.append)(["good"])
    assert waits == [7.0]
    with (
        server(lambda *_: (429, "slow"), {"Retry-After": "3600"}) as (address, requests),
        pytest.raises(UserError, match=r"status 429: .*slow.*, and to wait 3600 s: start again later"),
    ):
        Endpoint(address, EndpointConfig(), waits.append)(["good"])
    assert len(requests) == 1


def test_a_timeout_and_a_lost_server_end_after_all_retries() -> None:
    released = threading.Event()

    def reply(number: int, texts: list[str]) -> tuple[int, Any]:
        released.wait(20)
        return right(number, texts)

    with server(reply) as (address, requests):
        with pytest.raises(UserError, match="has no answer after 2 requests: ReadTimeout"):
            Endpoint(address, EndpointConfig(timeout=0.2, retries=1), lambda _: None)(["good"])
        released.set()
    assert len(requests) == 2
    with pytest.raises(UserError, match="has no answer after 3 requests: ConnectionError"):
        Endpoint(address, EndpointConfig(timeout=1, retries=2), lambda _: None)(["good"])


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>", r'returned no JSON of the form {"probabilities": \[\[...\]\]}: <html>'),
        (200, b"", "it is empty"),
        (200, {"scores": [[1, 0]]}, "returned no JSON of the form"),
        (200, {"probabilities": [[1, 0], [1, 0], [0, 1]]}, "returned 3 rows of probabilities for 2 texts"),
        (200, {"probabilities": [[1, 0, 0]] * 2}, r"shape \(2, 3\) for 2 texts and the 2 classes"),
        (200, {"probabilities": [[1, "x"]] * 2}, "is no array of numbers"),
        (200, {"probabilities": [[2, -1]] * 2}, "not logits"),
        (302, "", "redirects are not followed"),
        (400, "bad s3cr3t-t0ken", r"answers with status 400: .bad \*\*\*"),
        (401, "", f"set the environment variable {TOKEN} on all machines"),
    ],
)
def test_a_wrong_answer_is_named_and_the_token_is_not(
    status: int, body: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, SECRET)
    with server(lambda *_: (status, body)) as (address, requests), pytest.raises(UserError, match=message) as caught:
        place(address, tmp_path / "runs")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(requests) == 1


def test_the_rate_is_kept() -> None:
    now = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    with server(right) as (address, _):
        ask = Endpoint(address, EndpointConfig(batch_size=1, rate=4), sleep, lambda: now)
        ask(["good"] * 9)
    assert now == pytest.approx(102)  # the first at once, then 8 after a quarter of a second each


def test_addresses_and_tokens_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for secret in ("https://me:pw@host/x", "https://host/x?api_key=abc"):
        with pytest.raises(UserError, match="contains a password or a key") as caught:
            check_address(secret)
        assert "abc" not in str(caught.value) and "pw@" not in str(caught.value)
    for wrong in ("https://", "http://host:99999999/x", "https://a b/c"):
        with pytest.raises(UserError, match="is not an address"):
            check_address(wrong)
    monkeypatch.setenv(TOKEN, "two\nlines")
    with pytest.raises(UserError, match="contains a space, a line break") as caught:
        place("http://127.0.0.1:9/x", tmp_path)
    assert "two" not in str(caught.value)
    with pytest.raises(UserError, match=r"--endpoint.batch-size is 0, but must be from 1"):
        place("http://127.0.0.1:9/x", tmp_path, batch_size=0)


def test_waiting_uses_real_time_by_default() -> None:
    assert Endpoint("http://x", EndpointConfig()).sleep is time.sleep
