"""A headless Chromium, driven by chromedriver over HTTP (W3C WebDriver); no package of Python."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

CHROMIUM = os.environ.get("DIFFEXP_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = os.environ.get("DIFFEXP_CHROMEDRIVER") or shutil.which("chromedriver")
KEYS = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015", "space": " ", "tab": "\ue004"}
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """A session. profile: its folder, in which what a page keeps stays for the next session."""

    def __init__(self, port, profile, width, dark):
        self.server = f"http://127.0.0.1:{port}"
        args = [*_FLAGS, f"--user-data-dir={profile / 'profile'}", f"--window-size={width},900"]
        args += ["--blink-settings=preferredColorScheme=0"] * dark
        prefs = {
            "download.default_directory": str(profile / "downloads"),
            "download.prompt_for_download": False,
        }
        chrome = {"binary": CHROMIUM, "args": args, "prefs": prefs}
        wanted = {"browserName": "chrome", "goog:chromeOptions": chrome}
        wanted |= {"goog:loggingPrefs": {"browser": "ALL"}, "unhandledPromptBehavior": "accept"}
        self.path = "/session"
        made = self.ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.path = f"/session/{made['sessionId']}"

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server}{self.path}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def open(self, path):
        self.ask("POST", "/url", {"url": path.as_uri()})

    def run(self, script, *args):
        return self.ask("POST", "/execute/sync", {"script": script, "args": args})

    def press(self, *names):
        down = [{"type": k, "value": KEYS.get(n, n)} for n in names for k in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": down}]})

    def click(self, selector):
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        self.ask("POST", f"/element/{next(iter(found.values()))}/click", {})

    def type(self, selector, text):
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        self.ask("POST", f"/element/{next(iter(found.values()))}/value", {"text": text})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def complaints(self):
        return [row["message"] for row in self.ask("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))


@contextmanager
def browser(profile, width=1100, dark=False):
    """Yield a Browser; the driver and its Chromium are gone at the end."""
    (profile / "downloads").mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            line = next(line for line in driver.stdout if "successfully on port" in line)
            view = Browser(int(line.rstrip(".\n").rpartition(" ")[2]), profile, width, dark)
            yield view
            view.ask("DELETE", "")
        finally:
            driver.terminate()


def downloaded(profile, seconds=20):
    """The only file that was saved, when it is whole."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        files = [f for f in (profile / "downloads").iterdir() if f.suffix == ".json"]
        if files:
            return files[0]
        time.sleep(0.1)
    raise AssertionError("nothing was saved")
