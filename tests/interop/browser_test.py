"""MQTT.js in headless Chromium over WebSocket, plain and with TLS: a page publishes and subscribes, and a page of another site is not
let in."""
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from certificates import OPENSSL, Authority  # noqa: E402
from program import ROOT, Broker, Sub, run  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGE = """<!doctype html><title>roamqtt</title><script src="mqtt.js"></script><script>
const said = [], say = (what) => { said.push(what); fetch("/said", {method: "POST", body: JSON.stringify(said)}); };
const client = mqtt.connect("@URL@", {protocolVersion: @VERSION@, reconnectPeriod: 0, connectTimeout: 8000, clientId: "page"});
let heard = 0;
client.on("connect", () => {
  say("connected");
  client.subscribe("page/#", {qos: 1}, (error, granted) => {
    say("subscribed " + granted[0].qos);
    for (const qos of [0, 1, 2])
      client.publish("page/" + qos, "x".repeat(qos * 70000) + "hello from the browser", {qos}, () => say("published " + qos));
  });
});
client.on("message", (topic, payload) => { say("got " + topic + " " + payload.length); if (++heard == 3) client.end(false, {}, () => say("done")); });
client.on("error", (error) => say("error " + error.message));
client.on("close", () => say("close"));
</script>"""


def bundle():
    """The path of MQTT.js for browsers; None: it is not there."""
    path = os.path.join(ROOT, "build", "mqttjs", "node_modules", "mqtt", "dist", "mqtt.min.js")
    return path if os.path.exists(path) else None


class Site(http.server.BaseHTTPRequestHandler):
    """The page, the bundle, and what the page says."""

    def __init__(self, said, page, script, *words):
        self.said, self.page, self.script = said, page, script
        super().__init__(*words)

    def do_GET(self):
        body, kind = (self.script, "text/javascript") if self.path == "/mqtt.js" else (self.page, "text/html")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        with self.said["news"]:
            words = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.said["words"] = max(self.said["words"], words, key=len)
            self.said["news"].notify_all()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def visit(url, until, version=5, host="127.0.0.1"):
    """Opens the page in Chromium; what it said up to a word that begins with `until`."""
    with open(bundle(), "rb") as file:
        script = file.read()
    said = {"words": [], "news": threading.Condition()}
    page = PAGE.replace("@URL@", url).replace("@VERSION@", str(version)).encode()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Site, said, page, script)) as server, \
            tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--ignore-certificate-errors", "--disable-background-networking", f"--user-data-dir={profile}",
             f"http://{host}:{server.server_address[1]}/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            with said["news"]:
                said["news"].wait_for(lambda: any(word.startswith(until) for word in said["words"]), timeout=60)
                return list(said["words"])
        finally:
            os.killpg(browser.pid, 9)
            browser.wait()
            server.shutdown()


@unittest.skipUnless(CHROMIUM, "needs chromium")
class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not bundle():
            raise unittest.SkipTest("needs MQTT.js (./dev test installs it)")
        if not OPENSSL:
            raise unittest.SkipTest("needs openssl")
        cls.folder = tempfile.TemporaryDirectory()
        cert, key = Authority(cls.folder.name).issue("server")  # browsers know no Ed25519, which the throw-away CA has
        cls.broker = Broker("--cert", cert, "--key", key,
                            listen=("--tcp", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--wss", "127.0.0.1:0"))
        ports = dict(re.findall(rb"listening (\w+) 127.0.0.1:(\d+)", bytes(cls.broker.out)))
        cls.ports = {name.decode(): int(port) for name, port in ports.items()}

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()
        cls.folder.cleanup()

    def test_publishes_and_subscribes(self):
        for transport, version in (("ws", 5), ("ws", 4), ("wss", 5)):
            with self.subTest(f"{transport} {version}"), \
                    Sub("-L", f"mqtt://127.0.0.1:{self.ports['tcp']}", "-t", "page/#", "-q", 2, "-C", 3, "-W", 60) as sub:
                said = visit(f"{transport}://127.0.0.1:{self.ports[transport]}/mqtt", "done", version)
                self.assertEqual(said[0], "connected", said)
                for word in ("subscribed 1", "published 0", "published 1", "published 2", "got page/0 22", "got page/1 70022",
                             "got page/2 140022", "done"):
                    self.assertIn(word, said)
                self.assertEqual(sub.wait(), 0, sub.text)
                self.assertIn("client page connected from 127.0.0.1", self.broker.text)

    def test_another_sites_page_is_not_let_in(self):
        said = visit(f"ws://127.0.0.1:{self.ports['ws']}/mqtt", "close", host="localhost")
        self.assertNotIn("connected", said)
        self.broker.wait_err("403 Forbidden")
        self.broker.wait_err("ws_origins")

    def test_a_wrong_path_tells_why(self):
        said = visit(f"ws://127.0.0.1:{self.ports['ws']}/chat", "close")
        self.assertNotIn("connected", said)
        self.broker.wait_err("404 Not Found")


if __name__ == "__main__":
    unittest.main()
