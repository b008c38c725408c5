"""Attack a model that is only asked: behind HTTP, or a function of your own.

python examples/http_model.py train.csv dev.csv test.csv

The example starts a small server itself, and stops it at the end; give the address of your own with --address.
"""

import argparse
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import flat_dist as fd

GOOD = {"good", "great", "fine", "best", "funny", "love", "well", "enjoyable"}
BAD = {"bad", "worst", "dull", "boring", "too", "not", "no", "never"}


def probabilities(texts: list[str]) -> list[list[float]]:
    """A model that counts words: probabilities of the classes negative and positive of each text."""
    found = []
    for text in texts:
        words = text.split()
        score = sum(word in GOOD for word in words) - sum(word in BAD for word in words)
        positive = 1 / (1 + math.exp(-score))
        found.append([1 - positive, positive])
    return found


class Handler(BaseHTTPRequestHandler):
    """Takes {"texts": [...]}, and answers {"probabilities": [[...], ...]}."""

    def do_POST(self) -> None:
        """Answer a request."""
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["texts"]
        body = json.dumps({"probabilities": probabilities(texts)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def server() -> Iterator[str]:
    """The address of a server on this machine."""
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}/classify"
    finally:
        served.shutdown()
        served.server_close()


def attack(address: str, arguments: argparse.Namespace) -> None:
    """Attack the model at an address, and measure it."""
    data = fd.load_dataset({"train": arguments.train, "dev": arguments.dev, "test": arguments.test})
    # An attack asks hundreds of questions for each text: begin with few texts. FLAT_DIST_HTTP_TOKEN holds a key.
    attacked = fd.attack(
        address,
        data,
        attack="pwws",
        sample=arguments.sample,
        settings={"endpoint.batch_size": 16, "endpoint.timeout": 10.0, "attack.workers": 1},
        storage=arguments.storage,
    )
    summary = attacked.summary
    print(
        f"accuracy {summary.standard_accuracy:.1%}, after PWWS {summary.after_attack_accuracy:.1%} of {summary.n} texts"
    )
    for row in attacked.texts.to_pylist():
        if row["status"] == "successful":
            print(f"  {row['original_text']}\n  -> {row['perturbed_text']}")


def main(arguments: argparse.Namespace) -> None:
    """Attack your own model, or that of the example."""
    if arguments.address:
        attack(arguments.address, arguments)
    else:
        with server() as address:
            attack(address, arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for split in ("train", "dev", "test"):
        parser.add_argument(split, help="CSV file with the columns text and label")
    parser.add_argument("--address", default="", help="your own model: https://... or package.module:function")
    parser.add_argument("--sample", type=int, default=50, help="number of test texts to attack; 0: all")
    parser.add_argument("--storage", default="runs", help="folder for the attacked texts")
    main(parser.parse_args())
