"""The bench's rows on the kernel: two network namespaces, TUN devices, our delay and loss hops between them. Short, and about
what the path did, not about how fast: nothing arrives before the round trip, TCP and QUIC are complete whatever was lost."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from program import PROGRAM  # noqa: E402

BENCH = os.path.join(os.path.dirname(PROGRAM), "roamqtt-bench")
SECONDS = 3
RTT_MS = 25.0


def rows(loss):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.json")
        done = subprocess.run([BENCH, "streams", "--kernel", "--seconds", str(SECONDS), "--loss", str(loss), "--json", path],
                              capture_output=True, text=True, timeout=180)
        for line in done.stdout.splitlines():
            if line.startswith("skipped: "):
                raise unittest.SkipTest(line.removeprefix("skipped: "))
        with open(path, encoding="utf-8") as file:
            return done, json.load(file)


@unittest.skipUnless(os.path.exists(BENCH), "no roamqtt-bench beside the program")
class Wire(unittest.TestCase):
    def test_delay_without_loss(self):
        done, found = rows(0)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual([row["mapping"] for row in found], ["TCP", "QUIC, one stream", "QUIC, per topic"])
        for row in found:
            self.assertEqual(row["where"], "kernel")
            self.assertEqual((row["sent"], row["received"], row["dropped"]), (500 * SECONDS, 500 * SECONDS, 0), row)
            self.assertGreaterEqual(row["p50_ms"], RTT_MS, row)

    def test_loss_is_made_good(self):
        done, found = rows(5)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(found), 3)
        for row in found:
            self.assertEqual(row["received"], row["sent"], row)
            self.assertGreater(row["dropped"], 10, row)  # of a few thousand packets, 5 %
            self.assertGreater(row["p99_ms"], RTT_MS + 10, row)  # somebody waited for what was sent again


if __name__ == "__main__":
    unittest.main()
