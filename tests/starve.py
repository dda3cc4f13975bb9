#!/usr/bin/env python3
"""starve.py BUILD [--all] [--seed N] [--seconds N] [--only WORD] - every unit test with each of its requests for memory refused in turn.

What is tried and what counts as a finding stands at the top of starve/starve.c. With --all it is every request; otherwise a
sample drawn by the seed, in about --seconds (40). Where one test asks so often that all would take more than its share of time (--budget, in seconds),
every chain of calls is tried at its first occurrence and the rest as far as time goes; how many is said. BUILD is a build with sanitizers."""
import argparse
import collections
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = ("points", "chains", "tried", "passed", "refused", "findings")
# Libraries whose requests are refused too, by a part of their file's name; the others are left in peace (starve/README.md says why).
LIBRARIES = "libngtcp2:libsqlite3:libcbor:libwslay"


def programs(build, only):
    names = sorted(glob.glob(os.path.join(build, "tests", "unit_*_test")))
    return [name for name in names if not name.endswith("_memory_test") and only in name]


def starve(program, options, budget):
    env = {**os.environ, "ROAM_STARVE": "1" if options.all else str(options.every), "ROAM_STARVE_SEED": str(options.seed),
           "ROAM_STARVE_BUDGET": str(int(budget * 1000)), "ROAM_STARVE_LIBRARIES": options.libraries,
           "UBSAN_OPTIONS": "print_stacktrace=1"}
    began = time.monotonic()
    try:
        done = subprocess.run([os.path.abspath(program)], cwd=HERE, env=env, capture_output=True, text=True, errors="replace",
                              timeout=options.timeout)
        text, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        text, code = (late.stdout or b"").decode(errors="replace") + f"\nnot done after {options.timeout} s\n", -1
    found = re.search(r"^starved:(?: (\w+) (\d+))+$", text, re.M)
    counts = collections.Counter({word: int(re.search(rf"{word} (\d+)", found[0])[1]) for word in WORDS} if found else {})
    return os.path.basename(program), counts, code == 0 and bool(found), text, time.monotonic() - began


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--every", type=int, default=60, help="without --all: about one in so many")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("ROAM_SEED", time.time() // 86400)))
    parser.add_argument("--budget", type=float, help="seconds for one test of a program (1; with --all 60)")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one program")
    parser.add_argument("--libraries", default=LIBRARIES)
    parser.add_argument("--only", default="", help="programs whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("-v", "--verbose", action="store_true")
    return parser.parse_args()


def main():
    options = arguments()
    budget = options.budget if options.budget is not None else 60 if options.all else 1
    names, total, failed = programs(options.build, options.only), collections.Counter(), []
    if not names:
        sys.exit(f"starve: no unit tests in {options.build}; ./dev test builds them")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for name, counts, well, text, took in pool.map(lambda name: starve(name, options, budget), names):
            total += counts
            if options.verbose or not well:
                print(f"{name}: " + ", ".join(f"{word} {counts[word]}" for word in WORDS) + f", {took:.1f} s", flush=True)
            if not well:
                failed.append(name)
                print(text, flush=True)
    print(f"starve (seed {options.seed}): {total['tried']} of {total['points']} requests refused in {len(names)} programs"
          + (f" ({total['chains']} chains of calls)" if options.all else "")
          + f"; {total['passed']} times the test passed all the same; {total['findings']} findings")
    for name in failed:
        print(f"failed: {name}; again: ROAM_STARVE=1 ROAM_STARVE_TEST=... ROAM_STARVE_POINT=... {os.path.join(options.build, 'tests', name)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
