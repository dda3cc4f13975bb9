"""The guide's examples as they stand there: configuration files and access lists are taken by the broker, and every option that is named is
one of the program's."""
import glob
import os
import re
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import Broker, run  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUIDE = os.path.join(ROOT, "docs", "guide")
COMMANDS = ("demo", "broker", "pub", "sub", "nat", "report", "packet", "passwd", "version")
OTHERS = {"bench": "benches.md"}  # whose options are those of another program


def read(name):
    with open(os.path.join(GUIDE, name), encoding="utf-8") as file:
        return file.read()


def examples(text):
    """Indented blocks, without their indentation."""
    for block in re.findall(r"(?:^    .*\n)+", text, re.M):
        yield re.sub(r"^    ", "", block, flags=re.M)


class Guide(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_configurations_are_taken(self):
        with Broker(state=self.folder) as broker:
            self.assertEqual(broker.stop(), 0)  # it has made a certificate, any will do
        pem = os.path.join(self.folder, "roamqtt")
        found = 0
        for name in os.listdir(GUIDE):
            for text in examples(read(name)):
                if not re.search(r"^cert = ", text, re.M):
                    continue
                text = re.sub(r"/etc/roamqtt/\w+\.key|/etc/roamqtt/key\.pem", os.path.join(pem, "ca-key.pem"), text)
                text = re.sub(r"/etc/roamqtt/\w+\.pem", os.path.join(pem, "ca.pem"), text)
                result = run("broker", "--check", self.write("broker.conf", text))
                self.assertEqual(result.returncode, 0, f"{name}: {result.stderr}")
                found += 1
        self.assertGreaterEqual(found, 2)

    def test_access_lists_are_taken(self):
        found = 0
        for text in examples(read("access.md")):
            if re.search(r"^(topic|pattern) ", text, re.M):
                path = self.write("acl", text)
                result = run("broker", "--check", self.write("broker.conf", f"acl-file = {path}\n"))
                self.assertEqual(result.returncode, 0, result.stderr)
                found += 1
        self.assertGreaterEqual(found, 1)

    def test_every_option_is_one_of_the_programs(self):
        known = set()
        for command in COMMANDS:
            known.update(re.findall(r"(?<![\w-])--[a-z][\w-]*", run(command, "--help").stdout.decode()))
        for path in [os.path.join(ROOT, "README.md"), *glob.glob(os.path.join(GUIDE, "*.md"))]:
            if os.path.basename(path) in OTHERS.values():
                continue
            with open(path, encoding="utf-8") as file:
                text = re.sub(r"(?m)^ *\./dev .*$|`\./dev [^`]*`", "", file.read())
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", text):
                with self.subTest(os.path.basename(path)):
                    self.assertIn(option, known | {"--help"}, path)


if __name__ == "__main__":
    unittest.main()
