"""Passwords, access lists and SCRAM-SHA-256 from Python: files in, refusals with their reasons out."""

import asyncio

import pytest

import roamqtt

# "secret", made by mosquitto_passwd; "pencil" is user's, in the form that serves SCRAM-SHA-256 too (RFC 7677's example).
PASSWORDS = (
    "alice:$7$101$PgELaMHNZBuxchmh$I6lcziYemPqaH04xQtS6TBMb7/ubBfruPoTBQYmfVVaAnFYkmYEtiFHY1ThZVgl7ooCu+/"
    "Uz4ecVxcRbxCbzkA==\n"
    "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
)


@pytest.fixture
def files(tmp_path):
    passwords, acl = tmp_path / "passwords", tmp_path / "acl"
    passwords.write_text(PASSWORDS)
    acl.write_text("user alice\ntopic readwrite home/#\nuser user\ntopic read home/#\n")
    return passwords, acl


async def test_each_refusal_says_why(files):
    async with roamqtt.Broker(password_file=files[0], acl_file=files[1]) as broker:
        with pytest.raises(roamqtt.Refused) as caught:
            async with roamqtt.Client(broker.tcp_url, user_name="alice", password="wrong"):
                pass
        assert caught.value.reason == 0x86
        with pytest.raises(roamqtt.Refused) as caught:
            async with roamqtt.Client(broker.tcp_url):
                pass
        assert caught.value.reason == 0x87 and "user name and a password" in str(caught.value)
        async with roamqtt.Client(broker.tcp_url, user_name="alice", password="secret") as client:
            await client.publish("home/x", b"", qos=1)
            with pytest.raises(roamqtt.Refused):
                await client.publish("work/x", b"", qos=1)
            with pytest.raises(roamqtt.Refused):
                await client.subscribe("work/#")


async def test_scram_proves_both_sides(files):
    async with roamqtt.Broker(password_file=files[0]) as broker:
        how = {"ca": broker.ca, "user_name": "user", "auth_method": "SCRAM-SHA-256"}
        async with roamqtt.Client(broker.url, password="pencil", **how) as client:
            await client.subscribe("t")
        with pytest.raises(roamqtt.Refused) as caught:
            async with roamqtt.Client(broker.url, password="pen", **how):
                pass
        assert caught.value.reason == 0x87
    with pytest.raises(roamqtt.RoamqttError, match="version 5"):
        roamqtt.Client("mqtt://localhost", version=4, auth_method="m")


async def test_files_are_read_again(files):
    async with roamqtt.Broker(password_file=files[0], acl_file=files[1]) as broker:
        async with roamqtt.Client(broker.tcp_url, user_name="user", password="pencil", reconnect=False) as client:
            files[0].write_text("user:pencil\n")
            with pytest.raises(roamqtt.RoamqttError, match="line 1"):
                broker.reload()
            await client.subscribe("home/#")
            files[0].write_text(PASSWORDS.splitlines()[0] + "\n")
            broker.reload()
            for _ in range(100):
                if not client.connected:
                    break
                await asyncio.sleep(0.05)
            assert not client.connected


def test_a_wrong_file_is_named(tmp_path):
    bad = tmp_path / "bad"
    bad.write_text("topic a/#\nallow b\n")
    with pytest.raises(roamqtt.RoamqttError, match="bad, line 2"):
        roamqtt.Broker(acl_file=bad)
