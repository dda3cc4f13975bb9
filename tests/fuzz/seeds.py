#!/usr/bin/env python3
"""seeds.py FOLDER - writes first inputs for each fuzzer into FOLDER/<name>, made from tests/vectors/packets.txt."""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = {0: 0, 3: 1, 4: 2, 5: 3}  # as packet_fuzz.c numbers them
CONNECT = 1


def vectors():
    """(name, version, from, bytes), good and bad."""
    with open(os.path.join(HERE, "..", "vectors", "packets.txt"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                name, version, sender, packet = line.split(None, 4)[:4]
                yield name, int(version), sender, bytes.fromhex(packet)


def packet_seeds():
    for name, version, sender, packet in vectors():
        first = packet[0] >> 4 == CONNECT and sender != "x"
        how = VERSIONS[0 if first else version] | (4 if sender == "s" else 0)
        yield name, bytes([how, 0]) + packet


PROPERTIES = {
    "B": (0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A),
    "H": (0x13, 0x21, 0x22, 0x23),
    "I": (0x02, 0x11, 0x18, 0x27),
    "v": (0x0B,),
    "s": (0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F),
    "p": (0x26,),
}


def block(text):
    return struct.pack(">H", len(text)) + text


def prop(kind, number):
    value = {"v": b"\x80\x01", "s": block(b"text"), "p": block(b"name") + block("wért".encode())}.get(kind)
    return bytes([number]) + (value if value is not None else struct.pack(">" + kind, 1))


def prop_seeds():
    for kind, numbers in PROPERTIES.items():
        for number in numbers:
            yield f"one-{number:02x}", b"\0" + prop(kind, number)
            yield f"put-{number:02x}", struct.pack(">BBI", 1, number, 1) + b"\x04text\x04text"
    yield "publish", b"\0" + b"".join(prop(*p) for p in (("B", 1), ("I", 2), ("s", 3), ("s", 8), ("s", 9), ("p", 0x26), ("H", 0x23)))
    yield "connect", b"\0" + b"".join(prop(*p) for p in (("I", 0x11), ("H", 0x21), ("I", 0x27), ("H", 0x22), ("B", 0x19), ("s", 0x15)))


TOPICS = [
    ("a/b", "a/b"), ("a/+", "a/b"), ("a/#", "a"), ("#", "a/b/c"), ("+/+", "/x"), ("/+", "/x"), ("+", "/x"), ("#", "$SYS/x"),
    ("$SYS/#", "$SYS/x/y"), ("$share/g/a/#", "a/b"), ("$share/g/", "a"), ("$share//a", "a"), ("$share/+/a", "a"), ("a//b", "a//b"),
    ("a/+/c/#", "a/b/c/d/e"), ("a+", "a"), ("#/a", "a"), ("ä/€/😀", "ä/€/😀"), ("", ""), ("a/#", "a/"), ("+/", "a/"),
]  # fmt: skip


def topic_seeds():
    for i, (pattern, topic) in enumerate(TOPICS):
        yield f"pair-{i:02}", bytes([len(pattern.encode())]) + pattern.encode() + topic.encode()
    for i, text in enumerate((b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\0b", b"\xf0\x9f\x98")):
        yield f"utf8-{i}", bytes([len(text)]) + text + b"a" * 7 + text


PUMP = b"\x03\x00"


def session_seeds():
    for version in range(3):
        head = bytes([version, 0, 0])
        for qos in range(3):
            yield f"talk-{version}-{qos}", head + PUMP + bytes([0, qos, 0x80, qos | 8]) + PUMP + b"\x02\x13" + PUMP
        yield f"break-{version}", head + PUMP + b"\x00\x02\x00\x06\x80\x82\x04\x09\x05\x00\x04\x20\x05\x00" + PUMP
        yield f"hold-{version}", bytes([version, 1, 2]) + b"\x09\x00\x89\x00" + PUMP + b"\x00\x02\x80\x01" * 6 + PUMP + b"\x0a\0\x8a\0" + PUMP
        yield f"end-{version}", head + PUMP + b"\x00\x01\x0b\x00" + PUMP + b"\x05\x00" + PUMP + b"\x0e\x00\x00\x02\x05\x00"
        yield f"time-{version}", head + PUMP + b"\x0d\x00\x08\x90" + PUMP + b"\x08\xbf" + PUMP
    for name, version, sender, packet in vectors():
        if len(packet) < 0x80 and packet[0] >> 4 != CONNECT:
            which = {5: 0, 4: 1, 3: 2, 0: 0}[version]
            op = 0x06 if sender == "s" else 0x86
            yield name, bytes([which, 0, 0]) + PUMP + b"\x00\x02\x80\x01" + bytes([op, len(packet)]) + packet + PUMP


def quic_seeds():
    """Operations of quic_fuzz.c, by its numbers."""
    dial, pump = b"\x07\0", b"\x0a\x0f"
    yield "flights", bytes(b for i in range(8) for b in (0, i))
    yield "backwards", bytes(b for i in reversed(range(8)) for b in (0, i))
    yield "again", b"\0\0" * 6
    yield "moved", b"\x10\0\x50\0\0\1\0\1"
    for length in (0, 1, 20, 600, 1199):
        yield f"cut-{length}", b"\1\0" + struct.pack(">H", length)
    for at in (0, 1, 5, 6, 14, 30, 300):
        yield f"turned-{at}", b"\2\0" + struct.pack(">HB", at, 0x55)
    yield "version", b"\3\x18\xc0\x1a\x2a\x3a\x4a\x08" + b"c" * 8 + b"\0" + b"x" * 10
    yield "short", b"\3\x20\x40" + b"s" * 31
    yield "time", b"\0\0\6\x40\6\xff\0\1"
    yield "hello", b"\5\0" + pump
    for kind, cut in (("halves", 0x40), ("behind", 0xC0)):
        yield f"hello-{kind}", bytes([5, cut])
    for at in (0, 1, 4, 38, 39, 41, 80, 120, 200):
        yield f"hello-turned-{at}", bytes([5, 1]) + struct.pack(">HB", at, 0xFF)
        yield f"hello-short-{at}", bytes([5, 0x20]) + struct.pack(">HB", at, 9)
    for i, frames in enumerate((b"\x01", b"\x02\0\0\0\0", b"\x1c\0\0\0", b"\x06\0\5\1\0\0\1\0", b"\x08\0\0", b"\x06\x7f\xff\1\0",
                                b"\x02\0\0\x3f\0" + b"\0" * 126, b"\x30", b"\x1e", b"\xff\xff")):  # fmt: skip
        yield f"frames-{i}", bytes([4, len(frames)]) + frames
    connected = dial + pump
    yield "client", connected + b"\x0b\x40" + pump + b"\x0c\x40" + pump
    yield "lanes", connected + b"\x2b\0\x1b\x10\x0a\2\x3b\1\x4b\1\x3c\1" + pump
    yield "close", connected + b"\x5b\1" + pump + b"\7\0" + pump + b"\x5c\0" + pump
    yield "migrate", connected + b"\x6b\0" + pump + b"\x6b\1" + pump + b"\x7b\0" + pump
    yield "fates", dial + b"\x08\0\x19\0\x29\0\x39\0\0\x20\x44\x09\0\x38\0\0\x20\x44\x88\0\x89\0" + pump
    yield "rebind", connected + b"\x0b\x10\x88\0\x09\0\x0b\x20\x88\0" + pump
    yield "silence", connected + b"\6\xbd" + pump + b"\6\xff" + pump


def broker_connect(version):
    body = block(b"MQIsdp" if version == 3 else b"MQTT") + bytes([version, 2, 0, 30]) + (b"\0" if version == 5 else b"") + block(b"c1")
    return b"\x10" + bytes([len(body)]) + body


def data(packet):
    """Operation 1 of broker_fuzz.c: bytes on connection 0."""
    parts = [packet[at : at + 255] for at in range(0, len(packet), 255)]
    return b"".join(bytes([1, len(part)]) + part for part in parts)


def broker_seeds():
    """Operations of broker_fuzz.c, by its numbers; the first byte is bounds."""
    for name, version, sender, packet in vectors():
        first = packet[0] >> 4 == CONNECT and sender != "x"
        connect = b"" if first or version == 0 else broker_connect(version)
        if sender != "s":
            yield name, b"\0\0\0" + data(connect + packet)
            yield name + "-at-once", b"\0" + bytes([0, min(len(connect + packet), 255)]) + (connect + packet)[:255]
    for version in (0, 1):
        for qos in range(3):
            connect = bytes([0x08, version, 0x18, version | 0x40])
            talk = b"\0" + connect + bytes([0x0A, qos]) + bytes([0x19, qos, 0x19, 0x24 | qos, 0x19, 0x80 | qos])
            yield f"talk-{version}-{qos}", talk
            yield f"gone-{version}-{qos}", talk + bytes([2, 0, 0x19, qos, 0x19, 0x20 | qos, 5, 0x85, 0x08, version])
            yield f"slow-{version}-{qos}", b"\1" + talk[1:] + bytes([0x0B, 0]) + bytes([0x19, qos | 0x20, 0x19, qos | 0x40]) * 6
        yield f"will-{version}", b"\0" + bytes([0x08, version, 0x0A, 0, 0x18, version | 0x38, 0x12, 1, 5, 0x90])
        yield f"taken-{version}", b"\0" + bytes([0x08, version, 0x0F, 0, 0x08, version, 0x08, version | 4])
        yield f"share-{version}", b"\0" + bytes([0x08, version, 0x18, version, 0x0A, 0x0D, 0x1A, 0x0D]) + b"\x06\1" * 4
        yield f"retain-{version}", b"\x10" + bytes([0x08, version, 0x09, 5, 0x09, 0x0D, 0x18, version, 0x1A, 1, 0x1A, 0x81])
        yield f"stop-{version}", b"\0" + bytes([0x08, version, 0x18, version, 7, 1, 0x0C, 0xFF, 5, 0x85])
    yield "small", b"\0" + bytes([0x08, 0xC0, 0x0A, 1, 0x18, 0, 0x19, 0x81, 0x19, 1, 0x19, 0x21])


HASHES = {
    "own": b"user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
           b"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n",
    "pbkdf2": b"alice:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"
              b"Uz4ecVxcRbxCbzkA==\n",
    "sha512": b"bob:$6$6lib3c9k003O0EMa$ezpynnHTLL9E1dmUskSwe2cGcBHitaqqJDzdCuSvSytwauYXF4qAGn32Xrif0piCdsT7MKJvsplCeIFZgX+6Wg==\n",
}  # fmt: skip
LIST = (b"# all\ntopic read public/#\nuser alice\ntopic readwrite home/+/x\ntopic deny home/secret/#\npattern write in/%c/%u\n"
        b"user bob b\ntopic write two words\n")  # fmt: skip


def auth_seeds():
    """The cases of auth_fuzz.c, by its numbers."""
    for name, line in HASHES.items():
        yield f"passwords-{name}", b"\0" + line
        yield f"passwords-{name}-cut", b"\0# one\r\n" + line[:-9]
    yield "passwords", b"\0" + b"".join(HASHES.values())
    for i, (topic, user) in enumerate(((b"public/a", b""), (b"home/secret/x", b"alice"), (b"home/#", b"alice"), (b"in/a/b", b"b"))):
        yield f"acl-{i}", b"\1" + struct.pack(">HBB", len(LIST), len(topic), len(user)) + LIST + topic + user
    for i, (pattern, topic) in enumerate(TOPICS):
        one, other = pattern.encode(), topic.encode()
        yield f"acl-one-{i:02}", b"\1" + struct.pack(">HBB", len(one), len(other), 0) + one + other
    final = b"c=biws,r=clientserverserverserverserver,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    for i, first in enumerate((b"n,,n=user,r=client", b"y,,n=us=2Cer,r=client,x=y", b"p=tls-unique,,n=user,r=c", b"n,a=b,n=u,r=c")):
        yield f"server-{i}", b"\2" + struct.pack(">H", len(first)) + first + final
    for i, first in enumerate((b"r=clientserver,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", b"r=other,s=W22Z,i=4096", b"r=clientx,s=,i=1", b"e=no")):
        yield f"client-{i}", b"\3" + struct.pack(">H", len(first)) + first + b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


UPGRADE = (b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n%s\r\n")
ANSWER = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")  # fmt: skip


def frame(opcode, payload, masked=True, fin=True, first=0):
    size = len(payload)
    head = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
    head = bytes([first | opcode | (0x80 if fin else 0), head[0] | (0x80 if masked else 0)]) + head[1:]
    return head + (b"\1\2\3\4" + bytes(b ^ (i % 4 + 1) for i, b in enumerate(payload)) if masked else payload)


def ws_seeds():
    """Roles of ws_fuzz.c: 1 a server, 2 the upgrade is done, 7 both ways."""
    for i, more in enumerate((b"", b"Origin: http://localhost:80\r\n", b"Origin: http://evil.example\r\n", b"X: " + b"x" * 300 + b"\r\n")):
        yield f"request-{i}", b"\1\5" + UPGRADE % more + frame(2, b"hello")
    for i, (old, new) in enumerate(((b"GET", b"POST"), (b"/mqtt", b"/other?x"), (b"13", b"8"), (b": mqtt", b": a, mqttv3.1"), (b"1.1", b"1.0"),
                                    (b"==", b"=x"), (b"\r\n\r\n", b"\r\n"))):  # fmt: skip
        yield f"request-bad-{i}", b"\1\6" + (UPGRADE % b"").replace(old, new)
    yield "stranger", b"\1\0\x10\x0c\0\4MQTT"
    yield "answer", b"\0\3" + ANSWER + frame(2, b"hello", False)
    yield "answer-404", b"\0\3HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n"
    for role, masked in ((3, True), (2, False)):
        start = bytes([role, 9])
        for size in (0, 1, 125, 126, 200):
            yield f"frame-{role}-{size}", start + frame(2, b"x" * size, masked) * 2
        cut = frame(2, b"he", masked, False) + frame(9, b"p", masked) + frame(0, b"llo", masked)
        yield f"frame-{role}-cut", start + cut
        for i, bad in enumerate((frame(1, b"text", masked), frame(2, b"x", not masked), frame(0, b"x", masked), frame(2, b"x", masked, True, 0x40),
                                 frame(9, b"p", masked, False), frame(3, b"x", masked), frame(8, b"x", masked))):  # fmt: skip
            yield f"frame-{role}-bad-{i}", start + frame(2, b"first", masked) + bad
        for i, code in enumerate((b"", b"\x03\xe8", b"\x03\xf0why")):
            yield f"frame-{role}-close-{i}", start + frame(8, code, masked)
    yield "both", b"\7\1" + bytes(range(256)) * 8


def flow_seeds():
    for kind in (0x11, 0x12, 0x13, 0x14, 0x21):
        yield f"plain-{kind:02x}", bytes([kind, 2, 5, 0x51])
        yield f"long-{kind:02x}", bytes([kind]) + b"\x80\0\x40\0\xc0\0\0\0\0\0\0\x05\x71"
        yield f"optional-{kind:02x}", bytes([kind, 2, 5, 0x81, 3]) + b"abc\1d\0rest"


def cbor(value):
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if value is None:
        return b"\xf6"
    if isinstance(value, (list, dict)):
        parts = value if isinstance(value, list) else [x for pair in value.items() for x in pair]
        return cbor_head(4 if isinstance(value, list) else 5, len(value)) + b"".join(map(cbor, parts))
    if isinstance(value, int):
        return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)
    value, kind = (value.encode(), 3) if isinstance(value, str) else (value, 2)
    return cbor_head(kind, len(value)) + value


def cbor_head(kind, n):
    for limit, digit, pack in ((24, None, None), (1 << 8, 24, ">B"), (1 << 16, 25, ">H"), (1 << 32, 26, ">I"), (1 << 64, 27, ">Q")):
        if n < limit:
            return bytes([kind << 5 | (n if digit is None else digit)]) + (b"" if pack is None else struct.pack(pack, n))
    raise ValueError(n)


def items(*rows):
    return b"".join(cbor([at, kind, row, fields]) for at, kind, row, fields in rows)


def record_seeds():
    yield "all", items((0, "a", None, {}), (5, "b", 0, {"n": 1, "minus": -7, "text": "wért", "bytes": b"\0\xff", "yes": True}),
                       (1 << 40, "kind-of-twenty-three-ch", 4294967294, {"n": 1 << 63}))  # fmt: skip
    yield "many", items((1, "k", 1, {f"field{i}": i for i in range(32)}))
    yield "too-many", items((1, "k", 1, {f"field{i}": i for i in range(33)}))
    yield "not-text", items((1, "k", 1, {})) + b"\x84\1\x61\xff\1\xa0"
    yield "open", b"\x9f\1\x61k\1\xa0\xff"


def saved_seeds():
    entry = {"host": "localhost", "port": 14567, "print": bytes(range(32)), "session": b"ticket" * 20, "params": b"params", "received": 1699999000,
             "lifetime": 7200, "token": b"token", "rtt_ns": 20000000}  # fmt: skip
    state = (0, "state", None, {"form": 1})
    yield "one", items(state, (0, "server", None, entry))
    yield "none", items(state)
    yield "nine", items(state, *[(0, "server", None, {**entry, "port": 1 + i}) for i in range(9)])
    yield "twice", items(state, (0, "server", None, entry), (0, "server", None, {**entry, "token": b"", "received": 0}))
    yield "bounds", items(state, (0, "server", None, {**entry, "received": (1 << 64) - 1, "lifetime": 1 << 40, "session": bytes(17000)}))
    yield "form", items((0, "state", None, {"form": 2}), (0, "server", None, entry))


def url_seeds():
    for i, text in enumerate(("mqtt-quic://localhost", "quic://[::1]:14567", "mqtts://a.example:1/", "ws://h:80/mqtt?x", "wss://h", "mqtt://[fe80::1%3]:1883",
                              "tcp://1.2.3.4:65535", "mqtt://h:0", "mqtt://u@h", "1.2.3.4", "1.2.3.4:1883", "[::1]:1883", "::1", "[fe80::1%3]:1",
                              "::ffff:1.2.3.4", "01.2.3.4", "[::1]:", "2001:db8::1%7")):  # fmt: skip
        yield f"text-{i:02}", text.encode()


def row(key, record):
    return bytes([len(key), len(record)]) + key + record


def stored(number, at, topic, payload, props=b"", qos=1, retain=0, delay=0):
    return struct.pack(">QIBBHI", at, delay, qos, retain, len(topic), len(props)) + topic + props + payload


def store_seeds():
    """Rows of store_fuzz.c, in the layout of broker/records.c."""
    never, session = (1 << 64) - 1, b"s" + struct.pack(">Q", 7)
    about = row(session, struct.pack(">BIQ", 5, 3600, 0) + b"client")
    message = row(b"m" + struct.pack(">Q", 3), stored(3, never, b"a/b", b"payload"))
    filters = row(session + b"fa/#", b"\1\0\0\0\0") + row(session + b"f$share/g/a", b"\2\0\0\0\0")
    queued = row(session + b"q" + struct.pack(">Q", 9), struct.pack(">QBB", 3, 2, 0))
    began = row(session + b"p" + struct.pack(">Q", 9), b"\1\0\5")
    yield "session", b"\1" + about + filters
    yield "gone", b"\1" + row(session, struct.pack(">BIQ", 4, 3600, 1699999999000) + b"client") + filters
    yield "queued", b"\1" + message + about + filters + queued
    for i, progress in enumerate((b"\0\0\5", b"\1\0\5", b"\2\0\5", b"\1\0\0\5")):
        yield f"progress-{i}", b"\1" + message + about + row(session + b"p" + struct.pack(">Q", 9), progress) + queued
    yield "released", b"\1" + message + about + began + queued + row(session + b"r\0\7", b"")
    yield "will", b"\1" + about + row(session + b"w", stored(0, 1700000100000, b"will/x", b"gone", delay=5))
    yield "will-armed", b"\1" + about + row(session + b"w", stored(0, 0, b"will/x", b"gone", delay=5))
    yield "retained", b"\1" + row(b"ta/b", stored(0, never, b"a/b", b"x", b"\2\0\0\0\5", retain=1)) + row(b"tc", stored(0, 1, b"c", b"x"))
    yield "secret", b"\1" + row(b"ktickets", bytes(32))
    yield "foreign", b"\0" + row(b"z", b"z")
    yield "newer", b"\0" + row(b"f", b"\0\0\0\2")


CONFIG = b"""# a broker
flag = yes
string = "# quoted "
list = one
list=two
number = 5
duration = never
seconds = 90
bytes = 64k
rate = 10Mbit
share = 0.5%
address = [::1]:1883
connections_max = 100
queue-bytes-max = 1M
overflow = drop-oldest
"""


def config_seeds():
    yield "all", CONFIG
    for i, line in enumerate(CONFIG.split(b"\n")[1:-1]):
        yield f"line-{i:02}", line
        yield f"bad-{i:02}", line.split(b"=")[0] + b"= 999999999999999999999x\n"
    yield "section", b"[broker]\nflag"
    yield "unknown", b"flags = no\r\n\r\n"
    yield "later", b"later = 1\n"


def report_seeds():
    demo = (0, "demo", None, {"version": "1", "home": "10.0.0.1", "away": "10.0.0.2", "duration_ns": 10**9, "rtt_ns": 10**7, "rebind_ns": 5 * 10**8,
                              "return_ns": 8 * 10**8, "follow_paths": True})  # fmt: skip
    rows = [(0, "row", i, {"name": name}) for i, name in enumerate(("tcp", "quic-passive", "quic-active"))]
    start = (100, "start", None, {"rate_per_s": 100, "count": 100, "payload_bytes": 10, "qos": 1, "last_ns": 990000000, "settle_ns": 10**9})
    events = [(100 + n * 10**7, kind, n % 3, {"n": n, "latency_ns": 1000 * n}) for n in range(30) for kind in ("offered", "delivered")]
    more = [(200, "peer", 1, {"phase": 0, "address": "10.0.0.1:5"}), (5 * 10**8, "change", None, {"from": "a", "to": "b"}),
            (6 * 10**8, "connected", 0, {"side": "publisher"}), (7 * 10**8, "path-migrated", 1, {}), (8 * 10**8, "duplicate", 2, {}),
            (9 * 10**8, "done", None, {}), (10**9, "end", None, {"interrupted": 0, "dropped": 0})]  # fmt: skip
    yield "whole", items(demo, *rows, start, *events, *more)
    yield "cut", items(demo, *rows, start, *events)[:-3]
    yield "bare", items(demo, start)
    yield "bounds", items(demo, *rows, (100, "start", None, {"rate_per_s": 1, "count": 10**8, "last_ns": 10**14, "settle_ns": 10**14}))


def main():
    for name, seeds in (("packet", packet_seeds), ("prop", prop_seeds), ("topic", topic_seeds), ("session", session_seeds),
                        ("quic", quic_seeds), ("broker", broker_seeds), ("auth", auth_seeds), ("ws", ws_seeds), ("flow", flow_seeds),
                        ("record", record_seeds), ("saved", saved_seeds), ("url", url_seeds), ("store", store_seeds),
                        ("config", config_seeds), ("report", report_seeds)):  # fmt: skip
        folder = os.path.join(sys.argv[1], name)
        os.makedirs(folder, exist_ok=True)
        for title, seed in seeds():
            with open(os.path.join(folder, title), "wb") as file:
                file.write(seed)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
