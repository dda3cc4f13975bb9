"""The codec alone: every vector decoded, encoded and cut; what cannot be; what a peer would refuse."""

from pathlib import Path

import pytest

import roamqtt
from roamqtt import mqtt
from roamqtt.mqtt import Filter, IncompletePacket, Packet, PacketType, PropertyId, Will

ROOT = Path(__file__).resolve().parents[2]
MAXIMUM = 1 << 20  # the vectors' own


def read_vectors():
    for line in (ROOT / "tests/vectors/packets.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version, sender, packet, meaning = line.split(None, 4)
            yield pytest.param(int(version), sender, bytes.fromhex(packet), meaning, id=name)


VECTORS = list(read_vectors())
GOOD = [v for v in VECTORS if not v.values[3].startswith("!")]
# A second CONNECT ("x") is a connection's affair: for the codec it is a CONNECT.
BAD = [v for v in VECTORS if v.values[3].startswith("!") and not (v.values[1] == "x" and v.values[2][0] >> 4 == 1)]


def decode(packet, version, sender):
    return mqtt.decode(packet, version, sender == "s", maximum_packet_size=MAXIMUM)


@pytest.mark.parametrize("version, sender, packet, meaning", GOOD)
def test_good_vector(version, sender, packet, meaning):
    decoded, used = decode(packet + b"\xc0\0", version, sender)
    assert used == len(packet)
    assert PacketType(decoded.type).name == meaning.split()[0]
    assert (mqtt.encode(decoded) == packet) == ("~" not in meaning)
    assert decode(mqtt.encode(decoded), version, sender)[0] == decoded
    for length in range(len(packet)):
        with pytest.raises(IncompletePacket):
            decode(packet[:length], version, sender)


@pytest.mark.parametrize("version, sender, packet, meaning", BAD)
def test_bad_vector(version, sender, packet, meaning):
    with pytest.raises(roamqtt.ProtocolError) as caught:
        decode(packet, version, sender)
    assert caught.value.reason == int(meaning[1:].split("@")[0], 16)
    assert caught.value.text and -200 < caught.value.code <= -100


def test_every_field_by_hand():
    packet = Packet(
        PacketType.PUBLISH,
        topic="a/ä",
        payload=b"\0\xff",
        qos=2,
        dup=True,
        retain=True,
        packet_id=7,
        properties=[
            (PropertyId.USER_PROPERTY, ("b", "1")),
            (PropertyId.CONTENT_TYPE, "text/plain"),
            (PropertyId.CORRELATION_DATA, b"\0\1"),
            (PropertyId.USER_PROPERTY, ("a", "2")),
            (PropertyId.MESSAGE_EXPIRY_INTERVAL, 2**32 - 1),
        ],
    )
    assert mqtt.decode(mqtt.encode(packet)) == (packet, len(mqtt.encode(packet)))
    connect = Packet(
        PacketType.CONNECT,
        client_id="c",
        clean_start=True,
        keep_alive=65535,
        user_name="",
        password=b"\0",
        will=Will("w", b"bye", 1, True, [(PropertyId.WILL_DELAY_INTERVAL, 5)]),
        properties=[(PropertyId.RECEIVE_MAXIMUM, 10)],
    )
    assert mqtt.decode(mqtt.encode(connect))[0] == connect
    subscribe = Packet(PacketType.SUBSCRIBE, packet_id=1, filters=[Filter("a/#", 2, True, True, 2), Filter("$share/g/x", 1)])
    assert mqtt.decode(mqtt.encode(subscribe))[0] == subscribe


@pytest.mark.parametrize(
    "packet",
    [
        Packet(0),
        Packet(300),
        Packet(PacketType.PUBLISH, topic="a", qos=3),
        Packet(PacketType.PUBLISH, topic="a", qos=256),
        Packet(PacketType.PUBLISH, topic="a", qos=1),
        Packet(PacketType.PUBLISH, topic="a", qos=1, packet_id=65536),
        Packet(PacketType.PUBLISH, topic="a/+"),
        Packet(PacketType.PUBLISH, version=6, topic="a"),
        Packet(PacketType.PUBLISH, topic="a", properties=[(PropertyId.CONTENT_TYPE, 5)]),
        Packet(PacketType.PUBLISH, topic="a", properties=[(PropertyId.TOPIC_ALIAS, "x")]),
        Packet(PacketType.PUBLISH, topic="a", properties=[(PropertyId.TOPIC_ALIAS, -1)]),
        Packet(PacketType.PUBLISH, topic="a", properties=[(PropertyId.TOPIC_ALIAS, 2**40)]),
        Packet(PacketType.PUBLISH, topic="a", properties=[(PropertyId.USER_PROPERTY, ("only",))]),
        Packet(PacketType.PUBLISH, topic="a", properties=[(PropertyId.MAXIMUM_QOS, 1)]),
        Packet(PacketType.PUBLISH, topic="a", properties=[(0x7F, 1)]),
        Packet(PacketType.SUBSCRIBE, packet_id=1),
        Packet(PacketType.SUBSCRIBE, packet_id=1, filters=[Filter("a#")]),
        Packet(PacketType.SUBSCRIBE, packet_id=1, filters=[Filter("a", 3)]),
        Packet(PacketType.CONNECT, version=4, client_id="c", password=b"x"),
        Packet(PacketType.CONNECT, client_id="c", keep_alive=-1),
        Packet(PacketType.AUTH, version=4),
    ],
)
def test_what_cannot_be_written(packet):
    with pytest.raises(roamqtt.UsageError):
        mqtt.encode(packet)


def test_arguments():
    with pytest.raises(roamqtt.UsageError):
        mqtt.decode(b"\xc0\0", 7)
    with pytest.raises(TypeError):
        mqtt.decode("text")  # type: ignore[arg-type]
    assert mqtt.decode(memoryview(b"\xc0\0"))[0].type == PacketType.PINGREQ
    with pytest.raises(roamqtt.ProtocolError) as caught:
        mqtt.decode(b"\x30\x7f", maximum_packet_size=100)
    assert caught.value.reason == roamqtt.ReasonCode.PACKET_TOO_LARGE
    many = Packet(PacketType.PUBLISH, topic="a", properties=[(PropertyId.USER_PROPERTY, ("n" * 50, "v" * i)) for i in range(100)])
    assert mqtt.decode(mqtt.encode(many))[0] == many
