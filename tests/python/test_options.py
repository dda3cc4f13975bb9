"""Options, limits and results by name: what the MQTT session can do, from Python."""

import asyncio

import pytest

import roamqtt


async def test_limits_of_the_broker_have_their_names():
    async with roamqtt.Broker(maximum_qos=1, retain_available=False, response_information="answers/") as broker:
        async with roamqtt.Client(broker.url, ca=broker.ca, request_response_information=True) as c:
            assert c.response_information == "answers/"
            assert (await c.subscribe("t", qos=2)).granted == 1
    with pytest.raises(roamqtt.RoamqttError, match="maximum_qos"):
        roamqtt.Broker(maximum_qos=3)
    with pytest.raises(roamqtt.RoamqttError, match="no such option"):
        roamqtt.Broker(maximum_quality=3)


async def test_the_result_of_each_command():
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.tcp_url) as c:
        assert (await c.subscribe("t", qos=1)).granted == 1
        assert await c.publish("t", b"x", qos=1) == 0
        assert await c.publish("nobody", b"x", qos=2) == 0x10
        with pytest.raises(roamqtt.Refused) as refused:
            await c.publish("$SYS/x", b"x", qos=1)
        assert refused.value.reason == 0x87
        assert await c.unsubscribe("t") == 0
        assert await c.unsubscribe("t") == 0x11


async def test_subscription_identifiers_and_will_properties():
    async with roamqtt.Broker() as broker, roamqtt.Client(broker.tcp_url) as c:
        await c.subscribe("w/#", qos=1, identifier=7)
        await c.subscribe("w/+", qos=1, identifier=9)
        dying = roamqtt.Client(
            broker.tcp_url, will_topic="w/x", will_payload=b"bye", will_qos=1, will_properties={"content_type": "text", "payload_is_text": True},
            user_properties=[("k", "v")], client_id="dying",
        )
        await dying.connect()
        await dying.close(reason=0x04)
        message = await asyncio.wait_for(anext(c.messages()), 5)
        assert (message.payload, message.content_type, message.payload_is_text) == (b"bye", "text", True)
        assert sorted(message.subscription_identifiers) == [7, 9]


async def test_payloads_are_checked_when_asked():
    async with roamqtt.Broker(payload_format_check=True) as broker, roamqtt.Client(broker.tcp_url) as c:
        with pytest.raises(roamqtt.Refused) as refused:
            await c.publish("t", b"\xff", qos=1, payload_is_text=True)
        assert refused.value.reason == 0x99


async def test_sys_topics():
    async with roamqtt.Broker(sys_interval_s=1) as broker, roamqtt.Client(broker.url, ca=broker.ca) as c:
        async with c.subscribe("$SYS/broker/clients/connected") as figures:
            seen = set()
            while b"1" not in seen:
                seen.add((await asyncio.wait_for(anext(figures), 5)).payload)
