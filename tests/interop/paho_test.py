"""paho-mqtt against our broker over TCP: 3.1.1 and 5.0, every QoS, retained messages, wills, kept sessions, 5.0's options."""
import os
import queue
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from program import PATIENCE, WithBroker, for_each  # noqa: E402

try:
    import paho.mqtt.client as mqtt
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions
    VERSIONS = {"3.1.1": mqtt.MQTTv311, "5.0": mqtt.MQTTv5}
except ImportError:
    mqtt = None
    VERSIONS = {}
each = for_each(*VERSIONS.items())


class Paho:
    """A connected paho client whose messages and acknowledgements wait in queues."""

    def __init__(self, port, version, client_id="", clean=True, expiry_s=0, will=None):
        five = version == mqtt.MQTTv5
        self.messages, self.subscribed, self.connected, self.gone = (queue.Queue() for _ in range(4))
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=version, **({} if five else {"clean_session": clean}))
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_subscribe = lambda _c, _u, _mid, codes, _p: self.subscribed.put(codes)
        self.client.on_unsubscribe = lambda _c, _u, _mid, codes, _p: self.subscribed.put(codes)
        self.client.on_connect = lambda _c, _u, flags, code, properties: self.connected.put((flags, code, properties))
        self.client.on_disconnect = lambda _c, _u, _flags, code, _p: self.gone.put(code)
        if will:
            self.client.will_set(*will)
        extra = {}
        if five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry_s
            extra = {"clean_start": clean, "properties": properties}
        self.client.connect("127.0.0.1", port, keepalive=20, **extra)
        self.client.loop_start()
        self.flags, code, self.properties = self.connected.get(timeout=PATIENCE)
        assert not code.is_failure, code

    def subscribe(self, *args, **more):
        self.client.subscribe(*args, **more)
        return self.subscribed.get(timeout=PATIENCE)

    def publish(self, *args, **more):
        info = self.client.publish(*args, **more)
        info.wait_for_publish(PATIENCE)
        assert info.is_published()

    def get(self, timeout=PATIENCE):
        return self.messages.get(timeout=timeout)

    def vanish(self):
        """Gone without a word."""
        self.client._sock_close()
        self.client.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()


@unittest.skipUnless(mqtt, "needs paho-mqtt (./dev test has it)")
class OurBroker(WithBroker, unittest.TestCase):
    def connect(self, version, *args, **more):
        return Paho(self.broker.tcp, version, *args, **more)

    @each
    def test_every_qos_in_order_and_once(self, name, version):
        with self.connect(version) as sub, self.connect(version) as pub:
            for qos in (0, 1, 2):
                sub.subscribe(f"qos/{name}/{qos}", qos)
                for i in range(300):
                    info = pub.client.publish(f"qos/{name}/{qos}", str(i), qos)
                info.wait_for_publish(PATIENCE)
                got = [sub.get() for _ in range(300)]
                self.assertEqual([int(message.payload) for message in got], list(range(300)))
                self.assertEqual({message.qos for message in got}, {qos})
            time.sleep(0.1)
            self.assertTrue(sub.messages.empty(), "more came than was sent")

    @each
    def test_lower_of_the_two_qos(self, name, version):
        with self.connect(version) as client:
            client.subscribe(f"min/{name}", 1)
            client.publish(f"min/{name}", "x", 2)
            self.assertEqual(client.get().qos, 1)

    @each
    def test_retained(self, name, version):
        with self.connect(version) as client:
            client.publish(f"kept/{name}", "old", 1, retain=True)
            client.subscribe(f"kept/{name}", 1)
            message = client.get()
            self.assertEqual((message.payload, message.retain), (b"old", True))
            client.publish(f"kept/{name}", "new", 1, retain=True)
            message = client.get()
            self.assertEqual((message.payload, message.retain), (b"new", False))
            client.publish(f"kept/{name}", b"", 1, retain=True)
            self.assertEqual(client.get().payload, b"")
        with self.connect(version) as client:
            client.subscribe(f"kept/{name}", 1)
            with self.assertRaises(queue.Empty):
                client.get(0.3)

    @each
    def test_will(self, name, version):
        with self.connect(version) as watcher:
            watcher.subscribe(f"will/{name}", 2)
            self.connect(version, will=(f"will/{name}", "gone", 2)).vanish()
            message = watcher.get()
            self.assertEqual((message.payload, message.qos), (b"gone", 2))

    @each
    def test_no_will_after_disconnect(self, name, version):
        with self.connect(version) as watcher:
            watcher.subscribe(f"bye/{name}", 1)
            with self.connect(version, will=(f"bye/{name}", "gone", 1)):
                pass
            with self.assertRaises(queue.Empty):
                watcher.get(0.3)

    @each
    def test_kept_session(self, name, version):
        kept = dict(client_id=f"keeper-{name}", clean=False, expiry_s=60)
        with self.connect(version, **kept) as first:
            self.assertFalse(first.flags.session_present)
            first.subscribe(f"session/{name}", 2)
        with self.connect(version) as pub:
            for qos in (1, 2):
                pub.publish(f"session/{name}", str(qos), qos)
        with self.connect(version, **kept) as second:
            self.assertTrue(second.flags.session_present)
            self.assertEqual([second.get().payload for _ in range(2)], [b"1", b"2"])

    @each
    def test_unsubscribe(self, name, version):
        with self.connect(version) as client:
            client.subscribe(f"un/{name}", 1)
            client.client.unsubscribe(f"un/{name}")
            client.subscribed.get(timeout=PATIENCE)
            client.publish(f"un/{name}", "x", 1)
            with self.assertRaises(queue.Empty):
                client.get(0.2)

    @each
    def test_take_over(self, name, version):
        first = self.connect(version, client_id=f"twin-{name}")
        first.client.reconnect_delay_set(20, 30)
        with self.connect(version, client_id=f"twin-{name}") as second:
            code = first.gone.get(timeout=PATIENCE)
            self.assertTrue(code.is_failure)
            if name == "5.0":
                self.assertEqual(code.getName(), "Session taken over")
            first.client.loop_stop()
            second.subscribe(f"twin/{name}", 1)
            second.publish(f"twin/{name}", "x", 1)
            self.assertEqual(second.get().payload, b"x")

    @each
    def test_large_payload(self, name, version):
        payload = os.urandom(700_000)
        with self.connect(version) as client:
            client.subscribe(f"large/{name}", 1)
            client.publish(f"large/{name}", payload, 1)
            self.assertEqual(client.get().payload, payload)

    def test_options_of_5(self):
        with Paho(self.broker.tcp, mqtt.MQTTv5) as client, Paho(self.broker.tcp, mqtt.MQTTv5) as other:
            client.subscribe("five/#", options=SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True))
            client.publish("five/own", "x", 1)
            other.publish("five/other", "y", 1, retain=True)
            message = client.get()
            self.assertEqual((message.topic, message.retain), ("five/other", True))
            client.subscribe("five/other", options=SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND))
            with self.assertRaises(queue.Empty):
                client.get(0.3)
            other.publish("five/other", b"", 1, retain=True)

    def test_properties_of_5(self):
        with Paho(self.broker.tcp, mqtt.MQTTv5) as client:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = "application/cbor"
            properties.CorrelationData = b"\0\1"
            properties.ResponseTopic = "answer"
            properties.UserProperty = [("a", "1"), ("a", "2")]
            subscription = Properties(PacketTypes.SUBSCRIBE)
            subscription.SubscriptionIdentifier = 77
            client.subscribe("props", options=SubscribeOptions(qos=1), properties=subscription)
            client.publish("props", "x", 1, properties=properties)
            got = client.get().properties
            self.assertEqual((got.ContentType, got.CorrelationData, got.ResponseTopic), ("application/cbor", b"\0\1", "answer"))
            self.assertEqual(got.UserProperty, [("a", "1"), ("a", "2")])
            self.assertEqual(got.SubscriptionIdentifier, [77])


if __name__ == "__main__":
    unittest.main()
