"""A tiny catalogue and a real HTTP server that does what a test scripts."""

import contextlib
import hashlib
import io
import re
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from tiny_network import Tiny

from srcli.catalog import Architecture, Model, Variant, WeightsFile
from srcli.weights import WeightsOptions

ARCH = Architecture("tiny", "Tiny", "residual", "p", "r", "tiny_network:Tiny")


@dataclass
class Origin:
    """A published file and the catalogue entry that describes it."""

    data: bytes
    state: dict
    weights: WeightsFile
    model: Model

    def at(self, url):
        """The same file, published there."""
        weights = replace(self.weights, url=url)
        variant = replace(self.model.variants[0], weights=weights)
        return replace(self, weights=weights, model=replace(self.model, variants=(variant,)))


def published(content, state, **entry):
    """What torch.save makes of it, as a catalogue entry."""
    if not isinstance(content, bytes):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        content = buffer.getvalue()
    weights = WeightsFile(
        "tiny.one-x2.pth",
        len(content),
        hashlib.sha256(content).hexdigest(),
        "http://127.0.0.1:9/nobody-listens",
        **entry,
    )
    variant = Variant(2, weights, 336)
    return Origin(content, state, weights, Model("tiny.one", ARCH, "MIT", "s", variants=(variant,)))


@pytest.fixture
def publish():
    return published


@pytest.fixture
def origin():
    torch.manual_seed(1)
    # padded so that a cut in the middle is a cut in the middle
    state = {k: v.clone() for k, v in Tiny(scale=2).state_dict().items()}
    return published({"model": state, "padding": torch.zeros(30_000)}, state, state_key="model")


@pytest.fixture
def options(tmp_path):
    return WeightsOptions(tmp_path / "cache")


@dataclass
class Server:
    """Serves ``data``; each request takes the next step of ``script``, then it behaves."""

    data: bytes = b""
    script: list = field(default_factory=list)
    ranges: bool = True
    requests: list = field(default_factory=list)
    url: str = ""

    def reply(self, handler):
        self.requests.append((handler.path, dict(handler.headers)))
        step = self.script.pop(0) if self.script else None
        if callable(step):
            step(handler, self)
        elif isinstance(step, int):
            handler.send_response(step)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            self.behave(handler)

    def behave(self, handler, data=None, upto=None, etag='"one"'):
        data = self.data if data is None else data
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = 0
        same = handler.headers.get("If-Range", etag) == etag
        if wanted and self.ranges and same:
            start = int(wanted[1])
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            handler.send_response(200)
        handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:upto])
        handler.wfile.flush()
        if upto is not None:
            handler.close_connection = True


@pytest.fixture
def server(origin):
    scripted = Server(origin.data)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(ConnectionError):  # a client that has heard enough
                scripted.reply(self)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    scripted.url = f"http://127.0.0.1:{httpd.server_port}/origin/tiny.pth"
    yield scripted
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Back-off without the waiting; also no proxy of the machine's between us and 127.0.0.1."""
    monkeypatch.setattr("srcli.weights.download.pause", lambda _: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
