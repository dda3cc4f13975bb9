"""c_headers.py - the public headers as pages: every declaration in its order with its comment. It relies on how they are laid out: a
comment stands right above what it is about or behind it, and counts for what follows without a blank line and without a comment."""
import os
import re

import prose

GUARDS = re.compile(r"#\s*(if|ifdef|ifndef|else|elif|endif|include|undef)\b")
COMMENT = re.compile(r"/\*(.*?)\*/", re.S)


class Entry:
    def __init__(self, kind, doc, lines):
        self.kind, self.doc, self.lines, self.names = kind, doc, lines, []
        self.open = True  # what follows without a comment belongs to it


def comment_lines(text):
    """What stands in a comment, line by line."""
    inside = text.strip()[2:-2].split("\n")
    lines = [inside[0].strip()] + [re.sub(r"^\s*\*? ?", "", line, count=1) for line in inside[1:]]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def open_comment(text):
    return text.rfind("/*") > text.rfind("*/")


def bare(text):
    return COMMENT.sub("", text)


def is_whole(text):
    """Has the declaration ended?"""
    if open_comment(text):
        return False
    code = "\n".join(line for line in bare(text).split("\n") if not line.lstrip().startswith("#"))
    return code.count("{") == code.count("}") and code.rstrip().endswith(";")


def kind_of(text):
    code = bare(text)
    if re.match(r"#define \w+_MAP\(", code):
        return "map"
    if code.startswith("#define"):
        return "macro"
    if re.match(r"(typedef )?enum\b", code):
        return "enum"
    if re.match(r"typedef struct \w+ \{", code):
        return "struct"
    if code.startswith("typedef"):
        return "type"
    return "function"


def name_of(kind, text):
    code = bare(text)
    if kind in ("macro", "map"):
        return re.match(r"#define (\w+)", code)[1]
    if kind == "function":
        return re.match(r"[^(]*?(\w+)\(", code)[1]
    pointer = re.match(r"typedef [^{]*?\(\*(\w+)\)", code)
    if pointer:
        return pointer[1]
    if kind == "enum" and code.startswith("enum"):
        return None
    return re.search(r"(\w+)\s*;\s*$", code.rstrip())[1]


class Header:
    """What a header declares: its head comment's lines, then sections (title, pieces), a piece being an Entry or lines of prose."""

    def __init__(self, path):
        self.file = os.path.basename(path)
        with open(path, encoding="utf-8") as file:
            self.lines = file.read().split("\n")
        self.at, self.prefixes, self.columns = 0, {}, {}
        self.head = comment_lines(self.take(lambda text: not open_comment(text)))
        self.head[0] = re.sub(r"^\w+\.h - ", "", self.head[0])
        self.sections = [("", [])]
        self.read()

    def take(self, done):
        text = self.lines[self.at]
        self.at += 1
        while not done(text):
            text += "\n" + self.lines[self.at]
            self.at += 1
        return text

    def add(self, piece):
        self.sections[-1][1].append(piece)

    def read(self):
        doc, fresh = None, True
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.startswith("/*"):
                if doc:
                    self.add(doc)
                doc, fresh = comment_lines(self.take(lambda text: not open_comment(text))), True
                title = re.match(r"--+ (.*?)[\s-]*$", " ".join(doc))
                if title:
                    self.sections.append((title[1], []))
                    doc = None
            elif not line.strip() or GUARDS.match(line) or re.match(r'extern "C"|}$|struct \w+;|#define (ROAM_API|ROAMQTT_\w+_H)\b', line):
                if doc and not line.strip():
                    self.add(doc)
                    doc = None
                fresh = True
                self.at += 1
            else:
                doc = self.declaration(doc, fresh)
                fresh = False

    def declaration(self, doc, fresh):
        macro = self.lines[self.at].startswith("#")
        text = self.take(lambda so_far: not (so_far.endswith("\\") or open_comment(so_far)) if macro else is_whole(so_far))
        kind, tail = kind_of(text), None
        if kind in ("enum", "struct"):
            self.note_use(text)
        if kind in ("function", "type"):
            found = COMMENT.search(text)
            tail = found and comment_lines(found[0])
            text = bare(text).rstrip()
        before = self.sections[-1][1][-1] if self.sections[-1][1] else None
        joins = isinstance(before, Entry) and before.kind == kind and not fresh and not doc and kind in ("function", "macro")
        if joins and not tail and before.open:
            before.lines.append(text)
        else:
            before = Entry(kind, (doc or []) + ([""] if doc and tail else []) + (tail or []), [text])
            before.open = not tail
            self.add(before)
        before.names.append(name_of(kind, text))
        return None

    def note_use(self, text):
        """From an enum or struct made of a map: what its lines consist of, and what the enum's names begin with."""
        made = re.search(r"#define X\(([^)]*)\)(.*?)\n\s*(\w+_MAP)\(X\)", text, re.S)
        if made:
            self.columns[made[3]] = [word.strip() for word in made[1].split(",")]
            prefix = re.search(r"(\w+)##", made[2])
            self.prefixes[made[3]] = prefix[1] if prefix else ""


def signature(text):
    """A prototype on one line, or broken behind commas; without the words that only the compiler wants."""
    return prose.broken(re.sub(r"^ROAM_API ", "", text))


def members(text, end):
    """(declaration, meaning) of a struct's or enum's body; a comment on a line of its own has no declaration."""
    body = text[text.index("{") + 1 : text.rindex("}")]
    rows, at = [], 0
    pattern = re.compile(r"\s*(/\*.*?\*/)|\s*([^%s/]+)%s?([ \t]*/\*.*?\*/(?=[ \t]*\n))?" % (end, end), re.S)
    while body[at:].strip():
        found = pattern.match(body, at)
        at = found.end()
        if found[1]:
            rows.append(("", " ".join(comment_lines(found[1]))))
        elif found[2].strip():
            rows.append((" ".join(found[2].split()), " ".join(comment_lines(found[3])) if found[3] else ""))
    return rows


def map_rows(text):
    code = text.replace("\\\n", "\n")
    for found in re.finditer(r"^\s+X\(((?:[^()\"]|\"[^\"]*\"|\([^()]*\))*)\)(?:\s*(/\*.*?\*/))?", code, re.S | re.M):
        words = [word.strip() for word in re.findall(r'"[^"]*"|[^,"]+', found[1]) if word.strip()]
        yield words + ([" ".join(" ".join(comment_lines(found[2])).split())] if found[2] else [])


def title(entry):
    """The names it declares, the first of them when there are many; of a nameless enum, what its constants begin with."""
    if entry.names[0]:
        return ", ".join(f"`{name}`" for name in entry.names[:3]) + (", ..." if len(entry.names) > 3 else "")
    made = re.search(r"#define X\(\w+.*?\) (\w+)##", entry.lines[0])
    names = [made[1]] if made else [row[0].split()[0] for row in members(entry.lines[0], ",") if row[0]]
    prefix = os.path.commonprefix(names)
    return f"`{prefix[: prefix.rindex('_') + 1]}...`" if "_" in prefix else f"`{names[0]}`"


class Page:
    """One header as Markdown."""

    def __init__(self, header, entries):
        self.header, self.entries = header, entries
        self.name = header.file.replace(".h", ".md")

    def cell(self, text):
        return prose.cell(text, self.entries, self.name)

    def table(self, columns, rows):
        lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
        return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])

    def code(self, text):
        return f"```c\n{text}\n```"

    def body(self, entry):
        text = entry.lines[0]
        if entry.kind == "map":
            return self.map(entry)
        if entry.kind == "macro":
            return self.macros(entry)
        if entry.kind in ("enum", "struct"):
            made = re.search(r"(\w+_MAP)\(X\)", text)
            if made:
                return f"One for each line of {self.entries.link(made[1], self.name)}."
            inside = text[text.index("{") + 1 :]
            if "/*" not in inside or "{" in inside:
                return self.code(text)
            rows = members(text, "," if entry.kind == "enum" else ";")
            first = "constant" if entry.kind == "enum" else "member"
            return self.table([first, "meaning"], [(prose.code_cell(what), self.cell(meaning)) for what, meaning in rows])
        return self.code("\n".join(signature(line) for line in entry.lines))

    def map(self, entry):
        prefix = self.header.prefixes.get(entry.names[0], "")
        rows = [row for row in map_rows(entry.lines[0])]
        width = max(len(row) for row in rows)
        out = []
        for row in rows:
            cells = [self.cell(word.strip('"')) if " " in word or word.startswith('"') else prose.code_cell(word) for word in row]
            cells[0] = prose.code_cell(prefix + row[0])
            out.append(cells + [""] * (width - len(row)))
        columns = self.header.columns.get(entry.names[0], ["name"])
        return self.table(columns + ["meaning"] * (width - len(columns)), out)

    def macros(self, entry):
        rows = []
        for text in entry.lines:
            found = re.match(r"#define (\w+)\s*(.*?)\s*$", bare(text), re.S)
            tail = COMMENT.search(text)
            rows.append((prose.code_cell(found[1]), prose.code_cell(found[2]), self.cell(" ".join(comment_lines(tail[0]))) if tail else ""))
        return self.table(["macro", "value", "meaning"], rows)

    def entry(self, entry):
        parts = [f"### {title(entry)}", self.body(entry)]
        doc = prose.blocks(entry.doc, self.entries, self.name)
        if doc:
            parts.insert(2 if entry.kind in ("function", "type") else 1, prose.sentence(doc))
        return "\n\n".join(parts)

    def contents(self):
        """All functions, by section."""
        lines = []
        for heading, pieces in self.header.sections:
            names = [name for piece in pieces if isinstance(piece, Entry) and piece.kind == "function" for name in piece.names]
            if names:
                lines.append(f"- {prose.upper(heading) + ': ' if heading else ''}" + ", ".join(self.entries.link(name, self.name) for name in names))
        return "\n".join(lines)

    def text(self):
        head = prose.upper(prose.blocks(self.header.head, self.entries, self.name))
        out = [f"# roamqtt/{self.header.file}", head, self.contents()]
        for heading, pieces in self.header.sections:
            if heading:
                out.append(f"## {prose.upper(heading)}")
            for piece in pieces:
                out.append(self.entry(piece) if isinstance(piece, Entry) else prose.blocks(piece, self.entries, self.name))
        return "\n\n".join(part for part in out if part) + "\n"


def note_entries(header, entries):
    page = header.file.replace(".h", ".md")
    entries.add(header.file, page, "")
    for _, pieces in header.sections:
        for piece in pieces:
            if isinstance(piece, Entry) and piece.names[0]:
                for name in piece.names:
                    entries.add(name, page, prose.anchor(title(piece)))


def pages(folder):
    """File name -> (text, one line about it) for every header in the folder; and where each name stands."""
    headers = [Header(os.path.join(folder, name)) for name in sorted(os.listdir(folder)) if name.endswith(".h")]
    entries = prose.Entries()
    for header in headers:
        note_entries(header, entries)
    made = {}
    for header in headers:
        page = Page(header, entries)
        first = " ".join(" ".join(header.head).split(". ")[0].split())
        made[page.name] = (page.text(), prose.marked(first.rstrip("."), entries, page.name))
    return made, entries
