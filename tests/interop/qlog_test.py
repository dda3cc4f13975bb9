"""Our qlogs, read as others read them. Four judges: what qvis does when it loads a file (its loader's demands, from its sources: qvis
itself is a web page and no package), the definitions of draft-ietf-quic-qlog-quic-events at version 0.3, aioquic's own log of the
same connection, packet by packet, and quiche's reader (the crate qlog), which wants every field of its type."""
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from aioquic_test import Aioquic, QuicConnection  # noqa: E402
from program import Broker, run  # noqa: E402
from rust_peers import need  # noqa: E402

NUMBER, TEXT, HEX, TRUTH, LIST, TABLE = "number", "text", "hex", "truth", "list", "table"
RAW = {"length": NUMBER}

# Name: what must be there, what may be there.
FRAMES = {
    "padding": ({"payload_length": NUMBER}, {}),
    "ping": ({}, {}),
    "ack": ({}, {"ack_delay": NUMBER, "acked_ranges": LIST}),
    "reset_stream": ({"stream_id": NUMBER, "error_code": NUMBER, "final_size": NUMBER}, {}),
    "stop_sending": ({"stream_id": NUMBER, "error_code": NUMBER}, {}),
    "crypto": ({"offset": NUMBER, "length": NUMBER}, {}),
    "new_token": ({"token": {"length": NUMBER}}, {}),
    "stream": ({"stream_id": NUMBER, "offset": NUMBER, "length": NUMBER}, {"fin": TRUTH}),
    "max_data": ({"maximum": NUMBER}, {}),
    "max_stream_data": ({"stream_id": NUMBER, "maximum": NUMBER}, {}),
    "max_streams": ({"stream_type": TEXT, "maximum": NUMBER}, {}),
    "data_blocked": ({"limit": NUMBER}, {}),
    "stream_data_blocked": ({"stream_id": NUMBER, "limit": NUMBER}, {}),
    "streams_blocked": ({"stream_type": TEXT, "limit": NUMBER}, {}),
    "new_connection_id": ({"sequence_number": NUMBER, "retire_prior_to": NUMBER, "connection_id": HEX}, {}),
    "retire_connection_id": ({"sequence_number": NUMBER}, {}),
    "path_challenge": ({}, {"data": HEX}),
    "path_response": ({}, {"data": HEX}),
    "connection_close": ({}, {"error_space": TEXT, "raw_error_code": NUMBER}),
    "handshake_done": ({}, {}),
    "datagram": ({}, {"length": NUMBER}),
}
HEADER = {"packet_type": TEXT, "packet_number": NUMBER}
PACKET_TYPES = {"initial", "handshake", "0RTT", "1RTT", "retry"}
PARAMETERS = {name: NUMBER for name in (
    "max_idle_timeout max_udp_payload_size ack_delay_exponent max_ack_delay active_connection_id_limit initial_max_data "
    "initial_max_stream_data_bidi_local initial_max_stream_data_bidi_remote initial_max_stream_data_uni initial_max_streams_bidi "
    "initial_max_streams_uni max_datagram_frame_size").split()}
EVENTS = {
    "connectivity:connection_started": ({"src_ip": TEXT, "dst_ip": TEXT},
                                        {"ip_version": TEXT, "protocol": TEXT, "src_port": NUMBER, "dst_port": NUMBER}),
    "connectivity:connection_closed": ({}, {"owner": TEXT, "application_code": NUMBER, "connection_code": NUMBER, "reason": TEXT}),
    "transport:parameters_set": ({}, {"owner": TEXT, **PARAMETERS}),
    "transport:packet_sent": ({"header": HEADER}, {"frames": LIST, "raw": RAW}),
    "transport:packet_received": ({"header": HEADER}, {"frames": LIST, "raw": RAW}),
    "transport:datagrams_sent": ({}, {"count": NUMBER, "raw": LIST}),
    "transport:datagrams_received": ({}, {"count": NUMBER, "raw": LIST}),
    "recovery:metrics_updated": ({}, {"smoothed_rtt": NUMBER, "latest_rtt": NUMBER, "congestion_window": NUMBER, "bytes_in_flight": NUMBER}),
    "recovery:packet_lost": ({}, {"header": HEADER}),
    # The draft has no events of paths yet ("infer from other events"); these are ours, and tools skip what they do not know.
    "connectivity:path_probing": ({"local": TEXT, "remote": TEXT}, {}),
    "connectivity:path_updated": ({"local": TEXT, "remote": TEXT}, {}),
    "connectivity:path_failed": ({"local": TEXT, "remote": TEXT}, {}),
}


def is_one(value, kind):
    if isinstance(kind, dict):
        return isinstance(value, dict) and set(value) == set(kind) and all(is_one(value[name], kind[name]) for name in kind)
    if kind == NUMBER:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    if kind == HEX:
        return isinstance(value, str) and len(value) % 2 == 0 and all(c in "0123456789abcdef" for c in value)
    return isinstance(value, {TEXT: str, TRUTH: bool, LIST: list}[kind])


def fits(record, must, may, where):
    for name, value in record.items():
        kind = must.get(name) or may.get(name)
        assert kind, f"{where}: no field {name} in the draft"
        assert is_one(value, kind), f"{where}: {name} is {value!r}"
    assert not must.keys() - record.keys(), f"{where}: without {must.keys() - record.keys()}"


def load(path):
    """As qvis does: by the name's end or the first kilobyte it knows the form; records between RS; the first is the header."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert path.endswith(".sqlog") and '"JSON-SEQ"' in text[:1024] and '"qlog_version"' in text[:1024]
    header, *events = [json.loads(record) for record in text.split("\x1e") if record.strip()]
    assert header["qlog_version"] == "0.3" and header["qlog_format"] == "JSON-SEQ"
    trace = header["trace"]
    assert trace["vantage_point"]["type"] in ("client", "server")
    assert trace["common_fields"]["time_format"] == "relative" and is_one(trace["common_fields"]["reference_time"], NUMBER)
    times = [event["time"] for event in events]
    assert times and times == sorted(times), "qvis warns the user when times are not in order"
    assert not any("group_id" in event for event in events)
    return trace, events


def packets(events, what):
    return [event["data"] for event in events if event["name"] == "transport:packet_" + what]


def plain(frames):
    """What two logs of one packet must agree on."""
    keep = ("frame_type", "stream_id", "offset", "sequence_number", "retire_prior_to", "connection_id", "data", "maximum", "limit",
            "acked_ranges", "raw_error_code")
    found = []
    for frame in frames:
        if frame["frame_type"] == "padding":
            continue
        one = {name: frame[name] for name in keep if name in frame}
        if frame["frame_type"] in ("stream", "crypto"):
            one["length"] = frame["length"]
        if frame["frame_type"] == "stream":
            one["fin"] = frame.get("fin", False)
        one["acked_ranges"] = sorted(one.get("acked_ranges", []))
        found.append(one)
    return found


def check(events):
    """Against the draft. Packets that carry what counts for the picture have their length, or qvis leaves them out."""
    for at, event in enumerate(events):
        where = f"event {at}, {event['name']}"
        assert set(event) == {"time", "name", "data"}, where
        must, may = EVENTS[event["name"]]
        fits(event["data"], must, may, where)
        assert event["data"].get("header", {"packet_type": "1RTT"})["packet_type"] in PACKET_TYPES, where
        for frame in event["data"].get("frames", []):
            fits({name: value for name, value in frame.items() if name != "frame_type"}, *FRAMES[frame["frame_type"]],
                 f"{where}, {frame['frame_type']}")
            for low, high in frame.get("acked_ranges", []):
                assert low <= high, where
        if event["name"].startswith("transport:packet_"):
            assert event["data"]["raw"]["length"] > 0, where


class Qlog(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def logs(self, side):
        return [load(path) for path in glob.glob(os.path.join(self.folder, f"*_{side}.sqlog"))]

    def lead_a_life(self):
        """Retry, resumption with early data, a migration, and all frames on the way, seen from both ends."""
        broker = Broker("--qlog", self.folder, "--retry")
        self.addCleanup(broker.close)
        state = os.path.join(self.folder, "state")
        words = ("pub", *broker.at("quic"), "-t", "t", "-m", "x", "-q", "1", "--qlog", self.folder, "--state", state)
        for more in ((), ("--repeat", "8", "--repeat-delay", "100ms", "--migrate-at", "300ms=127.0.0.2")):
            self.assertEqual(run(*words, *more).returncode, 0)
        broker.stop()

    def test_both_ends_of_a_life(self):
        self.lead_a_life()
        clients, servers = self.logs("client"), self.logs("server")
        self.assertEqual((len(clients), len(servers)), (2, 2))
        for trace, events in clients + servers:
            check(events)
        for trace, events in clients:
            peer = next(other for one, other in servers if one["common_fields"]["ODCID"] == trace["common_fields"]["ODCID"])
            arrived = {(p["header"]["packet_type"], p["header"]["packet_number"]): p for p in packets(peer, "received")}
            said = [p for p in packets(events, "sent") if (p["header"]["packet_type"], p["header"]["packet_number"]) in arrived]
            self.assertGreater(len(said), 5)
            for packet in said:
                other = arrived[packet["header"]["packet_type"], packet["header"]["packet_number"]]
                self.assertEqual(plain(packet["frames"]), plain(other["frames"]))
                self.assertEqual(packet["raw"], other["raw"])
        kinds = {frame["frame_type"] for _, events in clients for what in ("sent", "received") for p in packets(events, what)
                 for frame in p["frames"]}
        self.assertLessEqual({"ack", "crypto", "stream", "padding", "ping", "new_connection_id", "retire_connection_id", "new_token",
                              "path_challenge", "path_response", "handshake_done", "connection_close"}, kinds)
        self.assertLessEqual({"initial", "0RTT", "handshake", "1RTT"},
                             {p["header"]["packet_type"] for _, events in clients for p in packets(events, "sent")})

    def test_quiche_reads_every_event(self):
        """As typed events, but for two: paths have none at 0.3, and its names of error spaces are not the draft's."""
        reader = need("qlog-reader")
        self.lead_a_life()
        for path in glob.glob(os.path.join(self.folder, "*.sqlog")):
            done = subprocess.run([reader, path], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 0, done.stderr)
            version, _, typed, _, unread, _, *plain = done.stdout.split()
            closes = sum(frame["frame_type"] == "connection_close" for what in ("sent", "received")
                         for packet in packets(load(path)[1], what) for frame in packet["frames"])
            self.assertEqual((version, unread), ("0.3", "0"))
            self.assertGreater(int(typed), 20)
            self.assertEqual(sum(not name.startswith("connectivity:path_") for name in plain), closes, plain)

    @unittest.skipUnless(QuicConnection, "needs aioquic (./dev test has it)")
    def test_aioquic_saw_the_same(self):
        from aioquic.quic.logger import QuicLogger
        logger = QuicLogger()
        server = Aioquic(self.folder, logger=logger)
        self.addCleanup(server.stop)
        result = server.pub("-m", "x" * 100, "--repeat", "9", "--repeat-delay", "50ms", "--qlog", self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        ((_, events),) = self.logs("client")
        check(events)
        (theirs,) = [trace["events"] for trace in logger.to_dict()["traces"]]
        for ours, other in (("sent", "received"), ("received", "sent")):
            seen = {(p["header"]["packet_type"], p["header"]["packet_number"]): p for p in packets(theirs, other)}
            both = [(p, seen[p["header"]["packet_type"], p["header"]["packet_number"]]) for p in packets(events, ours)
                    if (p["header"]["packet_type"], p["header"]["packet_number"]) in seen]
            self.assertGreater(len(both), 5)
            for mine, his in both:
                self.assertEqual(plain(mine["frames"]), plain(his["frames"]))
                if "length" in his.get("raw", {}) and ours == "sent":
                    self.assertEqual(mine["raw"]["length"], his["raw"]["length"], mine)


if __name__ == "__main__":
    unittest.main()
