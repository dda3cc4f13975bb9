"""MQTT.js (npm) against our broker over TCP: 3.1.1 and 5.0, every QoS, retained messages, wills, kept sessions, 5.0's properties, aliases,
options, shared subscriptions, take-over. The scenarios are in mqttjs_peer.cjs."""
import os
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from program import WithBroker  # noqa: E402

MODULES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "mqttjs", "node_modules")
EITHER = ("qos", "retained", "will", "session", "large")
FIVE = ("properties", "aliases", "options", "shared", "takeover")


@unittest.skipUnless(shutil.which("node") and os.path.isdir(os.path.join(MODULES, "mqtt")), "needs node and MQTT.js (./dev test installs it)")
class OurBroker(WithBroker, unittest.TestCase):
    def hold(self, scenario, version):
        with self.subTest(f"{scenario} {version}"):
            done = subprocess.run(["node", os.path.join(HERE, "mqttjs_peer.cjs"), scenario, f"mqtt://127.0.0.1:{self.broker.tcp}", str(version)],
                                  env={**os.environ, "NODE_PATH": MODULES}, capture_output=True, text=True, timeout=90)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_both_versions(self):
        for scenario in EITHER:
            for version in (4, 5):
                self.hold(scenario, version)

    def test_five(self):
        for scenario in FIVE:
            self.hold(scenario, 5)


if __name__ == "__main__":
    unittest.main()
