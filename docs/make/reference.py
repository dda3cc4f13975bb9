#!/usr/bin/env python3
"""reference.py [FOLDER] - writes docs/reference: a page for each public header, one for the Python package, one for the Lua module, all
from the comments that stand in their sources. The same sources give the same bytes."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import c_headers
import lua_module
import python_package

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOTE = "Made by `./dev docs` from the sources; change it there."


def index(headers):
    rows = [f"- [roamqtt/{name[:-3]}.h]({name}): {about}" for name, (_, about) in headers.items()]
    return "\n".join(
        ["# Reference", "", NOTE, "", *rows, "", "- [The Python package](python.md)", "- [The Lua module](lua.md)", "",
         "The command line program describes itself: `roamqtt help`, `roamqtt COMMAND --help`."]
    ) + "\n"  # fmt: skip


def pages():
    """File name -> text, of all of them."""
    headers, entries = c_headers.pages(os.path.join(ROOT, "core", "include", "roamqtt"))
    made = {name: text for name, (text, _) in headers.items()}
    made["python.md"] = python_package.page(os.path.join(ROOT, "bindings", "python", "roamqtt"), entries)
    made["lua.md"] = lua_module.page(os.path.join(ROOT, "bindings", "lua", "roamqtt"), entries)
    made["README.md"] = index(headers)
    return made


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "docs", "reference")
    os.makedirs(folder, exist_ok=True)
    made = pages()
    for name in os.listdir(folder):
        if name.endswith(".md") and name not in made:
            os.remove(os.path.join(folder, name))
    for name, text in made.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    print(f"docs/reference: {len(made)} pages")


if __name__ == "__main__":
    main()
