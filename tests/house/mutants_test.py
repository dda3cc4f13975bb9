"""Every rule that tests/mutants can switch off still stands in the code, once, and names a test of docs/conformance.md."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "mutants"))
from rules import ALL  # noqa: E402


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def test_there_is_something_to_draw_from():
    assert len(ALL) >= 40
    assert len({(mutant.statement, mutant.test) for mutant in ALL}) == len(ALL)


def test_every_snippet_stands_once_and_changes_something():
    for mutant in ALL:
        assert read("core", mutant.file).count(mutant.old) == 1, (mutant.statement, mutant.file, mutant.old)
        assert mutant.new != mutant.old


def test_every_statement_names_its_test():
    lines = read("docs", "conformance.md").splitlines()
    for mutant in ALL:
        old, number = mutant.statement.startswith("3.1.1 "), mutant.statement.split()[-1]
        rows = [line for line in lines if line.startswith(f"| {number} |") and line.count("|") == (6 if old else 5)]
        assert len(rows) == 1, mutant.statement
        assert f"`{mutant.test}`" in rows[0], (mutant.statement, mutant.test)
        assert re.search(rf"\bTEST\({mutant.test}\)", read("tests", "conformance", f"mqtt_{mutant.program}_test.c")), mutant.test
