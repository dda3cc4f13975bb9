"""Passwords, access lists and SCRAM-SHA-256 on real sockets: roamqtt passwd makes the file, the broker reads it, and each refusal says
why."""
import os
import stat
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import Broker, Sub, for_each, run  # noqa: E402

each = for_each("quic", "tcp")
LIST = "user alice\ntopic readwrite home/#\ntopic deny home/secret\nuser bob\ntopic read home/#\n"


class Passwd(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "passwords")

    def read(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read().splitlines()

    def test_a_file_is_made_changed_and_emptied(self):
        self.assertEqual(run("passwd", "-c", self.path, "alice", data=b"secret\n").returncode, 0)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        first = self.read()
        self.assertRegex(first[0], r"^alice:SCRAM-SHA-256\$15000:[^$:]+\$[^:]+:\S+$")
        self.assertEqual(run("passwd", "-b", "-I", "4096", self.path, "bob", "geheim").returncode, 0)
        self.assertEqual(run("passwd", self.path, "alice", data=b"other").returncode, 0)
        lines = self.read()
        self.assertEqual([line.split(":")[0] for line in lines], ["alice", "bob"])
        self.assertNotEqual(lines[0], first[0])
        self.assertIn("$4096:", lines[1])
        self.assertEqual(run("passwd", "-D", self.path, "alice").returncode, 0)
        self.assertEqual(self.read(), lines[1:])
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["passwords"], "a temporary file was left behind")

    def test_wrong_usage_says_what_is_meant(self):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("# people\nalice:secret\n")
        cases = [
            (["passwd", "/no/such", "alice"], ["/no/such", "-c"]),
            (["passwd", self.path, "alice"], ["line 2", "not a hash"]),
            (["passwd", "-c", self.path], ["FILE and USER"]),
            (["passwd", "-c", self.path, "a:b"], ["colon"]),
            (["passwd", "-c", "-b", self.path, "a"], ["PASSWORD"]),
            (["passwd", "-c", self.path, "a"], ["no password"]),
            (["passwd", "-c", "-D", self.path, "a"], ["-D"]),
            (["broker", "--tcp", "127.0.0.1:0", "--password-file", self.path], ["--password-file", "line 2"]),
            (["broker", "--tcp", "127.0.0.1:0", "--acl-file", self.path], ["--acl-file", "line 2", "topic"]),
            (["pub", "-t", "a", "-n", "--auth-method", "PLAIN"], ["--auth-method", "SCRAM-SHA-256"]),
            (["pub", "-t", "a", "-n", "-u", "a", "--auth-method", "SCRAM-SHA-256"], ["-P"]),
        ]
        for words, expected in cases:
            with self.subTest(" ".join(words)):
                result = run(*words)
                self.assertEqual(result.returncode, 1, result.stderr)
                for word in expected:
                    self.assertIn(word, result.stderr)


class Access(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        passwords, acl = (os.path.join(cls.folder.name, name) for name in ("passwords", "acl"))
        for flags, user, password in ((["-c"], "alice", "secret"), ([], "bob", "geheim")):
            assert run("passwd", *flags, "-b", passwords, user, password).returncode == 0
        with open(acl, "w", encoding="utf-8") as file:
            file.write(LIST)
        cls.broker = Broker("--password-file", passwords, "--acl-file", acl, "--login-failures-max", "1000")

    @classmethod
    def tearDownClass(cls):
        code = cls.broker.stop()
        text = cls.broker.text
        cls.broker.close()
        cls.folder.cleanup()
        assert code == 0, f"the broker ended with {code}: {text[-2000:]}"

    def pub(self, transport, *words):
        return run("pub", *self.broker.at(transport), "-m", "x", *words)

    def assert_refused(self, result, code, *words):
        self.assertEqual(result.returncode, code, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    @each
    def test_those_with_a_password_talk(self, transport):
        for how in ([], ["--auth-method", "SCRAM-SHA-256"], ["-V", "311"]):
            with self.subTest(how):
                with Sub(*self.broker.at(transport), "-t", "home/#", "-C", "1", "-u", "bob", "-P", "geheim", *how) as sub:
                    result = self.pub(transport, "-t", "home/x", "-q", "1", "-u", "alice", "-P", "secret", *how)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    self.assertEqual(sub.wait(), 0, sub.text)

    @each
    def test_a_wrong_password_is_refused(self, transport):
        self.assert_refused(self.pub(transport, "-t", "home/x", "-u", "alice", "-P", "no"), 4, "0x86", "-u and -P")
        self.assert_refused(self.pub(transport, "-t", "home/x", "-u", "alice", "-P", "no", "-V", "311"), 4, "0x86")
        self.assert_refused(self.pub(transport, "-t", "home/x", "-u", "nobody", "-P", "secret"), 4, "0x86")

    @each
    def test_a_wrong_proof_is_refused(self, transport):
        self.assert_refused(self.pub(transport, "-t", "home/x", "-u", "alice", "-P", "no", "--auth-method", "SCRAM-SHA-256"), 4,
                            "0x87", "SCRAM-SHA-256: bad user name or password")

    @each
    def test_the_nameless_are_told_what_is_wanted(self, transport):
        self.assert_refused(self.pub(transport, "-t", "home/x"), 4, "0x87", "wants a user name and a password")

    @each
    def test_a_publish_that_is_not_allowed_is_refused(self, transport):
        self.assert_refused(self.pub(transport, "-t", "home/x", "-q", "1", "-u", "bob", "-P", "geheim"), 7, "not authorized")
        self.assert_refused(self.pub(transport, "-t", "home/secret", "-q", "2", "-u", "alice", "-P", "secret"), 7, "not authorized")

    @each
    def test_a_subscription_that_is_not_allowed_is_refused(self, transport):
        result = run("sub", *self.broker.at(transport), "-t", "work/#", "-u", "bob", "-P", "geheim")
        self.assert_refused(result, 6, "not authorized")

    def test_failures_block_their_address_and_no_other(self):
        passwords = os.path.join(self.folder.name, "passwords")
        with Broker("--password-file", passwords, "--login-failures-max", "2") as broker:
            def pub(*words):
                return run("pub", *broker.at("tcp"), "-m", "x", "-t", "t", "-u", "alice", *words)
            for _ in range(2):
                self.assert_refused(pub("-P", "no"), 4, "0x86")
            self.assert_refused(pub("-P", "secret"), 4, "0x9f", "too many failed logins from this address")
            self.assertEqual(pub("-P", "secret", "-A", "127.0.0.2").returncode, 0)
            self.assertEqual(broker.stop(), 0, broker.text)

    def test_a_method_nobody_knows_is_refused(self):
        with Broker() as broker:
            self.assert_refused(run("pub", *broker.at("tcp"), "-m", "x", "-t", "t", "-u", "a", "-P", "b", "--auth-method",
                                    "SCRAM-SHA-256"), 4, "0x8c", "no authentication method is supported")
            self.assertEqual(broker.stop(), 0, broker.text)


if __name__ == "__main__":
    unittest.main()
