"""prose.py - the text of comments as Markdown: paragraphs, lists, what is indented as it stands; names become code, and links where they
have an entry."""
import re

TOKEN = re.compile(
    r"`[^`]*`"  # what is marked already
    r"|(?<![\w`])\*?[A-Za-z]\w*_\w*(?:\(\)|\.\.\.)?"  # a name: it has an underscore
    r"|<roamqtt/\w+\.h>|(?<![\w/])\w+\.h\b"  # a header
    r"|[<>*\[\]|]"
)


class Entries:
    """Where each name stands: name -> (page, anchor)."""

    def __init__(self):
        self.places = {}

    def add(self, name, page, anchor):
        self.places.setdefault(name, (page, anchor))

    def link(self, word, page):
        """A name as code, linked when it stands somewhere."""
        key = re.sub(r"^\*|\(\)$", "", word)
        place = self.places.get(key)
        if not place:
            return f"`{word}`"
        there, anchor = place
        return f"[`{word}`]({'' if there == page else there}#{anchor})"


def upper(text):
    """The same with a capital at the front, unless that is a name."""
    first = re.match(r"[a-z]+(?=[\s,;.-]|$)", text)
    return text[0].upper() + text[1:] if first else text


def sentence(text):
    """A comment behind a declaration as a sentence."""
    return upper(text) + ("" if text.endswith((".", "?", "!", ":", "```")) else ".")


def anchor(heading):
    """Where a heading is found, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def broken(text, width=100):
    """A prototype on lines of at most so many columns, broken behind commas."""
    lines = [""]
    for part in re.findall(r"[^,]*(?:, *|$)", " ".join(text.split())):
        if len(lines[-1]) + len(part.rstrip()) > width and lines[-1].strip():
            lines.append("    ")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def marked(text, entries, page, in_table=False):
    """One paragraph."""

    def replace(match):
        word = match[0]
        if word[0] == "`":
            return word.replace("|", r"\|") if in_table else word
        if len(word) == 1:
            return "\\" + word
        header = re.fullmatch(r"<?(?:roamqtt/)?(\w+\.h)>?", word)
        if header and header[1] in entries.places:
            return f"[{header[1]}]({entries.places[header[1]][0]})"
        return entries.link(word, page) if "_" in word else word

    return TOKEN.sub(replace, text)


def blocks(lines, entries, page):
    """Comment lines, without the comment's own marks but with their indentation, as Markdown."""
    out, paragraph, verbatim, item = [], [], [], False

    def flush():
        if paragraph:
            text = marked(" ".join(paragraph), entries, page)
            if item and out and re.match(r"(\d+\.|-) ", out[-1].rsplit("\n", 1)[-1]):
                out[-1] += "\n" + text
            else:
                out.append(text)
            paragraph.clear()

    for line in lines + [""]:
        text = line.strip()
        point = re.match(r"\s*(\d+\.|-) ", line)
        if verbatim and not line.startswith(("  ", ">>> ", "... ")):
            out.append("```text\n" + "\n".join(verbatim) + "\n```")
            verbatim = []
        if not text or point:
            flush()
            item = bool(point)
            if text:
                paragraph.append(text)
        elif line.startswith(("  ", ">>> ", "... ")) and not item:
            flush()
            verbatim.append(line[2 * line.startswith("  ") :].rstrip())
        else:
            paragraph.append(text)
    return "\n\n".join(out)


def cell(text, entries, page):
    return marked(" ".join(text.split()), entries, page, in_table=True)


def code_cell(text):
    return "`" + " ".join(text.split()).replace("|", r"\|") + "`" if text else ""
