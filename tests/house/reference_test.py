"""docs/reference is what ./dev docs makes of the sources now; nothing that is declared is missing in it, and its links lead somewhere."""
import glob
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "docs", "reference")
sys.path.insert(0, os.path.join(ROOT, "docs", "make"))
import prose  # noqa: E402
import reference  # noqa: E402


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def checked_in():
    return {os.path.basename(path): read(path) for path in glob.glob(os.path.join(FOLDER, "*.md"))}


def anchors(text):
    return {prose.anchor(heading) for heading in re.findall(r"(?m)^#+ (.*)$", text)}


class Reference(unittest.TestCase):
    def test_it_is_up_to_date(self):
        there, made = checked_in(), reference.pages()
        stale = sorted(name for name in there.keys() | made.keys() if there.get(name) != made.get(name))
        self.assertEqual(stale, [], "stale: run ./dev docs and commit what it writes")

    def test_every_public_function_and_type_has_its_place(self):
        pages = checked_in()
        for path in glob.glob(os.path.join(ROOT, "core", "include", "roamqtt", "*.h")):
            header = re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)
            names = set(re.findall(r"^ROAM_API\b[^;(]*?(\w+)\(", header, re.M)) | set(re.findall(r"^} (\w+);", header, re.M))
            page = pages[os.path.basename(path).replace(".h", ".md")]
            code = page + " ".join(re.findall(r"```c\n.*?```", page, re.S))
            missing = sorted(name for name in names if not re.search(rf"\b{name}\(|### .*`{name}`", code))
            self.assertEqual(missing, [], path)

    def test_every_public_name_in_python_and_lua_has_its_place(self):
        pages = checked_in()
        listed = re.search(r"__all__ = \[(.*?)\]", read(os.path.join(ROOT, "bindings", "python", "roamqtt", "__init__.py")), re.S)[1]
        for name in set(re.findall(r'"(\w+)"', listed)) - {"mqtt", "LANE_CONTROL"}:
            self.assertIn(f"### `{name}`", pages["python.md"])
        lua = "".join(read(path) for path in glob.glob(os.path.join(ROOT, "bindings", "lua", "roamqtt", "*.lua")))
        for owner, name in re.findall(r"(?m)^function (\w+)[.:]([a-z]\w*)\(", lua):
            place = f"### `roamqtt.{name}(" if owner == "M" else f"### `{owner.lower()}:{name}("
            self.assertIn(place, pages["lua.md"])

    def test_links_lead_somewhere(self):
        pages = checked_in()
        there = {name: anchors(text) for name, text in pages.items()}
        for name, text in pages.items():
            for page, anchor in re.findall(r"\]\(([\w.]*)(?:#([^)]*))?\)", re.sub(r"```.*?```", "", text, flags=re.S)):
                self.assertIn(page or name, there, name)
                if anchor:
                    self.assertIn(anchor, there[page or name], f"{name}: {page}#{anchor}")


if __name__ == "__main__":
    unittest.main()
