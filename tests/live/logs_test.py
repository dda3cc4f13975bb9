"""--log-format json on real sockets: each line of a broker's and of a client's session is an object of its own, and one that has a name has
the level and exactly the fields that core/base/trace.def (docs/guide/logs.md) gives it."""
import contextlib
import json
import os
import re
import socket
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "house"))
from trace_test import events  # noqa: E402
from program import Broker, Sub, run  # noqa: E402

LISTED = {name: (level, fields) for _, name, level, _, fields in events()}
HOSTILE = 'a"b\\,{}\u202e\u009b[2Jx'


class Logs(unittest.TestCase):
    def check(self, text):
        """Every line; returns the named ones."""
        named = []
        for line in text.splitlines():
            entry = json.loads(line)
            self.assertRegex(entry["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            if entry["event"] != "log":
                self.assertNotIn("name", entry, line)
                continue
            self.assertIn(entry["level"], ("error", "warning", "notice", "info", "debug"))
            self.assertIsInstance(entry["text"], str)
            if "name" not in entry:
                self.assertEqual(set(entry), {"time", "event", "level", "text"}, line)
                continue
            level, fields = LISTED[entry["name"]]
            self.assertEqual(entry["level"], level, line)
            self.assertEqual(list(entry), ["time", "event", "level", "text", "name", *(name for _, name in fields)], line)
            for kind, name in fields:
                if kind == "TEXT":
                    self.assertIsInstance(entry[name], (str, type(None)), line)
                else:
                    self.assertIs(type(entry[name]), int, line)
            named.append(entry)
        return named

    def one(self, named, name, **fields):
        found = [entry for entry in named if entry["name"] == name and all(entry[key] == value for key, value in fields.items())]
        self.assertTrue(found, f"{name} {fields}: not in {sorted({entry['name'] for entry in named})}")
        return found[0]

    def session(self, *words):
        with Broker("--log-level", "debug", "--log-format", "json", *words) as broker:
            mover = ["-i", "mover", "-t", "a", "-W", 20, "-C", 1, "--migrate-at", "0s=127.0.0.2", "--log-format", "json"]
            with Sub(*broker.at("quic"), *mover) as sub:
                broker.wait_err('"CLIENT_MOVED"')
                for transport in ("tcp", "quic"):
                    done = run("pub", *broker.at(transport), "-i", HOSTILE, "-t", "a", "-m", "b", "-q", 1, "-d", "--log-format", "json")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.one(self.check(done.stderr), "PHASE", client=HOSTILE, to="connected")
                self.assertEqual(sub.wait(), 0)
                moved = self.one(self.check(sub.text), "PATH_CHANGED", client="mover", what="moved")
                self.assertTrue(moved["to"].startswith("127.0.0.2:"), moved)
            with socket.create_connection(("127.0.0.1", broker.tcp)) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                stranger.settimeout(20)
                with contextlib.suppress(ConnectionError):
                    while stranger.recv(100):
                        pass
            broker.wait_err('"CONNECTION_REFUSED"')
            self.assertEqual(broker.stop(), 0)
            return broker.text

    def test_every_line_of_a_session_is_as_documented(self):
        text = self.session()
        named = self.check(text)
        for transport in ("tcp", "quic"):
            self.one(named, "LISTENING", transport=transport)
            connected = self.one(named, "CLIENT_CONNECTED", client=HOSTILE, transport=transport, session=None)
            self.assertRegex(connected["address"], r"^127\.0\.0\.1:\d+$")
            self.assertNotIn("\u202e", connected["text"])
        moved = self.one(named, "CLIENT_MOVED", client="mover")
        self.assertRegex(moved["from"] + moved["to"], r"^127\.0\.0\.1:\d+127\.0\.0\.2:\d+$")
        self.one(named, "CLIENT_DISCONNECTED", client="mover")
        self.one(named, "CONNECTION_REFUSED")
        self.one(named, "QUIC_CLOSED", result="ok")
        for event in ("PEER_CONNECTED", "PEER_MOVED", "PEER_DISCONNECTED", "PEER_REFUSED"):
            self.assertIn(f'"event":"{event}"', text)
        self.assertIsNone(re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", text), "a character that moves a cursor")

    def test_workers_write_whole_lines(self):
        named = self.check(self.session("--workers", 2))
        self.one(named, "CLIENT_MOVED", client="mover")

    def test_why_a_client_does_not_connect(self):
        with socket.create_server(("127.0.0.1", 0)) as dead:
            port = dead.getsockname()[1]
        done = run("pub", "-L", f"mqtt://127.0.0.1:{port}", "-i", "c", "-t", "a", "-m", "b", "-d", "--log-format", "json")
        self.assertEqual(done.returncode, 2)
        lines = done.stderr.splitlines()
        sentences = [line for line in lines if line.startswith("roamqtt pub: ")]
        self.assertEqual(len(sentences), 1, "what ends a command is a sentence")
        lines.remove(sentences[0])
        self.one(self.check("\n".join(lines)), "CONNECT_FAILED", client="c", url=f"mqtt://127.0.0.1:{port}")

    def test_other_formats_are_refused(self):
        for words in (["pub", "-t", "a", "-n"], ["sub", "-t", "a"], ["demo"], ["broker"]):
            done = run(*words, "--log-format", "xml")
            self.assertEqual(done.returncode, 1)
            self.assertIn("--log-format: ", done.stderr)
            self.assertIn("json", done.stderr)


if __name__ == "__main__":
    unittest.main()
