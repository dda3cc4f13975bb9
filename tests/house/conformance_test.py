"""docs/conformance.md and tests/conformance speak of the same tests: every test named there is run, every one run is named there, and
no statement stands twice."""
import glob
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def rows():
    for line in read(os.path.join(ROOT, "docs", "conformance.md")).splitlines():
        if line.startswith(("| MQTT-", "- `")):
            yield line


def test_every_test_named_is_run_and_every_one_run_is_named():
    named = {name for row in rows() for name in re.findall(r"`(\w+)`", row)}
    run = set()
    for path in glob.glob(os.path.join(ROOT, "tests", "conformance", "mqtt_*_test.c")):
        run |= set(re.findall(r"\bTEST\((\w+)\)", read(path)))
    assert run
    assert named == run


def test_every_statement_stands_once():
    for columns, least in ((4, 251), (5, 130)):
        ids = [row.split("|")[1].strip() for row in rows() if row.startswith("| MQTT-") and row.count("|") == columns + 1]
        assert len(ids) == len(set(ids))
        assert len(ids) >= least


def test_every_statement_says_what_covers_it():
    for row in rows():
        if row.startswith("| MQTT-"):
            assert re.search(r"`\w+`|by construction: \w|\*not yet\*", row.split("|")[-2]), row
