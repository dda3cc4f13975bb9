"""Brokers and clients in Rust that others wrote, built by cargo into build/peers. Building takes many minutes, so tests only use
what is there already; `python3 tests/interop/rust_peers.py` builds what is not, and so does a test with ROAMQTT_LONG=1."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "peers")
CARGO = shutil.which("cargo")

# Name of the program: how it is made, after "cargo install --root build/peers". No --locked: a lock may name what a mirror lacks.
PEERS = {
    "mqttv5": ["mqttv5-cli", "--version", "0.29.10"],
    "rmqtt-peer": ["--path", os.path.join(HERE, "rmqtt_peer"), "--debug"],
    "qlog-reader": ["--path", os.path.join(HERE, "qlog_reader"), "--debug"],
}


def path_of(name):
    return os.path.join(FOLDER, "bin", name)


def build(name):
    """Builds a peer unless it is there; a sentence that says why not, or None."""
    if os.path.exists(path_of(name)):
        return None
    if not CARGO:
        return "cargo is not here; rustup.rs tells how to get it"
    with tempfile.TemporaryDirectory() as folder:
        words = list(PEERS[name])
        if words[0] == "--path":  # a copy, so that what cargo writes beside the source stays out of the tree
            words[1] = shutil.copytree(words[1], os.path.join(folder, "source"))
        target = os.path.join(FOLDER, "target-" + name)
        done = subprocess.run(["nice", "-n", "19", CARGO, "install", "--root", FOLDER, "-j1", *words], capture_output=True, text=True,
                              timeout=3600, env={**os.environ, "CARGO_TARGET_DIR": target})
        shutil.rmtree(target, ignore_errors=True)
    if done.returncode:
        return f"cargo cannot build {name}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
    return None


def need(name):
    """The path of a peer; skips the test with the reason when there is none."""
    if not os.path.exists(path_of(name)) and not os.environ.get("ROAMQTT_LONG"):
        raise unittest.SkipTest(f"{name} is not built: python3 tests/interop/rust_peers.py {name}")
    reason = build(name)
    if reason:
        raise unittest.SkipTest(reason)
    return path_of(name)


if __name__ == "__main__":
    code = 0
    for wanted in sys.argv[1:] or PEERS:
        if wanted not in PEERS:
            sys.exit(f"rust_peers: '{wanted}' is not known; there are {', '.join(PEERS)}")
        trouble = build(wanted)
        print(f"{wanted}: {trouble or path_of(wanted)}")
        code |= trouble is not None
    sys.exit(code)
