"""The package itself: its private module's stub, its examples, its notebook."""

import ast
import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import roamqtt
from roamqtt import core

ROOT = Path(__file__).resolve().parents[2]


def test_stub_names_what_the_module_has():
    stub = (Path(roamqtt.__file__).parent / "core.pyi").read_text()
    declared = set(re.findall(r"^(?:def |class )?([A-Za-z]\w*)\s*[(:]", stub, re.M))
    there = {n for n in dir(core) if not n.startswith("_") and n not in ("os", "sys")}
    assert there - declared == set(), "in the module, not in core.pyi"
    assert {n for n in declared if not n.startswith("_")} - there == set(), "in core.pyi, not in the module"


def test_every_error_code_is_an_exception():
    for name in dir(core):
        if name.startswith("E_"):
            error = roamqtt.errors.make_error(getattr(core, name))
            assert error.name == "ROAM_" + name
            assert isinstance(error, roamqtt.RoamqttError)


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "examples/python").glob("*.py")))
def test_example_runs(script):
    done = subprocess.run([sys.executable, ROOT / "examples/python" / script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("notebook", sorted(p.name for p in (ROOT / "examples/notebooks").glob("*.ipynb")))
def test_notebook_runs(notebook):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    nb = nbformat.read(ROOT / "examples/notebooks" / notebook, as_version=4)
    os.environ.setdefault("MPLBACKEND", "agg")
    nbclient.NotebookClient(nb, timeout=60, kernel_name="python3").execute()


def test_fork_leaves_the_child_without_threads():
    code = (
        "import asyncio, os, roamqtt\n"
        "async def main():\n"
        "    async with roamqtt.Broker() as b:\n"
        "        pid = os.fork()\n"
        "        if pid == 0:\n"
        "            try:\n"
        "                b.clients()\n"
        "            except roamqtt.Closed:\n"
        "                os._exit(7)\n"
        "            os._exit(1)\n"
        "        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_interpreter_exit_without_close_does_not_hang():
    code = "import asyncio, roamqtt\nb = roamqtt.Broker()\nasyncio.run(b.start())\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/guide/{p.name}" for p in (ROOT / "docs/guide").glob("*.md"))])
def test_code_in_the_documents_is_possible(page):
    """Each Python block parses, and gives the package's calls arguments that they have."""
    known = {"Client": roamqtt.options.CLIENT, "Broker": roamqtt.options.BROKER}
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S):
        tree = ast.parse("async def block():\n" + textwrap.indent(block, "    "))
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]:
            owner = roamqtt if getattr(call.func.value, "id", None) == "roamqtt" else roamqtt.Client
            function = getattr(owner, call.func.attr)
            if inspect.isclass(function):
                function = function.__init__
            names = set(inspect.signature(function).parameters) | known.get(call.func.attr, frozenset())
            assert {k.arg for k in call.keywords} <= names, (page, call.func.attr)
