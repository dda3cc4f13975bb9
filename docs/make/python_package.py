"""python_package.py - the Python package's public names as a page, read from its sources: nothing is imported, so nothing need be built."""
import ast
import os
import re

import prose

TITLES = {
    "client": "Clients",
    "broker": "Brokers",
    "nat": "NATs",
    "identity": "Certificates",
    "options": "Options",
    "types": "Events and other types",
    "errors": "Errors",
    "mqtt": "roamqtt.mqtt",
}


def doc_of(node):
    return ast.get_docstring(node) or ""


def comment_of(lines, node):
    """What stands behind a field on its line."""
    found = re.search(r"  # (.*)$", lines[node.end_lineno - 1])
    return found[1] if found else ""


def signature(node, name=None):
    arguments = ast.unparse(node.args)
    arguments = re.sub(r"^self(, )?", "", arguments)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and name is None else ""
    word = "async def " if isinstance(node, ast.AsyncFunctionDef) else "" if name else "def "
    text = f"{word}{name or node.name}({arguments}){returns}"
    return prose.broken(text)


def prose_of(text, entries):
    text = re.sub(r":\w+:(`[^`]+`)", r"\1", re.sub(r"``([^`]+)``", r"`\1`", text))
    return prose.blocks(text.split("\n"), entries, "python.md") if text else ""


def is_property(node):
    return any(isinstance(word, ast.Name) and word.id == "property" for word in node.decorator_list)


def is_public(node):
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_")


def fields_table(node, lines, entries):
    rows = []
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and not field.target.id.startswith("_"):
            default = f" = {ast.unparse(field.value)}" if field.value and not isinstance(field.value, ast.Call) else ""
            declaration = f"{field.target.id}: {ast.unparse(field.annotation)}{default}"
            rows.append(f"| {prose.code_cell(declaration)} | {prose.cell(comment_of(lines, field), entries, 'python.md')} |")
        elif isinstance(field, ast.Assign) and isinstance(field.targets[0], ast.Name) and not field.targets[0].id.startswith("_"):
            rows.append(f"| {prose.code_cell(ast.unparse(field))} | {prose.cell(comment_of(lines, field), entries, 'python.md')} |")
    return "\n".join(["| field | |", "| --- | --- |"] + rows) if rows else ""


def members_of(node, shared):
    """Its own, and those of a class of ours that has no entry."""
    members = list(node.body)
    for base in node.bases:
        name = base.value.id if isinstance(base, ast.Subscript) and isinstance(base.value, ast.Name) else None
        members += shared.get(name, [])
    return members


def class_text(node, lines, entries, shared):
    bases = [ast.unparse(base) for base in node.bases if isinstance(base, ast.Name) and not base.id.startswith("_")]
    out = [f"### `{node.name}`", f"From {', '.join(f'`{base}`' for base in bases)}." if bases else "", prose_of(doc_of(node), entries)]
    made = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    if made and not node.name.endswith("Error") and node.name != "Subscription":
        out.append("```python\n" + signature(made[0], node.name) + "\n```")
    out.append(fields_table(node, lines, entries))
    for part in members_of(node, shared):
        if not is_public(part):
            continue
        if is_property(part):
            shown = f"{node.name}.{part.name}: {ast.unparse(part.returns)}" if part.returns else f"{node.name}.{part.name}"
        else:
            shown = signature(part)
        out += [f"#### `{node.name}.{part.name}`", f"```python\n{shown}\n```", prose_of(doc_of(part), entries)]
    return "\n\n".join(piece for piece in out if piece)


def shared_classes(package):
    """Name -> members, of the classes in _served.py."""
    with open(os.path.join(package, "_served.py"), encoding="utf-8") as file:
        return {node.name: node.body for node in ast.parse(file.read()).body if isinstance(node, ast.ClassDef)}


def module_text(path, names, entries, shared):
    """The entries of those names that the module defines, in its order, and what they are."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    tree, lines, out = ast.parse(text), text.split("\n"), []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (names is None and not node.name.startswith("_") or names and node.name in names):
            out.append((node.name, class_text(node, lines, entries, shared)))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (is_public(node) if names is None else node.name in names):
            shown = f"```python\n{signature(node)}\n```"
            out.append((node.name, "\n\n".join(part for part in [f"### `{node.name}`", shown, prose_of(doc_of(node), entries)] if part)))
    return doc_of(tree), out


def public_names(package):
    with open(os.path.join(package, "__init__.py"), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return doc_of(tree), set(ast.literal_eval(node.value))
    raise ValueError("__init__.py has no __all__")


def page(package, entries):
    head, names = public_names(package)
    out, contents, shared = [], [], shared_classes(package)
    for module, title in TITLES.items():
        about, pieces = module_text(os.path.join(package, module + ".py"), None if module == "mqtt" else names, entries, shared)
        contents.append(f"- {title}: " + ", ".join(f"[`{name}`](#{prose.anchor(name)})" for name, _ in pieces))
        out += [f"## {title}", prose_of(about, entries)] + [text for _, text in pieces]
    intro = ["# The Python package", prose_of(head, entries), "\n".join(contents)]
    return "\n\n".join(part for part in intro + out if part) + "\n"
