"""What the tests of the command line share: the program under test, a broker of it on free ports, a subscriber that says when it is
ready. ROAMQTT names the program (default: build/roamqtt). Everything is bounded in time and uses loopback only."""
import functools
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.abspath(os.path.join(ROOT, os.environ.get("ROAMQTT", os.path.join("build", "roamqtt"))))
PATIENCE = 30


def for_each(*cases):
    """Runs a test method once for each case, as its arguments; a case's first argument names it in a failure."""
    def decorate(test):
        @functools.wraps(test)
        def run_all(self):
            for case in cases:
                words = case if isinstance(case, tuple) else (case,)
                with self.subTest(str(words[0])):
                    test(self, *words)
        return run_all
    return decorate


def run(*words, data=None, timeout=PATIENCE, env=None):
    """Runs the program to its end; stdout and stderr are bytes and text."""
    result = subprocess.run([PROGRAM, *map(str, words)], input=data if data is not None else b"", capture_output=True,
                            timeout=timeout, env={**os.environ, "NO_COLOR": "1", **(env or {})})
    result.stderr = result.stderr.decode(errors="replace")
    return result


class Process:
    """A running program whose stdout (bytes) and stderr (text) are collected while it runs."""

    def __init__(self, *words, env=None, stdin=subprocess.DEVNULL, program=PROGRAM):
        self.process = subprocess.Popen([program, *map(str, words)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, "NO_COLOR": "1", **(env or {})})
        self.out, self.err = bytearray(), bytearray()
        self.news = threading.Condition()
        self.threads = [threading.Thread(target=self._collect, args=pair, daemon=True)
                        for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))]
        for thread in self.threads:
            thread.start()

    def _collect(self, stream, into):
        while chunk := stream.read1(65536):
            with self.news:
                into += chunk
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def wait_for(self, predicate, what, timeout=PATIENCE):
        end = time.monotonic() + timeout
        with self.news:
            while not predicate():
                left = end - time.monotonic()
                ended = self.process.poll() is not None and not any(thread.is_alive() for thread in self.threads)
                if left <= 0 or ended:
                    raise AssertionError(f"{what}: not seen; stdout {bytes(self.out)[-500:]!r}, stderr {bytes(self.err)[-800:]!r}")
                self.news.wait(min(left, 0.2))

    def wait_err(self, text, timeout=PATIENCE):
        self.wait_for(lambda: text.encode() in self.err, f"{text!r} on stderr", timeout)

    def wait_out(self, data, timeout=PATIENCE):
        self.wait_for(lambda: data in self.out, f"{data!r} on stdout", timeout)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE):
        """The exit code, once all output is in."""
        code = self.process.wait(timeout)
        for thread in self.threads:
            thread.join(timeout)
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        if self.process.stdin:
            self.process.stdin.close()

    @property
    def text(self):
        return bytes(self.err).decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Broker(Process):
    """`roamqtt broker` on free loopback ports, with a state folder of its own."""

    def __init__(self, *words, state=None, listen=("--tcp", "127.0.0.1:0", "--quic", "127.0.0.1:0")):
        self.folder = None if state else tempfile.TemporaryDirectory()
        self.state = state or self.folder.name
        super().__init__("broker", *listen, *words, env={"XDG_STATE_HOME": self.state})
        try:
            self.wait_out(b"ready")
        except AssertionError:
            self.close()
            raise
        self.tcp, self.quic = self._port("tcp"), self._port("quic")
        self.ca = os.path.join(self.state, "roamqtt", "ca.pem")

    def _port(self, transport):
        found = re.search(rb"listening " + transport.encode() + rb" \S+:(\d+)", bytes(self.out))
        return int(found[1]) if found else None

    def at(self, transport, host="127.0.0.1"):
        """The words that lead pub and sub here."""
        if transport == "tcp":
            return ["-L", f"mqtt://{host}:{self.tcp}"]
        return ["-L", f"mqtt-quic://{host}:{self.quic}", "--cafile", self.ca]

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self):
        super().close()
        if self.folder:
            self.folder.cleanup()


class WithBroker:
    """Before unittest.TestCase: one broker for all tests of the class, which must end well."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.broker = Broker()

    @classmethod
    def tearDownClass(cls):
        code = cls.broker.stop()
        text = cls.broker.text
        cls.broker.close()
        super().tearDownClass()
        assert code == 0, f"the broker ended with {code}: {text[-2000:]}"


class Sub(Process):
    """`roamqtt sub`, subscribed once this returns."""

    def __init__(self, *words):
        super().__init__("sub", "-d", *words)
        try:
            self.wait_err("subscribed")
        except AssertionError:
            self.close()
            raise
