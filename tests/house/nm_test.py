"""What each layer's archive asks of the system, and what it offers: read by nm from a finished build.

No layer but net and loop may call for a clock, a socket, a thread or chance, and every symbol the library shows to its users stands
in a public header. ROAMQTT_BUILD names the build folder (default: build beside the tree's root)."""
import glob
import os
import re
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("ROAMQTT_BUILD", "build"))
EDGES = {"net", "loop"}
FORBIDDEN = re.compile(
    r"^(__)?("
    # clocks and sleep
    r"clock_\w+|time|gettimeofday|times|ftime|timespec_get|usleep|nanosleep|sleep|alarm|setitimer|timer\w*|"
    # sockets and descriptors
    r"socket|socketpair|bind|listen|accept4?|connect|send(to|msg|mmsg)?|recv(from|msg|mmsg)?|shutdown|[gs]etsockopt|getaddrinfo|"
    r"gethostby\w+|if_\w+|open(at)?(64)?|fopen(64)?|read|write|pread|pwrite|poll|ppoll|select|pselect|epoll_\w+|eventfd|signalfd|ioctl|"
    r"fcntl(64)?|"
    # threads
    r"pthread_\w+|thrd_\w+|mtx_\w+|cnd_\w+|sem_\w+|fork|vfork|clone|system|"
    # chance
    r"s?rand(om)?(_r)?|[delmnj]rand48|getrandom|getentropy|arc4random\w*|gnutls_rnd|"
    # text to people
    r"v?f?printf(_chk)?|puts|putchar|fputs|fputc|fwrite|perror|getenv|secure_getenv"
    r")$")
# write is a common word: only as an undefined symbol of libc does it count, and that is what nm -u lists.


def archives():
    return {os.path.basename(path)[len("libroam_"):-2]: path for path in glob.glob(os.path.join(BUILD, "core", "libroam_*.a"))}


def undefined(path):
    out = subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines() if " U " in line or " w " in line}


def calls_forbidden(path):
    return sorted(symbol for symbol in undefined(path) if FORBIDDEN.match(symbol))


def defined(path):
    """(name, visibility) of every global symbol an archive defines."""
    out = subprocess.run(["readelf", "-sW", path], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        words = line.split()
        if len(words) == 8 and words[4] in ("GLOBAL", "WEAK") and words[6] != "UND" and words[3] in ("FUNC", "OBJECT"):
            yield words[7], words[5]


def public_names():
    names = set()
    for path in glob.glob(os.path.join(ROOT, "core", "include", "roamqtt", "*.h")):
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", " ", file.read(), flags=re.S)
        names |= set(re.findall(r"ROAM_API\b[^;{]*?\b(roam_\w+)\s*\(", text))
    return names


class Archives(unittest.TestCase):
    def setUp(self):
        if not archives():
            self.fail(f"no libroam_*.a under {BUILD}/core; run ./dev build first, or name the folder with ROAMQTT_BUILD")

    def test_no_layer_but_the_edges_asks_for_clock_socket_thread_or_chance(self):
        for layer, path in sorted(archives().items()):
            if layer in EDGES:
                continue
            with self.subTest(layer=layer):
                self.assertEqual(calls_forbidden(path), [], f"{layer} may not call these; they belong to net or loop")

    def test_the_edges_do_ask_so_the_check_can_fail(self):
        """The control: if nm showed nothing at all, the test above would pass too."""
        self.assertIn("socket", calls_forbidden(archives()["net"]))
        self.assertIn("clock_gettime", calls_forbidden(archives()["loop"]))

    def test_a_planted_call_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            source, planted = os.path.join(folder, "planted.c"), os.path.join(folder, "planted.o")
            with open(source, "w", encoding="utf-8") as file:
                file.write("#include <stdlib.h>\n#include <time.h>\nlong planted(void) { return rand() + time(0); }\n")
            subprocess.run(["cc", "-c", source, "-o", planted], check=True)
            self.assertEqual(calls_forbidden(planted), ["rand", "time"])

    def test_every_global_symbol_has_the_prefix(self):
        for layer, path in sorted(archives().items()):
            with self.subTest(layer=layer):
                self.assertEqual([name for name, _ in defined(path) if not name.startswith("roam_")], [])

    def test_only_public_functions_are_visible(self):
        public = public_names()
        self.assertGreater(len(public), 100, "the headers could not be read")
        for layer, path in sorted(archives().items()):
            with self.subTest(layer=layer):
                visible = {name for name, how in defined(path) if how == "DEFAULT"}
                self.assertEqual(sorted(visible - public), [], "visible outside the library but in no public header")

    def test_every_public_function_exists(self):
        there = {name for path in archives().values() for name, how in defined(path) if how == "DEFAULT"}
        self.assertEqual(sorted(public_names() - there), [], "declared in a public header, defined nowhere")


if __name__ == "__main__":
    unittest.main()
