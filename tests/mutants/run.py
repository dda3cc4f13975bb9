#!/usr/bin/env python3
"""run.py SEED COUNT [FOLDER] - switches COUNT rules of MQTT off, drawn by SEED from rules.py, one at a time in a copy of this tree, and
demands that the test named for each then fails. COUNT 'all' takes every rule. Prints a line for each; exit code 1 when one is not noticed.

FOLDER (build/mutants) keeps the copy and its build, so that only what a mutant touches is built again."""
import os
import random
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
from rules import ALL  # noqa: E402

PATIENCE = 120


def copy_tree(target):
    """What git knows or would add; a file that is the same keeps its time, so that nothing is built for it."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-coz", "--exclude-standard"], capture_output=True, check=True).stdout
    wanted = {name for name in names.decode().split("\0") if name and os.path.isfile(os.path.join(ROOT, name))}
    for folder, _, files in os.walk(target):
        for file in files:
            path = os.path.join(folder, file)
            if os.path.relpath(path, target) not in wanted:
                os.remove(path)
    for name in wanted:
        source, copy = os.path.join(ROOT, name), os.path.join(target, name)
        with open(source, "rb") as file:
            content = file.read()
        if os.path.isfile(copy):
            with open(copy, "rb") as file:
                if file.read() == content:
                    continue
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(source, copy)


def target_of(mutant):
    return f"conformance_mqtt_{mutant.program}_test"


def build(folder, targets):
    done = subprocess.run(["ninja", "-C", folder, *sorted(targets)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the build failed:\n{done.stdout[-4000:]}")


def run(folder, mutant):
    """'passed', 'failed' or 'never ran'."""
    environment = {**os.environ, "ROAM_TEST": mutant.test + " over *", "ASAN_OPTIONS": "detect_leaks=0"}
    try:
        done = subprocess.run([os.path.join(folder, "tests", target_of(mutant))], capture_output=True, text=True, errors="replace",
                              env=environment, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "failed"
    said = done.stdout + done.stderr
    if not re.search(rf"\] {mutant.test}( over |$)", said, re.M):
        return "never ran"
    return "passed" if done.returncode == 0 else "failed"


def draw(seed, count):
    return ALL if count == "all" else random.Random(int(seed)).sample(ALL, int(count))


def main(seed, count, folder):
    tree, objects = os.path.join(folder, "tree"), os.path.join(folder, "build")
    drawn = draw(seed, count)
    print(f"seed {seed}: {len(drawn)} of {len(ALL)} rules", flush=True)
    copy_tree(tree)
    if not os.path.isfile(os.path.join(objects, "build.ninja")):
        configure = ["cmake", "-S", tree, "-B", objects, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DROAM_TOOLS=OFF", "-DROAM_WERROR=OFF"]
        subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    build(objects, {target_of(mutant) for mutant in drawn})
    sound = [(mutant, run(objects, mutant)) for mutant in drawn]
    wrong = [f"{mutant.test}: {how} with every rule on" for mutant, how in sound if how != "passed"]
    for mutant in drawn if not wrong else ():
        path = os.path.join(tree, "core", mutant.file)
        with open(path, encoding="utf-8") as file:
            whole = file.read()
        assert whole.count(mutant.old) == 1, (mutant.file, mutant.old)
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(whole.replace(mutant.old, mutant.new))
            build(objects, {target_of(mutant)})
            how = run(objects, mutant)
        finally:
            with open(path, "w", encoding="utf-8") as file:
                file.write(whole)
        print(f"{'noticed' if how == 'failed' else 'MISSED':8} {mutant.statement:22} {mutant.test}", flush=True)
        if how != "failed":
            wrong.append(f"{mutant.statement}: {mutant.test} {how} without the rule")
    for line in wrong:
        print(line)
    print(f"seed {seed}: {len(drawn) - len(wrong)} rules passed (switched off, their tests fail), {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else os.path.join(ROOT, "build", "mutants")))
