"""A headless Chromium, driven through its DevTools protocol over a pipe, with the stdlib alone."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
PATIENCE_S = 60


def find():
    """The program's path, or None."""
    named = [os.environ.get("SRCLI_CHROMIUM", ""), *NAMES]
    return next((path for path in map(shutil.which, filter(None, named)) if path), None)


class Browser:
    """One browser with one tab; ``events`` holds all that it told unasked."""

    def __init__(self, program, profile):
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        # out of the way of 3 and 4, which Chromium reads and writes
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (to_browser, from_browser)]
        os.close(to_browser)
        os.close(from_browser)

        def place():  # in the new process, before it becomes Chromium: takes no locks
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=place,  # noqa: PLW1509
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in high:
            os.close(fd)
        self._buffer, self._number, self._session = b"", 0, None
        self.events = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """Call a method and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self._number:
                assert "error" not in got, (method, got["error"])
                return got["result"]
            self.events.append(got)

    def _next(self):
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], until - time.monotonic())
            assert ready, f"Chromium is silent; it ended with {self._process.poll()}"
            data = os.read(self._from, 1 << 20)
            assert data, f"Chromium closed the pipe; it ended with {self._process.poll()}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def open(self, url, width=1280, height=800, *, mobile=False, dark=True, pixel_ratio=1):
        """Load a page in a window of this size; ``events`` begins anew."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=pixel_ratio,
            mobile=mobile,
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=mobile, maxTouchPoints=5)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        # another address first: one that differs in its hash only would not load again
        self._go("about:blank")
        self.events.clear()
        self._go(url)
        self.settle()

    def _go(self, url):
        self.send("Page.navigate", url=url)
        until = time.monotonic() + PATIENCE_S
        while self.run("document.readyState") != "complete" or (
            self.run("location.protocol") == "about:"
        ) != url.startswith("about:"):
            assert time.monotonic() < until, f"{url} does not load"
            time.sleep(0.01)

    def run(self, expression):
        """The value of a JavaScript expression, promises awaited."""
        got = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def settle(self):
        """Wait until what was asked for is drawn."""
        self.run(
            "Promise.all([...document.images].map((i) => i.decode()))"
            ".then(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))))"
        )

    def key(self, key, code="", *, shift=False, text=""):
        """Press and let go."""
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind if text or kind == "keyUp" else "rawKeyDown",
                key=key,
                code=code,
                modifiers=8 if shift else 0,
                windowsVirtualKeyCode={"Tab": 9, "Enter": 13, "Escape": 27}.get(key, 0),
                **({"text": text} if text and kind == "keyDown" else {}),
            )
        self.settle()

    def mouse(self, kind, x, y, **more):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start, end):
        """With the left button, in a few steps."""
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, button="left", buttons=1, clickCount=1)
        for k in (1, 2, 3):
            at = [a + (b - a) * k / 3 for a, b in zip(start, end, strict=True)]
            self.mouse("mouseMoved", *at, button="left", buttons=1)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)
        self.settle()

    def touch(self, kind, *points):
        self.send(
            "Input.dispatchTouchEvent",
            type=kind,
            touchPoints=[{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)],
        )

    def screenshot(self):
        """PNG bytes of the window."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def close(self):
        with contextlib.suppress(AssertionError, OSError):
            self._session = None
            self.send("Browser.close")
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
