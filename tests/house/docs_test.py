"""The documents name what there is: functions, options and constants of ours stand in the sources, files and links are there."""
import glob
import os
import re
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATTERNS = ("README.md", "docs/*.md", "docs/design/*.md", "docs/guide/*.md")  # docs/reference has its own test
PATH = re.compile(r"`((?:core|tests|docs|bench|bindings|examples|cmake)/[\w/.-]*\w)`")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def documents():
    for pattern in PATTERNS:
        for path in sorted(glob.glob(os.path.join(ROOT, pattern))):
            yield os.path.relpath(path, ROOT)


def tracked():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and os.path.isfile(os.path.join(ROOT, name))]


class Documents(unittest.TestCase):
    def setUp(self):
        if not os.path.exists(os.path.join(ROOT, ".git")):
            self.skipTest("not a checkout")
        self.files = tracked()

    def test_names_of_ours_stand_in_the_sources(self):
        sources = [name for name in self.files if name.startswith(("core/", "bench/", "bindings/", "CMakeLists")) and not name.endswith(".md")]
        words = set()
        for name in sources:
            words.update(re.findall(r"\w+", read(name)))
        for path in documents():
            for name in re.findall(r"(?<![\w/-])((?:roam|ROAM)_\w+)(?!\w*[*/])", read(path)):
                with self.subTest(path):
                    if not name.endswith("_"):  # "ROAM_LANES_...", a family
                        self.assertIn(name, words, path)

    def test_paths_and_links_are_there(self):
        there = set(self.files) | {os.path.dirname(name) for name in self.files}
        there |= {os.path.dirname(name) for name in there}
        for path in documents():
            text = read(path)
            for name in PATH.findall(text):
                with self.subTest(path):
                    self.assertIn(name, there, path)
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
                with self.subTest(path):
                    self.assertTrue(os.path.exists(os.path.join(ROOT, os.path.dirname(path), link)), f"{path}: {link}")


if __name__ == "__main__":
    unittest.main()
