#!/usr/bin/env python3
"""starve.py BUILD [--all] [--seed N] [--only WORD] - every unit test with its requests for memory refused, one in each try.

What is tried and what counts as a finding stands at the top of starve/starve.c. Without --all a sample is drawn by the seed. With it
every request is refused in its turn; where a test asks so often that this would take more than its share of time (--budget), every chain of
calls that asks for memory is tried at its first occurrence and the rest as far as time goes, and how many is said. BUILD is a build
with sanitizers."""
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
WORDS = ("points", "chains", "tried", "passed", "refused", "ended", "findings")
# Libraries whose requests are refused too, by a part of their files' names. GnuTLS and what it stands on (GMP, nettle, p11-kit)
# are not among them: GMP ends the process when it gets no memory, by its own documentation.
LIBRARIES = "libngtcp2:libsqlite3:libcbor:libwslay"
WAITING = ("unit_loop_",)  # tests on real sockets and threads: what is refused is waited for in real time
PARTS = 8


def programs(build, only):
    names = sorted(glob.glob(os.path.join(build, "tests", "unit_*_test")))
    return [name for name in names if not name.endswith("_memory_test") and only in name]


def runs(names, everything):
    """(program, part of its points), those that wait first, for they cost nothing."""
    waits = [name for name in names if everything and os.path.basename(name).startswith(WAITING)]
    for name in waits:
        yield from ((name, f"{part}/{PARTS}") for part in range(PARTS))
    yield from ((name, "0/1") for name in names if name not in waits)


def starve(program, part, options):
    env = {**os.environ, "ROAM_STARVE": "1" if options.all else str(options.every), "ROAM_STARVE_SEED": str(options.seed),
           "ROAM_STARVE_BUDGET": str(max(1, int(options.budget * 1000))), "ROAM_STARVE_LIBRARIES": options.libraries,
           "ROAM_STARVE_PART": part}
    began = time.monotonic()
    try:
        done = subprocess.run([os.path.abspath(program)], cwd=HERE, env=env, capture_output=True, text=True, errors="replace",
                              timeout=options.timeout)
        text, code = done.stdout + done.stderr, done.returncode
    except OSError as error:
        text, code = f"{program}: {error}", -1
    except subprocess.TimeoutExpired as late:
        text, code = (late.stdout or b"").decode(errors="replace") + f"\nnot done after {options.timeout} s\n", -1
    found = re.search(r"^starved:(?: (\w+) (\d+))+$", text, re.M)
    counts = collections.Counter({word: int(re.search(rf"{word} (\d+)", found[0])[1]) for word in WORDS} if found else {})
    return os.path.basename(program), counts, code == 0 and bool(found), text, time.monotonic() - began


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--every", type=int, default=100, help="without --all: about one in so many (100)")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("ROAM_SEED", time.time())), help="what is drawn (the time, or ROAM_SEED)")
    parser.add_argument("--budget", type=float, help="seconds for one test of a program (0.5; with --all 5)")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one program (3600)")
    parser.add_argument("--libraries", default=LIBRARIES)
    parser.add_argument("--only", default="", help="programs whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() + 1)
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    if options.budget is None:
        options.budget = 5 if options.all else 0.5
    return options


def main():
    options = arguments()
    names, total, failed = programs(options.build, options.only), collections.Counter(), set()
    if not names:
        sys.exit(f"starve: no unit tests in {options.build}; ./dev test builds them")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        waiting = [pool.submit(starve, name, part, options) for name, part in runs(names, options.all)]
        for each in concurrent.futures.as_completed(waiting):
            name, counts, well, text, took = each.result()
            total += counts
            if options.verbose or not well:
                print(f"{name}: " + ", ".join(f"{word} {counts[word]}" for word in WORDS) + f", {took:.1f} s", flush=True)
            if not well:
                failed.add(name)
                print(text, flush=True)
    chains = f" (each of {total['chains']} chains of calls)" if options.all else ""
    print(f"starved (seed {options.seed}): {total['tried']} of {total['points']} requests refused{chains} in {len(names)} programs; "
          f"{total['passed']} times the test passed all the same, {total['ended']} times a library ended the process by an assertion of its own; "
          f"{total['findings']} findings")
    for name in sorted(failed):
        print(f"again: (cd tests && ROAM_STARVE=1 ROAM_STARVE_TEST=... ROAM_STARVE_POINT=... ROAM_STARVE_LIBRARIES={options.libraries} "
              f"../{options.build}/tests/{name})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
