"""A real browser, driven over a pipe by Chromium's own protocol: clicks, keys, screens of any width, what it logs."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium (apt-get install chromium)")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIMIT = 120  # seconds that an answer may take


class Browser:
    """One tab.

    Attributes:
        problems: errors and warnings of the console, and exceptions.
        requests: addresses that the page asked for.
    """

    def __init__(self, profile: Path):
        out, self._write = os.pipe()
        self._read, into = os.pipe()
        for pipe in (out, into):
            os.set_inheritable(pipe, True)
        command = [str(BROWSER), *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads from descriptor 3 and writes to 4
        shell = ["bash", "-c", f'exec 8<&{out} 9>&{into}; exec "$@" 3<&8 4>&9 8<&- 9>&-', "browser", *command]
        self._process = subprocess.Popen(
            shell, pass_fds=(out, into), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for pipe in (out, into):
            os.close(pipe)
        self._numbers, self._rest, self._session = itertools.count(1), b"", None
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._write, self._read):
            os.close(pipe)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, method: str, **params: object) -> dict:
        """The result of one command of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self) -> dict:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], LIMIT)
            part = os.read(self._read, 1 << 20) if ready else b""
            assert part, "the browser says nothing any more"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(message)
        self._note(found.get("method"), found.get("params", {}))
        return found

    def _note(self, method: str | None, params: dict) -> None:
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def size(self, width: int, height: int = 900, print_media: bool = False) -> None:
        """Make the window so large, in pixels, as on a phone below 500."""
        phone = {"mobile": width < 500, "deviceScaleFactor": 1}
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, **phone)
        self.ask("Emulation.setEmulatedMedia", media="print" if print_media else "")

    def open(self, path: Path, ready: str = "document.readyState === 'complete'") -> float:
        """Open a file and wait until an expression is true; the seconds that it took."""
        start = time.perf_counter()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self.wait(ready)
        return time.perf_counter() - start

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.perf_counter() + LIMIT
        while not self.run(f"Boolean({expression})"):
            assert time.perf_counter() < end, f"never true: {expression}; {self.problems}"
            time.sleep(0.02)

    def run(self, expression: str) -> object:
        """The value of an expression, awaited."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def beyond(self) -> object:
        """What is wider than the window, but for what scrolls by itself."""
        return self.run("""[...document.querySelectorAll("body *")].filter(one => !one.closest(".wide, .skip, pre")
            && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.id || one.tagName)""")

    def move(self, x: float, y: float, kind: str = "mouseMoved", **more: object) -> None:
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Press and release the left button at a place of the window."""
        self.drag((x, y), (x, y))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place, release at another."""
        self.move(*start)
        self.move(*start, "mousePressed", button="left", buttons=1, clickCount=1)
        for step in (0.3, 0.6, 1) if start != end else ():
            x, y = (a + step * (b - a) for a, b in zip(start, end))
            self.move(x, y, button="left", buttons=1)
        self.move(*end, "mouseReleased", button="left", clickCount=1)

    def press(self, key: str) -> None:
        """One key, by its name, as Tab."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "ArrowRight": 39}
        named = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": codes[key]}
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def picture(self, path: Path, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        content = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(content))
