"""Password files and access lists of Debian's mosquitto: what mosquitto_passwd makes, our broker reads, and its clients log in;
its access lists mean here what they mean there."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, Broker, run  # noqa: E402

MAKER = shutil.which("mosquitto_passwd")
LIST = "user alice\ntopic readwrite home/#\ntopic write log\npattern read device/%c/%u\n"


@unittest.skipUnless(MAKER and shutil.which("mosquitto_pub"), "needs mosquitto and mosquitto-clients")
class MosquittoFiles(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.passwords, self.acl = (os.path.join(folder.name, name) for name in ("passwords", "acl"))
        with open(self.acl, "w", encoding="utf-8") as file:
            file.write(LIST)
        for words in (["-c", "-b", self.passwords, "alice", "s p:a$ce"], ["-b", "-H", "sha512", self.passwords, "bob", "geheim"]):
            subprocess.run([MAKER, *words], check=True, capture_output=True, timeout=PATIENCE)

    def mosquitto(self, program, port, *words):
        return subprocess.run([program, "-h", "127.0.0.1", "-p", str(port), *words], capture_output=True, timeout=PATIENCE)

    def test_its_hashes_let_its_clients_in(self):
        self.assertEqual(run("passwd", "-b", self.passwords, "carol", "ours").returncode, 0)
        with Broker("--password-file", self.passwords) as broker:
            for user, password in (("alice", "s p:a$ce"), ("bob", "geheim"), ("carol", "ours")):
                for version in ("311", "mqttv5"):
                    with self.subTest(f"{user} {version}"):
                        words = ["-V", version, "-t", "t", "-m", "x", "-q", "1", "-u", user]
                        good = self.mosquitto("mosquitto_pub", broker.tcp, *words, "-P", password)
                        self.assertEqual(good.returncode, 0, good.stderr)
                        bad = self.mosquitto("mosquitto_pub", broker.tcp, *words, "-P", password + "x")
                        self.assertNotEqual(bad.returncode, 0)
                        self.assertIn(b"bad user name or password", bad.stderr.lower())
            self.assertEqual(broker.stop(), 0, broker.text)

    def test_its_lists_mean_the_same(self):
        with Broker("--password-file", self.passwords, "--acl-file", self.acl) as broker:
            def pub(topic):
                return self.mosquitto("mosquitto_pub", broker.tcp, "-V", "mqttv5", "-u", "alice", "-P", "s p:a$ce", "-q", "1", "-m", "x",
                                      "-t", topic).stderr.lower()
            self.assertNotIn(b"not authorized", pub("home/x"))
            self.assertNotIn(b"not authorized", pub("log"))
            self.assertIn(b"not authorized", pub("device/c/alice"))
            self.assertIn(b"not authorized", pub("elsewhere"))
            self.assertEqual(broker.stop(), 0, broker.text)


if __name__ == "__main__":
    unittest.main()
