"""The experiment itself, run as a user runs it: `roamqtt demo` and `roamqtt report`, with its negative controls.

No test here looks at how long anything took; figures that depend on the machine's speed are only printed."""
import json
import os
import random
import signal
import struct
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROAMQTT = os.environ.get("ROAMQTT", os.path.join(TOP, "build", "roamqtt"))
NAMES = ["tcp", "tcp-reconnect", "quic-passive", "quic-active"]
HOME, AWAY = "127.0.10.200", "127.0.10.203"


def run(*args, **kwargs):
    return subprocess.run([ROAMQTT, *args], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **kwargs)


def hosts(row):
    return [address.rsplit(":", 1)[0] for address in row["peer_addresses"]]


class Demo(unittest.TestCase):
    """One run as the product is meant to be used; every test of this class reads its results."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.json = os.path.join(cls.folder.name, "figures.json")
        cls.out = os.path.join(cls.folder.name, "out")
        cls.done = run("demo", "--quick", "--out", cls.out, "--json", cls.json)
        cls.figures = {}
        if os.path.exists(cls.json):
            with open(cls.json, encoding="utf-8") as file:
                cls.figures = json.load(file)
        cls.rows = {row["name"]: row for row in cls.figures.get("rows", [])}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_succeeds(self):
        self.assertEqual(self.done.returncode, 0, self.done.stdout + self.done.stderr)
        self.assertIn("As expected", self.done.stdout)

    def test_rows_have_every_column(self):
        self.assertEqual([row["name"] for row in self.figures["rows"]], NAMES)
        for row in self.figures["rows"]:
            for key in ("published", "received", "lost", "duplicated", "gap_ms", "reconnects", "connects"):
                self.assertIsInstance(row[key], (int, float), key)
            self.assertEqual(len(row["peer_addresses"]), 3)
            self.assertEqual(row["published"], 250)
            self.assertEqual(row["published"], row["received"] + row["lost"])
            self.assertEqual(sum(row["delivered"]), row["received"])
            self.assertEqual(row["corrupt"], 0)

    def test_quic_goes_on(self):
        for name in ("quic-passive", "quic-active"):
            row = self.rows[name]
            self.assertEqual((row["lost"], row["duplicated"], row["reconnects"], row["connects"]), (0, 0, 0, 2), name)
            self.assertEqual(hosts(row), [HOME, AWAY, HOME], name)
            print(f"{name}: longest gap {row['gap_ms']} ms, bound {row['gap_bound_ms']} ms")
        self.assertEqual(self.rows["quic-active"]["migrations"], 2)
        self.assertEqual(self.rows["quic-passive"]["migrations"], 0)

    def test_tcp_breaks(self):
        row = self.rows["tcp"]
        self.assertGreater(row["lost"], 150)
        self.assertEqual(row["reconnects"], 0)
        self.assertEqual(hosts(row)[:1], [HOME])

    def test_tcp_with_reconnect_comes_back(self):
        row = self.rows["tcp-reconnect"]
        self.assertGreaterEqual(row["reconnects"], 2)
        self.assertGreaterEqual(row["connects"], 4)
        self.assertEqual(hosts(row), [HOME, AWAY, HOME])
        self.assertEqual(row["lost"], 0)

    def test_changes_are_in_the_figures(self):
        changes = self.figures["changes"]
        self.assertEqual([(c["from"], c["to"]) for c in changes], [(HOME, AWAY), (AWAY, HOME)])
        self.assertGreaterEqual(changes[0]["at_ms"], self.figures["options"]["rebind_at_ms"])

    def test_a_line_a_second_shows_the_stall(self):
        lines = [line.split() for line in self.done.stderr.splitlines() if " s " in line[:7]]
        self.assertEqual([line[0] for line in lines], ["1", "2", "3", "4", "5"])
        self.assertEqual(lines[4][2], "0", "tcp in the last second")
        self.assertNotEqual(lines[4][5], "0", "quic-active in the last second")

    def test_report_makes_the_same_again(self):
        again, plot = os.path.join(self.folder.name, "again.json"), os.path.join(self.folder.name, "again.svg")
        done = run("report", os.path.join(self.out, "demo.cbor"), "--json", again, "--plot", plot)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, self.done.stdout)
        for a, b in ((self.json, again), (os.path.join(self.out, "plot.svg"), plot),
                     (os.path.join(self.out, "plot.png"), plot[:-3] + "png")):
            with open(a, "rb") as first, open(b, "rb") as second:
                self.assertEqual(first.read(), second.read(), b)

    def test_plot_is_a_picture(self):
        with open(os.path.join(self.out, "plot.png"), "rb") as file:
            head = file.read(24)
        self.assertEqual(head[:8], b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", head[16:])
        self.assertTrue(width >= 1000 and height >= 600, (width, height))
        with open(os.path.join(self.out, "plot.svg"), encoding="utf-8") as file:
            self.assertIn("<svg", file.read(400))

    def test_json_to_stdout_leaves_the_table_to_stderr(self):
        done = run("report", os.path.join(self.out, "demo.cbor"), "--json", "-")
        self.assertEqual(json.loads(done.stdout), self.figures)
        self.assertIn("peer address before", done.stderr)

    def test_report_refuses_cut_and_mutated_recordings(self):
        with open(os.path.join(self.out, "demo.cbor"), "rb") as file:
            whole = file.read()
        chance = random.Random(7)
        path = os.path.join(self.folder.name, "bad.cbor")
        for turn in range(150):
            bad = bytearray(whole)
            if turn % 2:
                for _ in range(chance.randrange(1, 6)):
                    bad[chance.randrange(min(len(bad), 2000) if turn % 4 == 1 else len(bad))] = chance.randrange(256)
            else:
                bad = bad[: chance.randrange(len(bad))]
            with open(path, "wb") as file:
                file.write(bad)
            done = run("report", path)
            self.assertIn(done.returncode, (0, 1), (turn, done.stderr))
            if done.returncode:
                self.assertIn("bad.cbor", done.stderr)


class Controls(unittest.TestCase):
    """Runs in which the outcome must be another one."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = os.path.join(self.folder.name, "out")

    def tearDown(self):
        self.folder.cleanup()

    def demo(self, *args):
        done = run("demo", "--out", self.out, "--json", "-", *args)
        rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]} if done.stdout else {}
        return done, rows

    def test_without_an_address_change_nothing_breaks(self):
        done, rows = self.demo("--duration", "2s", "--rebind-at", "never")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("no address change: nothing broke", done.stderr)
        for row in rows.values():
            self.assertEqual((row["lost"], row["reconnects"], row["connects"]), (0, 0, 2), row["name"])
            self.assertEqual(hosts(row), [HOME] * 3, row["name"])

    def test_a_broker_that_ignores_new_addresses_fails_the_experiment(self):
        done, rows = self.demo("--quick", "--broken-broker")
        self.assertEqual(done.returncode, 99, done.stderr)
        self.assertIn("quic-", done.stderr.splitlines()[-1])
        self.assertNotEqual(hosts(rows["quic-passive"]), [HOME, AWAY, HOME])

    def test_without_return_the_new_address_stays(self):
        done, rows = self.demo("--duration", "2s", "--rebind-at", "500ms", "--return-at", "never")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(hosts(rows["quic-passive"]), [HOME, AWAY, AWAY])
        self.assertEqual(hosts(rows["quic-active"]), [HOME, AWAY, AWAY])

    def test_every_quality_of_service(self):
        for qos in ("0", "2"):
            done, rows = self.demo("--duration", "2s", "--qos", qos, "--payload", "5000", "--rebind-at", "500ms",
                                   "--rtt", "0")
            for name, row in rows.items():
                self.assertEqual((row["corrupt"], row["duplicated"]), (0, 0), (qos, name))
            self.assertEqual(rows["quic-active"]["lost"], 0, qos)
            if qos == "2":
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_interrupted_it_still_tells_what_it_saw(self):
        child = subprocess.Popen([ROAMQTT, "demo", "--out", self.out], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True)
        for line in child.stderr:
            if line.startswith("   1 s"):
                break
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
        self.assertEqual(child.returncode, 130, err)
        self.assertIn("quic-active", out)


class BadInput(unittest.TestCase):
    CASES = [
        (["demo", "--rate", "0"], "--rate"),
        (["demo", "--rate", "many"], "--rate"),
        (["demo", "--qos", "3"], "--qos"),
        (["demo", "--payload", "3"], "--payload"),
        (["demo", "--duration", "20"], "--duration"),
        (["demo", "--rebind-at", "30s"], "--rebind-at"),
        (["demo", "--return-at", "1s"], "--return-at"),
        (["demo", "--rebind-at", "never", "--return-at", "1s"], "--return-at"),
        (["demo", "--plot", "plot.gif"], "--plot"),
        (["demo", "--rebound-at", "5s"], "--rebind-at"),
        (["demo", "--out", "/proc/none/there"], "--out"),
        (["demo", "left-over"], "left-over"),
        (["report"], "recording"),
        (["report", "/nowhere/demo.cbor"], "/nowhere/demo.cbor"),
        (["report", "/dev/null"], "/dev/null"),
        (["report", "/dev/null", "--plot", "x"], "--plot"),
    ]

    def test_names_the_option_and_exits_1(self):
        for args, word in self.CASES:
            done = run(*args)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(word, done.stderr, args)
            self.assertEqual(done.stdout, "", args)


if __name__ == "__main__":
    unittest.main()
