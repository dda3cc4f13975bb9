"""roamqtt packet: every vector told or refused with its reason, however the digits are written."""
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from program import run  # noqa: E402


def vectors():
    with open(os.path.join(HERE, "..", "vectors", "packets.txt"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                name, version, sender, digits, meaning = line.split(None, 4)
                yield name, version, sender, digits, meaning


class Packet(unittest.TestCase):
    def test_every_vector(self):
        for name, version, sender, digits, meaning in vectors():
            # a second CONNECT is a connection's affair, and one packet alone has no maximum and always a version
            if version == "0" or name.startswith("too-large") or (sender == "x" and digits[0] == "1"):
                continue
            side = ["--from-server"] if sender == "s" else []
            result = run("packet", "--mqtt-version", version, *side, digits)
            with self.subTest(name):
                if meaning.startswith("!"):
                    self.assertEqual(result.returncode, 1)
                    self.assertRegex(result.stderr, r"at byte 0: ")
                    self.assertIn(meaning[1:5].lower(), result.stderr.lower())
                else:
                    self.assertEqual((result.returncode, result.stderr), (0, ""))
                    self.assertTrue(result.stdout.decode().startswith(meaning.split()[0] + ", MQTT "))

    def test_fields_by_name(self):
        out = run("packet", "3212 0003 612f62 0007 08 26 0001 6b 0002 c29b 0068").stdout.decode()
        self.assertRegex(out, r"packet id +7\n")
        self.assertRegex(out, r'topic +"a/b"\n')
        self.assertRegex(out, r"QoS +1\n")
        self.assertRegex(out, r'USER_PROPERTY +"k" = "\\u009b"\n')
        self.assertRegex(out, r"payload +2 bytes\n +000000  00 68 .*\.h\n$")

    def test_several_in_a_row_and_from_stdin(self):
        connect = "10:0e:00:04:4d:51:54:54:04:02:00:3c:00:02:63:31"
        for result in (run("packet", connect, "c000"), run("packet", "-", data=f"0x{connect}\n0xC0, 0x00\n".encode())):
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(re.findall(r"^\w+, MQTT [\d.]+", result.stdout.decode(), re.M), ["CONNECT, MQTT 3.1.1", "PINGREQ, MQTT 3.1.1"])
        result = run("packet", "c000c0")
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.startswith(b"PINGREQ"))
        self.assertIn("at byte 2: the packet is cut short after 1 byte", result.stderr)

    def test_the_other_side_is_hinted_at(self):
        result = run("packet", "d000")
        self.assertEqual(result.returncode, 1)
        self.assertIn("--from-server", result.stderr)
        self.assertEqual(run("packet", "--from-server", "d000").returncode, 0)
        self.assertNotIn("--from-server", run("packet", "d100").stderr)

    def test_wrong_usage(self):
        for words, said in (([], "hexadecimal"), (["c00"], "'0"), (["xyz"], "'xyz"), (["--mqtt-version", "6", "c000"], "between 3 and 5")):
            result = run("packet", *words)
            self.assertEqual(result.returncode, 1)
            self.assertIn(said, result.stderr)


if __name__ == "__main__":
    unittest.main()
