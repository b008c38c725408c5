"""A model behind HTTP: texts as JSON to probabilities, in batches, with timeouts, retries and a limit of the rate.

The request is a POST of `{"texts": [...]}`, where a pair of sentences is `{"text": ..., "text_pair": ...}`, the answer
`{"probabilities": [[...], ...]}`: for each text a list with one probability for each class, in the order of the class
names.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import requests

from flat_dist.config.errors import UserError, first_line, quoted
from flat_dist.config.schema import EndpointConfig
from flat_dist.storage.location import carries_credentials

TOKEN = "FLAT_DIST_HTTP_TOKEN"
"""Environment variable with the key, which is sent as a bearer token."""

REPEATED = (429, 500, 502, 503, 504)
"""Statuses after which a request is repeated."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the first repetition, which double each time; and the longest wait, also if the server asks for it."""

SHOWN = 200
"""Characters of an answer that a message shows."""


def check_address(address: str) -> None:
    """Check an address, before anything is sent there.

    Raises:
        UserError: it is no address, or contains a password or a key.
    """
    if carries_credentials(address):
        raise UserError(
            "--checkpoint: the address of the model contains a password or a key, which would be written into results: "
            f"leave it out, and set the environment variable {TOKEN}"
        )
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(letter.isspace() for letter in address):
        raise UserError(f"--checkpoint {quoted(address)} is not an address: write https://host/path")


def token() -> str:
    """The key from the environment; empty if there is none.

    Raises:
        UserError: it cannot be sent in a header. The message does not contain it.
    """
    found = os.environ.get(TOKEN, "")
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise UserError(f"the environment variable {TOKEN} contains a space, a line break or no ASCII: set it again")
    return found


@dataclass
class Endpoint:
    """Asks a model behind HTTP.

    Args:
        address: where texts are posted.
        settings: batches, timeouts, retries and rate.
        sleep: waits for some seconds.
        clock: seconds, from any start.
    """

    address: str
    settings: EndpointConfig
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=0.0, init=False)
    """When the next request may be sent."""

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """The probabilities of each text, as the server sent them.

        Raises:
            UserError: the server gives no usable answer, even after all retries.
        """
        found: list[Any] = []
        for start in range(0, len(texts), self.settings.batch_size):
            batch = list(texts[start : start + self.settings.batch_size])
            rows = self._rows(self._post(batch))
            if len(rows) != len(batch):
                raise UserError(f"{self.address} returned {len(rows)} rows of probabilities for {len(batch)} texts")
            found += rows
        return found

    @cached_property
    def _token(self) -> str:
        return token()

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        session.auth = self._authorise  # with any of its own, requests does not look into ~/.netrc
        return session

    def _authorise(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _post(self, batch: list[str]) -> requests.Response:
        """The answer with status 200."""
        problem, asked = "", 0.0
        for number in range(self.settings.retries + 1):
            if number:
                self._wait(number, asked)
            asked = 0.0
            self._keep_rate()
            try:
                response = self._session.post(
                    self.address, json={"texts": batch}, timeout=self.settings.timeout, allow_redirects=False
                )
            except (requests.ConnectionError, requests.Timeout) as error:
                problem = self._without_token(f"{type(error).__name__}: {first_line(error)}")
                continue
            except requests.RequestException as error:
                raise UserError(f"{self.address} cannot be asked: {self._without_token(first_line(error))}") from None
            if response.status_code == 200:
                return response
            problem = self._describe(response)
            if response.status_code not in REPEATED:
                raise UserError(f"{self.address} answers with {problem}")
            asked = _retry_after(response.headers.get("Retry-After", ""))
            if asked > LONGEST_WAIT:
                raise UserError(f"{self.address} answers with {problem}, and to wait {asked:.0f} s: start again later")
        raise UserError(f"{self.address} has no answer after {self.settings.retries + 1} requests: {problem}")

    def _wait(self, number: int, asked: float) -> None:
        """Wait before a repetition: twice as long each time, not all workers at once, at least what was asked for."""
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (number - 1))
        self.sleep(max(asked, longest * random.uniform(0.5, 1)))

    def _keep_rate(self) -> None:
        if not self.settings.rate:
            return
        now = self.clock()
        if self._next > now:
            self.sleep(self._next - now)
        self._next = max(self._next, now) + 1 / self.settings.rate

    def _rows(self, response: requests.Response) -> list[Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        rows = answer.get("probabilities") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise UserError(
                f'{self.address} returned no JSON of the form {{"probabilities": [[...]]}}: '
                f"{self._shown(response) or 'it is empty'}"
            )
        return rows

    def _describe(self, response: requests.Response) -> str:
        status = response.status_code
        hint = f" (set the environment variable {TOKEN} on all machines)" if status in (401, 403) else ""
        hint = " (redirects are not followed)" if 300 <= status < 400 else hint
        shown = self._shown(response)
        return f"status {status}{hint}" + (f": {shown}" if shown else "")

    def _shown(self, response: requests.Response) -> str:
        return self._without_token(" ".join(response.text.split()))[:SHOWN]

    def _without_token(self, text: str) -> str:
        return text.replace(self._token, "***") if self._token else text


def _retry_after(value: str) -> float:
    """Seconds of the header Retry-After, which is a number or a date; 0 if it is neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
