"""Our client over TLS to mosquitto: OpenSSL sends its session tickets right before the CONNACK, in one piece with it."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, run  # noqa: E402

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")


@unittest.skipUnless(MOSQUITTO and shutil.which("openssl"), "needs mosquitto and openssl")
class MosquittoOverTls(unittest.TestCase):
    def test_publish(self):
        with tempfile.TemporaryDirectory() as folder:
            at = lambda name: os.path.join(folder, name)  # noqa: E731
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                            at("key.pem"), "-out", at("cert.pem"), "-days", "2", "-subj", "/CN=test", "-addext",
                            "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, timeout=PATIENCE)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            with open(at("conf"), "w", encoding="utf-8") as file:
                file.write(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\ncertfile {at('cert.pem')}\n"
                           f"keyfile {at('key.pem')}\nlog_dest none\n")
            server = subprocess.Popen([MOSQUITTO, "-c", at("conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.await_listener(port)
                for message in ("one", "two"):
                    result = run("pub", "-L", f"mqtts://127.0.0.1:{port}", "--cafile", at("cert.pem"), "-t", "t", "-m", message, "-q", "1",
                                 "-W", "20")
                    self.assertEqual(result.returncode, 0, result.stderr)
            finally:
                server.kill()
                server.wait()

    def await_listener(self, port):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        self.fail("mosquitto does not listen")


if __name__ == "__main__":
    unittest.main()
