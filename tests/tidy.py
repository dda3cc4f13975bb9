#!/usr/bin/env python3
"""tidy.py [ROOT] - reads the tree and says where it strays from the house rules, with file and line. Changes nothing.

It looks at what git knows (or, outside git, at every file) and ends with status 1 when it found something."""
import os
import re
import subprocess
import sys

COLUMNS = 124
FUNCTION_LINES = 80
TEXT = (".c", ".h", ".def", ".i", ".py", ".pyi", ".lua", ".md", ".txt", ".cmake", ".json", ".toml", ".sh")
ODD_WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.$])/(?:work|tmp/w|home/\w+|root)/\w")
CONFLICT = re.compile(r"^(<{7}|>{7}) ")
TYPEDEF_T = re.compile(r"^\s*typedef\b.*\b\w+_t;|^\s*}\s*\w+_t;")


def files(root):
    git = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True)
    if git.returncode == 0 and git.stdout:
        names = git.stdout.decode().split("\0")
    else:
        names = [os.path.relpath(os.path.join(folder, name), root) for folder, _, inside in os.walk(root) for name in inside]
    return sorted(name for name in names if name and os.path.isfile(os.path.join(root, name)))


def is_text(name):
    return name.endswith(TEXT) or os.path.basename(name) in ("dev", "run", "CMakeLists.txt", ".clang-format", ".editorconfig")


def check_lines(name, lines):
    c_like = name.endswith((".c", ".h"))
    for number, line in enumerate(lines, 1):
        if line.rstrip() != line and not name.endswith(".md"):
            yield number, "white space at the end of the line"
        if CONFLICT.match(line):
            yield number, "a mark that a merge left; keep what is right of both sides"
        if "\t" in line and not name.endswith((".txt", ".md")):
            yield number, "a tab; indent with spaces"
        if c_like and len(line) > COLUMNS:
            yield number, f"{len(line)} columns; {COLUMNS} is the most"
        if c_like and TYPEDEF_T.search(line):
            yield number, "a type of ours ends in _t; types have no suffix here"
        if ODD_WORDS.search(line) and not name.startswith("tests/tidy") and not name.startswith("tests/house/"):
            yield number, "a note to come back; do it now or write an issue"
        if MACHINE_PATHS.search(line) and not name.startswith(("tests/tidy", "tests/house/")):
            yield number, "a path of somebody's machine"


def check_head(name, text):
    """What a file is for stands at its top; in core/ with the file's own name, so that a pasted head is noticed."""
    base = os.path.basename(name)
    if name.startswith("core/") and name.endswith((".c", ".h")) and not text.startswith(f"/* {base} - "):
        yield 1, f"begins without a comment of the form /* {base} - what it is for"
    if name.startswith("tests/") and name.endswith((".c", ".h")) and not text.startswith("/* "):
        yield 1, "begins without a comment that says what it is for"
    if name.startswith("core/") and name.endswith(".h"):
        guard = re.search(r"#ifndef (\w+)\n#define (\w+)\n", text)
        if not guard or guard[1] != guard[2]:
            yield 1, "no include guard"


def check_functions(name, lines):
    """A function begins with a line that ends in ") {" in the first column's scope and ends with "}" in the first column."""
    begun = None
    for number, line in enumerate(lines, 1):
        if begun is None and re.match(r"[a-zA-Z_].*\)\s*{$|^ +.*\) {$", line) and not line.startswith((" ", "#", "}")):
            begun = number
        elif line.startswith("}") and begun is not None:
            if number - begun + 1 > FUNCTION_LINES:
                yield begun, f"a function of {number - begun + 1} lines; {FUNCTION_LINES} is more than a screen already"
            begun = None


def look_at(root, name):
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
        text = file.read()
    if not text:
        return
    lines = text.split("\n")
    if not text.endswith("\n"):
        yield len(lines), "no newline at the end of the file"
    yield from check_lines(name, lines)
    yield from check_head(name, text)
    if name.endswith(".c"):
        yield from check_functions(name, lines)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    names = [name for name in files(root) if is_text(name)]
    found = 0
    for name in names:
        for number, what in look_at(root, name):
            print(f"{name}:{number}: {what}")
            found += 1
    print(f"tidy: {len(names)} files, {found or 'nothing'} to mend")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
