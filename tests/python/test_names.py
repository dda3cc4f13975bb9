"""One word in C, in Python and in the documents: options, events and figures are compared with the public headers, so that what is added
there and not here is noticed."""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import roamqtt
from roamqtt import core, options, types
from roamqtt._io import struct_dict

HEADERS = Path(__file__).resolve().parents[2] / "core/include/roamqtt"

# Members that no keyword has, and why.
ELSEWHERE = {
    "client": {
        "size": "the struct's own",
        "url": "the first argument",
        "tls": "its members are keywords themselves",
        "log": "an argument of Client: a file; no call goes from the core's thread into a script",
        "tap": "the arguments keylog and qlog of Client, for the same reason",
    },
    "broker": {
        "size": "the struct's own",
        "tls": "its members are keywords themselves",
        "log": "an argument of Broker",
        "tap": "the arguments keylog and qlog of Broker",
        "store": "an argument of Broker: a path",
        "decide": "an argument of Broker: True, or a function",
        "workers": "a script's broker has one thread and is one worker",
        "worker": "likewise", "encrypt_ids": "likewise",
    },
    "relay": {
        "size": "the struct's own",
        "log": "a relay has nothing to say",
        "inside": "an argument of Nat", "server": "an argument of Nat", "address": "an argument of Nat",
    },
    "tls": {"wall_unix_s": "set when the object starts"},
}
# Events nobody gets from a client, a broker or a NAT.
NO_EVENTS = {"NONE": "is none", "RATE": "a load run's, which has no binding", "LOAD_DONE": "likewise"}
# These have bodies of their own: they come by the thousand.
HOT = {"MESSAGE": roamqtt.Message, "PUBLISHED": roamqtt.Published, "SUBSCRIBED": None, "UNSUBSCRIBED": None}


def members(header, struct):
    text = re.sub(r"/\*.*?\*/", "", (HEADERS / header).read_text(), flags=re.S)
    body = re.search(r"typedef struct %s \{(.*?)\n\} %s;" % (struct, struct), text, re.S)[1]
    table = re.search(r"(\w+_MAP)\(X\)", body)
    if table:  # lines X(type, name, ...)
        return re.findall(r"X\(\w+, (\w+),", re.search(r"#define %s\(X\)(.*?)\n\n" % table[1], text, re.S)[1])
    found = []
    for declaration in re.sub(r"union \{.*?\} u;", "", body, flags=re.S).split(";"):
        words = re.sub(r"\[[^]]*\]", "", declaration).replace("*", " ").split(",")
        found += [name.split()[-1] for name in words if name.split()]
    assert len(found) > 2
    return found


def event_names():
    text = (HEADERS / "event.h").read_text()
    table = text[text.index("#define ROAM_EVENT_MAP") : text.index("typedef enum roam_event_kind")]
    return {name: int(number) for name, number in re.findall(r"X\((\w+), (\d+),", table)}


@pytest.mark.parametrize("owner, known", [("client", options.CLIENT), ("broker", options.BROKER), ("relay", options.NAT)])
def test_each_option_has_its_keyword(owner, known):
    there = set(members("hop.h" if owner == "relay" else f"{owner}.h", f"roam_{owner}_options"))
    tls = set(members("tls.h", "roam_tls_config")) - set(ELSEWHERE["tls"])
    offered = there - set(ELSEWHERE[owner])
    assert offered - known == set(), "in the header, not in roamqtt/options.py (or say in ELSEWHERE why not)"
    assert known - offered - tls == set(), "in roamqtt/options.py, not in the header"
    assert owner == "relay" or known & tls == {t for t in tls if (t == "insecure") <= (owner == "client") and (t == "more" or "client" in t) <= (owner == "broker")}
    assert set(ELSEWHERE[owner]) <= there
    struct = getattr(core, f"{owner}_options")
    for name in known:
        assert isinstance(getattr(core.tls_config if name in options.TLS else struct, name), property), name


@pytest.mark.parametrize("owner", ["client", "broker", "relay"])
def test_each_option_reaches_the_core(owner):
    """Sets each to something that is not its default, and reads it back."""
    kinds = getattr(options, f"{'Nat' if owner == 'relay' else owner.capitalize()}Options").__annotations__
    o = getattr(core, f"{owner}_options")()
    for name, kind in kinds.items():
        text = kind.__forward_arg__
        target = o.tls if name in options.TLS else o
        before = getattr(target, name)
        if name in options._ENUMS:
            value = next(word for word, number in options._ENUMS[name].items() if number != before)
        elif text.startswith("bool"):
            value = not before
        elif text.startswith("int"):
            value = before - 1 if before else 1
        elif "bytes" in text:
            value = b"some bytes"
        else:
            value = "192.0.2.7" if name == "local" or name.startswith("preferred_ipv4") else "2001:db8::7" if name == "preferred_ipv6" else "text"
        keep = options.fill(o, {name: value}, frozenset(kinds), owner)
        got = getattr(target, name)
        assert got == (options._ENUMS[name][value] if name in options._ENUMS else value) and got != before, name
        assert keep


def test_what_an_option_cannot_be_is_said():
    for how, words in [
        ({"keep_alive_s": 70000}, "keep_alive_s: 70000 is out of its range"),
        ({"keep_alive_s": "5"}, "keep_alive_s: expected int, got str"),
        ({"keep_alive_s": 1.5}, "keep_alive_s: expected int, got float"),
        ({"roam": 1}, "roam: expected bool, got int"),
        ({"congestion": "vegas"}, "congestion: expected cubic or reno or bbr"),
        ({"lanes": "many"}, "lanes: expected one or per-topic"),
        ({"user_nam": "x"}, "is it user_name"),
        ({"username": "x"}, "is it user_name"),
        ({"ping_interval": 3}, "is it ping_ns"),
        ({"subscriptions": 3}, "no such option"),
        ({"log_level": "loud"}, "log_level: expected error"),
        ({"log_format": "xml"}, "log_format: expected text or json"),
        ({"ca": "not PEM", "url": "mqtts://h"}, None),
    ]:
        with pytest.raises(roamqtt.UsageError) if words else pytest.raises(roamqtt.CertificateError) as caught:
            client = roamqtt.Client(**{"url": "mqtt://h", **how})
            core.make_client(client._options)
        assert words is None or words in str(caught.value)
    assert roamqtt.Client("mqtt://h", user_name=None, keep_alive_s=None)._options.keep_alive_s == 60
    with pytest.raises(roamqtt.UsageError, match="overflow: expected refuse"):
        roamqtt.Broker(overflow="burst")


def test_each_event_has_its_class():
    names = event_names()
    assert names == {name[3:]: getattr(core, name) for name in dir(core) if name.startswith("EV_")}
    classes = {**types.CLIENT_EVENTS, **types.BROKER_EVENTS, **types.NAT_EVENTS}
    missing = {name for name, number in names.items() if number not in classes} - set(NO_EVENTS) - set(HOT)
    assert missing == set(), "in ROAM_EVENT_MAP, without a class in roamqtt/types.py (or say in NO_EVENTS why not)"
    for kind in classes.values():
        assert getattr(roamqtt, kind.__name__) is kind and kind.__name__ in roamqtt.__all__ and kind.__doc__


def test_each_event_carries_what_the_header_says():
    """The core's own conversion, for each kind, against the header's structs."""
    text = (HEADERS / "event.h").read_text()
    common = set(members("event.h", "roam_event")) - {"kind"}
    for kinds in (types.CLIENT_EVENTS, types.BROKER_EVENTS, types.NAT_EVENTS):
        for number, kind in kinds.items():
            if kind is roamqtt.Published:
                continue
            _tag, got, body = core.sample_event(number)
            says = re.search(r"X\(%s, %d,\s*(.*?)\)(?:\s|\\)*(?:X\(|\n\n)" % (core.event_name(number), number), text, re.S)[1]
            part = re.search(r"u\.(\w+)", says)
            want = common | set(members("event.h", f"roam_event_{part[1]}") if part else ())
            assert got == number and want <= set(body), (core.event_name(number), want - set(body))
            event = types.make_event(kind, body)
            for f in dataclasses.fields(event):
                getattr(event, f.name)


# Functions of client.h and broker.h that have no method of their name, and why.
VERBS = {"feed", "tick", "drain", "poll", "deadline", "machine"}  # the core's thread gives them
VERBS |= {"stats_add", "mail_drop", "secret"}  # of several workers
OTHER_WORDS = {
    "client": {
        "new": "__init__", "options_init": "__init__", "option_error": "__init__", "start": "connect", "free": "close", "id": "client_id",
        "get_stats": "stats", "error": "connect", "ack": "_ack", "subscribe_how_to": "subscribe",
    },
    "broker": {
        "new": "__init__", "options_init": "__init__", "option_error": "__init__", "free": "close", "stop": "close", "get_stats": "stats",
    },
}  # fmt: skip


@pytest.mark.parametrize("owner", ["client", "broker"])
def test_each_function_has_its_method(owner):
    text = re.sub(r"/\*.*?\*/", "", (HEADERS / f"{owner}.h").read_text(), flags=re.S)
    there = set(re.findall(r"\broam_%s_(\w+)\(" % owner, text)) - VERBS
    assert len(there) > 15
    for name in there:
        assert hasattr(getattr(roamqtt, owner.capitalize()), OTHER_WORDS[owner].get(name, name)), f"{owner}.h has roam_{owner}_{name}"


@pytest.mark.parametrize(
    "header, struct",
    [("client.h", "client_stats"), ("broker.h", "broker_stats"), ("hop.h", "relay_stats")],
)
def test_each_figure_is_there(header, struct):
    figures = struct_dict(getattr(core, struct)())
    assert set(figures) == set(members(header, f"roam_{struct}"))
    for name, value in figures.items():
        assert isinstance(value, (int, bool, str)) or value == (0, 0), name


async def test_each_figure_of_a_client_of_the_broker():
    async with roamqtt.Broker(quic=None) as broker, roamqtt.Client(broker.tcp_url, client_id="x"):
        assert set(broker.client("x")) == set(members("broker.h", "roam_peer_info"))
        assert [set(dataclasses.asdict(c)) for c in broker.history("x")] == [set(members("broker.h", "roam_address_change"))]


def test_enums_are_the_core_s():
    for enum, prefix in ((roamqtt.ReasonCode, "REASON_"), (roamqtt.PropertyId, "PROP_")):
        assert {m.name: m.value for m in enum} == {n[len(prefix) :]: getattr(core, n) for n in dir(core) if n.startswith(prefix)}


def test_types_are_true():
    pytest.importorskip("mypy", reason="pip install -r tests/requirements.txt")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, root / "bindings/python/roamqtt",
         *sorted((root / "examples/python").glob("*.py"))],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_have_their_arguments():
    """What the stub says of the private module is what it takes."""
    stub = (Path(roamqtt.__file__).parent / "core.pyi").read_text()
    for name, arguments in re.findall(r"^def (\w+)\((.*?)\) -> Any: \.\.\.", stub, re.M | re.S):
        want = [a.split(":")[0].strip() for a in arguments.split(",") if a.strip()]
        got = [("*" if p.kind == p.VAR_POSITIONAL else "") + p.name for p in inspect.signature(getattr(core, name)).parameters.values()]
        assert got == want, name


def test_everything_public_is_explained():
    for name in roamqtt.__all__:
        thing = getattr(roamqtt, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name
        if inspect.isclass(thing) and thing in (roamqtt.Client, roamqtt.Broker, roamqtt.Nat, roamqtt.Subscription):
            for method, what in vars(thing).items():
                if not method.startswith("_") and (callable(what) or isinstance(what, property)):
                    assert what.__doc__, f"{name}.{method}"
