"""docs/design/streams.md: every test named there exists and is run, every rule has one in the world and one over sockets or says why
not, and no test over sockets stands in no row."""
import ast
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORDS = r"`([\w/]+):([\w.]+)`"


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def rows():
    for line in read("docs", "design", "streams.md").splitlines():
        if line.startswith("| ") and not line.startswith(("| rule ", "| packet ")):
            yield line


def names_in(module):
    """The names of the tests that run in a module."""
    folder, name = module.split("/")
    if folder == "interop":
        tree = ast.parse(read("tests", "interop", f"{name}_test.py"))
        return {f"{c.name}.{f.name}" for c in tree.body if isinstance(c, ast.ClassDef)
                for f in c.body if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")}
    where = ("tests", folder) if folder == "sim" else ("tests", "unit", folder)
    return set(re.findall(r"cmocka_unit_test\((\w+)\)", read(*where, f"{name}_test.c")))


def test_every_test_named_is_run():
    named = {}
    for row in rows():
        for module, name in re.findall(WORDS, row):
            named.setdefault(module, set()).add(name)
    assert named
    for module, names in named.items():
        assert not names - names_in(module), f"{module}: no such test"
    for module in ("interop/flows", "interop/streams"):
        assert not names_in(module) - named[module], f"{module}: a test of no rule"


def test_every_rule_is_shown_twice():
    for row in rows():
        world, sockets = row.split("|")[-3:-1]
        assert re.search(WORDS, world), row
        assert re.search(WORDS, sockets) or sockets.strip().startswith("by construction: "), row
