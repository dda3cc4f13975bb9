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


# How many statements each section of the specification's appendix B numbers, from 1 on. MISSING are numbers that the appendix does
# not have: 5.0 begins section 2.2.1 with 2.
FIVE = {
    "1.5.4": 3, "1.5.5": 1, "1.5.7": 1, "2.1.3": 1, "2.2.1": 6, "2.2.2": 1, "3.1.0": 2, "3.1.2": 30, "3.1.3": 12, "3.1.4": 6, "3.2.0": 2,
    "3.2.2": 22, "3.3.1": 13, "3.3.2": 20, "3.3.4": 10, "3.4.2": 3, "3.5.2": 3, "3.6.1": 1, "3.6.2": 3, "3.7.2": 3, "3.8.1": 1, "3.8.3": 5,
    "3.8.4": 8, "3.9.2": 2, "3.9.3": 2, "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.11.2": 2, "3.11.3": 2, "3.12.4": 1, "3.14.0": 1, "3.14.1": 1,
    "3.14.2": 4, "3.14.4": 3, "3.15.1": 1, "3.15.2": 3, "4.1.0": 2, "4.2.0": 1, "4.3.1": 1, "4.3.2": 5, "4.3.3": 13, "4.4.0": 2, "4.5.0": 2,
    "4.6.0": 6, "4.7.0": 1, "4.7.1": 2, "4.7.2": 1, "4.7.3": 4, "4.8.2": 6, "4.9.0": 3, "4.12.0": 7, "4.12.1": 2, "4.13.1": 1, "4.13.2": 1,
    "6.0.0": 4,
}  # fmt: skip
THREE = {
    "1.5.3": 3, "2.2.2": 2, "2.3.1": 7, "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1, "3.2.2": 6, "3.3.1": 12, "3.3.2": 3,
    "3.3.4": 1, "3.3.5": 2, "3.6.1": 1, "3.8.1": 1, "3.8.3": 4, "3.8.4": 6, "3.9.3": 2, "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.12.4": 1,
    "3.14.1": 1, "3.14.4": 3, "4.1.0": 2, "4.2.0": 1, "4.3.1": 1, "4.3.2": 2, "4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6, "4.7.1": 3,
    "4.7.2": 1, "4.7.3": 4, "4.8.0": 2, "6.0.0": 4,
}  # fmt: skip
MISSING = {4: {"MQTT-2.2.1-1"}, 5: set()}


def test_every_statement_stands_once():
    for columns, sections in ((4, FIVE), (5, THREE)):
        ids = [row.split("|")[1].strip() for row in rows() if row.startswith("| MQTT-") and row.count("|") == columns + 1]
        wanted = {f"MQTT-{section}-{number}" for section, last in sections.items() for number in range(1, last + 1)} - MISSING[columns]
        assert len(ids) == len(set(ids))
        assert set(ids) == wanted


def test_every_statement_says_what_covers_it():
    for row in rows():
        if row.startswith("| MQTT-"):
            assert re.search(r"`\w+`|by construction: \w", row.split("|")[-2]), row
