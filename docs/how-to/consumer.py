"""A lock that opens for one person, on signed events only. Run: consumer.py BROKER KEY-FILE DEVICE IDENTITY"""

import base64
import hashlib
import hmac
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as paho

broker, key_file, device, identity = sys.argv[1:5]
key = base64.urlsafe_b64decode(Path(key_file).read_text().strip().removeprefix("hmac-sha256:") + "=")
highest = 0  # the last counter: a recording has one that was seen


def on_message(client, userdata, message):
    global highest
    sealed, _, value = message.payload.rpartition(b',"value":"')  # the signature is over every byte before
    mac = base64.urlsafe_b64encode(hmac.digest(key, sealed, hashlib.sha256)).rstrip(b"=")
    if message.retain or not hmac.compare_digest(value, mac + b'"}}'):
        print("refused: retained, or not signed with this key", flush=True)
        return
    event = json.loads(message.payload)
    right = event["device"] == device and event["event_type"] == "match" and event["identity"] == identity
    counter, before = event["signature"]["counter"], highest
    highest = max(counter, before) if event["device"] == device else before
    fresh = (
        not event["late"]
        and event["clock"] == "synced"
        and datetime.fromisoformat(event["expires_at"]) > datetime.now(UTC)
    )
    stated = event.get("rate") != "none"  # for a small child no error rate can be stated
    print(
        "open"
        if right and stated and fresh and counter > before
        else "refused: not this person, no stated rate, late, expired, or seen before",
        flush=True,
    )


client = paho.Client(paho.CallbackAPIVersion.VERSION2)
client.on_connect = lambda c, *_: c.subscribe(f"edge-oneshot/{device}/match/{identity}", qos=1)
client.on_message = on_message
client.connect(broker.partition(":")[0], int(broker.partition(":")[2] or 1883))
client.loop_forever()
