"""lua_module.py - the Lua module's documented functions as a page: a comment that begins with three dashes belongs to what follows it."""
import os
import re

import prose

ITEM = re.compile(r"((?:^--[^\n]*\n)*)(?:^function (\w+[.:][a-z]\w*)\(([^)]*)\)|^(M\.\w+) =|(?=\n))", re.M)


def lines_of(comment):
    return [re.sub(r"^---? ?", "", line) for line in comment.rstrip("\n").split("\n")]


def documented(text):
    """(name or None, arguments or None, comment's lines), in the order of the file. What has no comment is like what stands before it."""
    for found in ITEM.finditer(text):
        name = found[2] or found[4]
        if name or found[1].startswith("---"):
            yield name, found[3], lines_of(found[1]) if found[1].startswith("---") else []


def shown(name):
    """As a script writes it."""
    if name.startswith("M."):
        return "roamqtt." + name[2:]
    owner, member = name.split(":")
    return f"{owner.lower()}:{member}"


def sources(folder):
    """The module's files: its face, then the parts in the order in which the face takes them."""
    texts = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            texts[name[:-4]] = file.read()
    parts = re.findall(r'"(\w+)"', re.search(r"ipairs { (.*?) }", texts["init"])[1])
    return [texts[name] for name in ["init", *parts]]


def page(folder, entries):
    out, contents, owner = [], {}, None
    for name, arguments, comment in (item for text in sources(folder) for item in documented(text)):
        words = prose.sentence(prose.blocks(comment, entries, "lua.md")) if comment else ""
        if not name:
            out += ["# The Lua module", words, "CONTENTS"]
            continue
        if shown(name).split(":")[0].split(".")[0] != owner:
            owner = shown(name).split(":")[0].split(".")[0]
        call = shown(name) + (f"({arguments})" if arguments is not None else "")
        contents.setdefault(owner, []).append(f"[`{shown(name)}`](#{prose.anchor(call)})")
        out += [f"### `{call}`"] + ([words] if comment else [])
    listing = "\n".join(f"- {owner}: " + ", ".join(links) for owner, links in contents.items())
    return "\n\n".join(out).replace("CONTENTS", listing, 1) + "\n"
