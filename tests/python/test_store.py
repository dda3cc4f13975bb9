"""A broker with a store forgets nothing when it is made anew on the same file."""

import asyncio

import pytest

import roamqtt


async def test_a_session_outlives_the_broker(tmp_path):
    path = str(tmp_path / "store.db")
    options = dict(store=path, quic=None)
    async with roamqtt.Broker(**options) as broker:
        async with roamqtt.Client(broker.tcp_url, client_id="away", clean_start=False, session_expiry_s=600) as away:
            await away.subscribe("t/#", qos=2)
        async with roamqtt.Client(broker.tcp_url) as publisher:
            await publisher.publish("t/1", b"one", qos=1)
            await publisher.publish("t/2", b"two", qos=2, retain=True)
    async with roamqtt.Broker(**options) as broker:
        async with roamqtt.Client(broker.tcp_url, client_id="away", clean_start=False, session_expiry_s=600) as away:
            messages = away.messages()
            got = [await asyncio.wait_for(anext(messages), 5) for _ in range(2)]
            assert [(m.topic, m.payload) for m in got] == [("t/1", b"one"), ("t/2", b"two")]
        async with roamqtt.Client(broker.tcp_url) as newcomer, newcomer.subscribe("#", qos=1) as messages:
            assert (await asyncio.wait_for(anext(messages), 5)).payload == b"two"


async def test_a_file_that_is_no_store(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("no store at all, but long enough to be looked at as if it might be one: " * 10)
    with pytest.raises(roamqtt.StoreError, match="move the file away") as caught:
        await roamqtt.Broker(store=str(path)).start()
    assert caught.value.name == "ROAM_E_DAMAGED"


async def test_a_file_somebody_else_has(tmp_path):
    path = str(tmp_path / "store.db")
    async with roamqtt.Broker(store=path, quic=None):
        with pytest.raises(roamqtt.StoreError, match="another process"):
            await roamqtt.Broker(store=path).start()


def test_an_unknown_policy():
    with pytest.raises(roamqtt.UsageError, match="always, interval or off"):
        roamqtt.Broker(store="x.db", store_sync="sometimes")
