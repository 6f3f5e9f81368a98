"""A browser without a window, driven by WebDriver (W3C) over plain HTTP: what Debian's chromium and
chromium-driver need to be asked, and no more.

    with Browser(width=1200) as b:
        b.open("page.html")
        b.js("return document.title")
        b.quiet()            # nothing on the console, no request but the page's own
"""
import json, os, pathlib, re, shutil, subprocess, sys, tempfile, time, urllib.error, urllib.request

KEYS = {"Down": "\ue015", "Up": "\ue013", "Left": "\ue012", "Right": "\ue014", "Home": "\ue011", "End": "\ue010",
        "Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "PageDown": "\ue00f", "Backspace": "\ue003"}
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    def __init__(self, width=1300, height=1000, scripts=True, phone=False):
        for program in ("chromium", "chromedriver"):
            if not shutil.which(program):
                sys.exit(f"{program} is not installed: tools/install-deps test")
        self.home = tempfile.mkdtemp(prefix="browser.")
        env = dict(os.environ, HOME=self.home, XDG_CONFIG_HOME=self.home, XDG_CACHE_HOME=self.home)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True, env=env,
                                       stderr=subprocess.STDOUT)
        self.url = self.id = None
        try:
            self.start(width, height, scripts, phone)
        except BaseException:
            self.close()
            raise

    def start(self, width, height, scripts, phone):
        for line in self.driver.stdout:
            m = re.search(r"started successfully on port (\d+)", line)
            if m:
                self.url = f"http://127.0.0.1:{m[1]}"
                break
        prefs = {} if scripts else {"profile.managed_default_content_settings.javascript": 2}
        options = {"binary": shutil.which("chromium"), "prefs": prefs, "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", f"--window-size={width},{height}",
            f"--user-data-dir={self.home}/profile"]}
        if phone: # a window has a least width
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2}}
        reply = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})
        self.id = reply["sessionId"]
        # The browser's own first page asks for things, too.
        self.ask("/url", {"url": "about:blank"})
        self.requests()

    def call(self, method, path, body=None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        r = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(r, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            raise RuntimeError(json.load(e)["value"]["message"].splitlines()[0]) from None

    def ask(self, path, body=None):
        return self.call("POST", f"/session/{self.id}{path}", body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            if self.id:
                self.call("DELETE", f"/session/{self.id}")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.driver.stdout.close()
            shutil.rmtree(self.home, ignore_errors=True)

    def open(self, path):
        self.page = pathlib.Path(path).absolute().as_uri()
        self.ask("/url", {"url": self.page})

    def js(self, code, *args):
        return self.ask("/execute/sync", {"script": code, "args": args})

    def ask_text(self, css):
        return self.call("GET", f"/session/{self.id}/element/{self.find(css)}/text")

    def frames(self, code, *args):
        """Run code, and come back when what follows from it was drawn."""
        self.ask("/execute/async", {"args": args, "script": code + """;
            const done = arguments[arguments.length - 1];
            requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)));"""})

    def find(self, css):
        return self.ask("/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        self.ask(f"/element/{self.find(css)}/click")

    def type(self, css, text):
        self.ask(f"/element/{self.find(css)}/value", {"text": text})

    def press(self, *names):
        """Keys, for whatever has the focus."""
        actions = []
        for n in names:
            k = KEYS.get(n, n)
            actions += [{"type": "keyDown", "value": k}, {"type": "keyUp", "value": k}]
        self.ask("/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def click_at(self, x, y):
        self.ask("/actions", {"actions": [{"type": "pointer", "id": "p", "parameters": {"pointerType": "mouse"},
                              "actions": [{"type": "pointerMove", "x": round(x), "y": round(y), "duration": 0},
                                          {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]}]})

    def move_to(self, x, y):
        self.ask("/actions", {"actions": [{"type": "pointer", "id": "p", "parameters": {"pointerType": "mouse"},
                              "actions": [{"type": "pointerMove", "x": round(x), "y": round(y), "duration": 0}]}]})

    def wait(self, code, *args):
        """Until the expression is true; what it is waited for shows in the failure."""
        end = time.monotonic() + 60
        while not (value := self.js("return " + code, *args)):
            if time.monotonic() > end:
                raise AssertionError(f"never came true: {code} {args}")
            time.sleep(0.05)
        return value

    def console(self):
        return [e["message"] for e in self.ask("/se/log", {"type": "browser"})]

    def requests(self):
        """URLs asked for since the last call, but for those of the browser's own pages."""
        out = []
        for e in self.ask("/se/log", {"type": "performance"}):
            m = json.loads(e["message"])["message"]
            if m["method"] == "Network.requestWillBeSent":
                out.append(m["params"]["request"]["url"])
        return [u for u in out if not u.startswith("chrome:")]

    def quiet(self):
        said, asked = self.console(), self.requests()
        assert not said, f"on the console: {said}"
        assert asked == [self.page], f"requests: {asked}"
