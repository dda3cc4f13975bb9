"""Debian's mosquitto clients against our broker over TLS, with client certificates; each refusal tells both sides why."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from certificates import OPENSSL, Authority  # noqa: E402
from program import PATIENCE, Broker, for_each  # noqa: E402


def mosquitto(which, broker, *words, ca, cert=None, key=None, host="localhost", extra=()):
    port = int(bytes(broker.out).split(b"listening tls 127.0.0.1:")[1].split(b"\n")[0])
    words = [which, "-h", host, "-p", str(port), "--cafile", ca, *extra, *words]
    if cert:
        words += ["--cert", cert, "--key", key]
    return subprocess.run(list(map(str, words)), capture_output=True, timeout=PATIENCE)


@unittest.skipUnless(shutil.which("mosquitto_pub") and OPENSSL, "needs mosquitto-clients and openssl")
class ClientCertificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.ca = Authority(cls.folder.name, "ca")
        cls.others = Authority(cls.folder.name, "others")
        cls.server = cls.ca.issue("server")
        cls.device = cls.ca.issue("device", alt="DNS:device", client=True)
        cls.stranger = cls.others.issue("stranger", alt="DNS:stranger", client=True)
        cls.broker = Broker("--cert", cls.server[0], "--key", cls.server[1], "--ca", cls.ca.cert, "--require-client-certificate",
                            listen=("--tls", "127.0.0.1:0"))

    @classmethod
    def tearDownClass(cls):
        cls.broker.close()
        cls.folder.cleanup()

    @for_each(("TLS 1.2", "tlsv1.2", "311"), ("TLS 1.3", "tlsv1.3", "mqttv5"))
    def test_publish_and_subscribe(self, _, tls, version):
        cert, key = self.device
        same = {"ca": self.ca.cert, "cert": cert, "key": key, "extra": ("--tls-version", tls)}
        for qos in "012":
            sent = mosquitto("mosquitto_pub", self.broker, "-V", version, "-t", "kept", "-m", f"qos {qos}", "-q", qos, "-r", **same)
            self.assertEqual(sent.returncode, 0, sent.stderr)
            got = mosquitto("mosquitto_sub", self.broker, "-V", version, "-t", "kept", "-q", qos, "-C", "1", "-W", "10", **same)
            self.assertEqual(got.stdout, f"qos {qos}\n".encode(), got.stderr)

    @for_each(
        ("no certificate", None, "the client has no certificate"),
        ("a stranger's", "stranger", "unknown authority"),
        ("a server's", "server", "not one for clients"),
    )
    def test_each_refusal_tells_why(self, _, who, text):
        cert, key = getattr(self, who) if who else (None, None)
        before = len(self.broker.text)
        sent = mosquitto("mosquitto_pub", self.broker, "-t", "a", "-m", "b", "-q", "1", ca=self.ca.cert, cert=cert, key=key)
        self.assertNotEqual(sent.returncode, 0)
        self.broker.wait_for(lambda: text in self.broker.text[before:], text)

    def test_the_client_refuses_another_broker(self):
        cert, key = self.device
        sent = mosquitto("mosquitto_pub", self.broker, "-t", "a", "-m", "b", ca=self.others.cert, cert=cert, key=key)
        self.assertNotEqual(sent.returncode, 0)
        self.broker.wait_err("the peer does not know the authority of our certificate")


if __name__ == "__main__":
    unittest.main()
