"""core/base/trace.def, the one list of what a log can report: nothing in core/ writes to a log in another way, every event of the list is
reported somewhere, and docs/guide/logs.md shows the list as it is. `python3 tests/house/trace_test.py` writes the table anew."""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "guide", "logs.md")
BEGIN, END = "<!-- events: from core/base/trace.def -->\n", "<!-- end of events -->\n"
EVENT = re.compile(r'X\(\s*(\w+),\s*(\w+),\s*"((?:[^"\\]|\\.)*)",\s*((?:F\(\w+, \w+\)\s*)+)\)')
PIECE = re.compile(r"/\* (\w+) \*/|" + EVENT.pattern)


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def events():
    """(section, name, level, text, fields as (kind, name)) in the order of the list."""
    section = None
    for piece in PIECE.finditer(read("core", "base", "trace.def")):
        if piece[1]:
            section = piece[1]
        else:
            yield section, piece[2], piece[3].lower(), piece[4].replace('\\"', '"'), re.findall(r"F\((\w+), (\w+)\)", piece[5])


def table():
    lines, section = [], None
    for where, name, level, text, fields in events():
        if where != section:
            section = where
            lines += ["", f"### {section}", "", "| name | level | line | fields |", "|---|---|---|---|"]
        names = ", ".join(f"`{field}`" + ("" if kind == "TEXT" else " (number)") for kind, field in fields)
        lines.append(f"| `{name}` | {level} | {text.replace('|', chr(92) + '|')} | {names} |")
    return "\n".join(lines) + "\n\n"


def sources():
    for path in sorted(glob.glob(os.path.join(ROOT, "core", "*", "*.[ch]"))):
        name = os.path.relpath(path, ROOT)
        if not name.startswith(os.path.join("core", "tools") + os.sep):
            yield name, re.sub(r"/\*.*?\*/", "", read(name), flags=re.S)


def test_the_list_is_read_whole():
    assert len(list(events())) == len(re.findall(r"^X\(", read("core", "base", "trace.def"), re.M)) > 40


def test_nothing_else_writes_to_a_log():
    for name, text in sources():
        if name == "core/base/trace.c":
            continue
        found = re.search(r"roam_log_line|\blog(->|\.)(write|record)\s*\(|roam_trace_write\s*\(\s*&", text)
        assert not found, f"{name}: {found[0]}: report an event of core/base/trace.def with roam_trace()"


def test_every_event_is_reported_somewhere():
    used = set()
    for _, text in sources():
        used |= set(re.findall(r"roam_trace\(\s*[^;]*?,\s*([A-Z][A-Z_0-9]+)\s*[,)]", text))
    named = {name for _, name, *_ in events()}
    assert named - used == set(), "in the list, reported nowhere"
    assert len(named) == len(list(events())), "a name stands twice"


def test_the_page_shows_the_list():
    page = read("docs", "guide", "logs.md")
    assert page.partition(BEGIN)[2].partition(END)[0] == table(), "docs/guide/logs.md: run python3 tests/house/trace_test.py"


if __name__ == "__main__":
    text = read("docs", "guide", "logs.md")
    head, begin, rest = text.partition(BEGIN)
    if not begin:
        sys.exit(f"{PAGE}: no line {BEGIN!r}")
    with open(PAGE, "w", encoding="utf-8") as out:
        out.write(head + begin + table() + END + rest.partition(END)[2])
