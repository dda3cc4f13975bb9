"""QUIC's second visit: with the first run's tickets in a file, CONNECT and what is safe to repeat leave in the first flight."""

import asyncio
import tempfile
from pathlib import Path

import roamqtt


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"  # mode 0600: whoever has it can resume our connections
        async with roamqtt.Broker() as broker:
            for run in range(2):
                async with roamqtt.Client(broker.url, ca=broker.ca, client_id="again", state_file=state) as client:
                    # Could an attacker play it again? A reading with a time in it may be; "open the door" may not.
                    await client.publish("t", f"reading {run}", qos=1, safe_to_repeat=True)
                    while not state.exists():
                        await asyncio.sleep(0.01)
                    stats = client.stats()
                print(f"run {run}: resumed {stats['resumed']}, early data accepted {stats['early_accepted']}")
                assert (stats["resumed"], stats["early_accepted"]) == (run, run)


asyncio.run(main())
