"""tidy.py itself: it finds what it is there for, and is content with what is in order."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOOD = "/* good.c - nothing wrong. */\nint roam_good(void) {\n  return 0;\n}\n"
CASES = [
    ("long line", GOOD + "/* " + "x" * 130 + " */\n", "columns"),
    ("trailing blank", GOOD + "int x; \n", "white space"),
    ("left by a merge", GOOD + "<<<<<<" + "< HEAD\n", "a mark that a merge left"),
    ("tab", GOOD + "\tint x;\n", "a tab"),
    ("no head", "int x;\n", "begins without a comment"),
    ("wrong head", GOOD.replace("good.c", "other.c"), "of the form /* good.c"),
    ("no newline", GOOD + "int x;", "no newline"),
    ("suffix", GOOD + "typedef int roam_thing_t;\n", "ends in _t"),
    ("note", GOOD + "/* TO" + "DO later */\n", "a note to come back"),
    ("long function", "/* good.c - long. */\nint roam_long(void) {\n" + "  x();\n" * 100 + "}\n", "a function of 102 lines"),
]


def tidy(root):
    return subprocess.run([sys.executable, os.path.join(ROOT, "tests", "tidy.py"), root], capture_output=True, text=True)


class Tidy(unittest.TestCase):
    def run_on(self, text):
        with tempfile.TemporaryDirectory() as root:
            folder = os.path.join(root, "core", "base")
            os.makedirs(folder)
            with open(os.path.join(folder, "good.c"), "w", encoding="utf-8") as file:
                file.write(text)
            return tidy(root)

    def test_good_file_passes(self):
        result = self.run_on(GOOD)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_each_fault_is_found(self):
        for name, text, words in CASES:
            with self.subTest(name):
                result = self.run_on(text)
                self.assertEqual(result.returncode, 1, result.stdout)
                self.assertIn(words, result.stdout)


class Dev(unittest.TestCase):
    def dev(self, *words):
        return subprocess.run([os.path.join(ROOT, "dev"), *words], capture_output=True, text=True)

    def test_help_names_every_verb(self):
        result = self.dev("help")
        self.assertEqual(result.returncode, 0)
        for verb in "demo test build bench docs format lint clean help".split():
            self.assertRegex(result.stdout, rf"(?m)^  {verb}\b")

    def test_unknown_verb_is_refused(self):
        result = self.dev("tset")
        self.assertEqual(result.returncode, 1)
        self.assertIn("unknown verb 'tset'", result.stderr)

    def test_is_posix_shell(self):
        self.assertEqual(subprocess.run(["sh", "-n", os.path.join(ROOT, "dev")]).returncode, 0)

    def test_ci_runs_the_same(self):
        with open(os.path.join(ROOT, ".ci", "run"), encoding="utf-8") as file:
            self.assertIn("./dev test", file.read())


if __name__ == "__main__":
    unittest.main()
