"""Runs in Home Assistant's own Python: starts it, adds the MQTT integration with the config flow, and answers queries.

A query is one word per line on standard input: entities, triggers, arm, fired, tag, opened, quit. The answer is one line of JSON
on standard output. Started by scripts/home_assistant_walk.py; imports nothing of this project.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from homeassistant import bootstrap, runner
from homeassistant.components.device_automation import DeviceAutomationType, async_get_device_automations
from homeassistant.const import __version__
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.helpers.trigger import async_initialize_triggers


async def main(config_dir: str, port: int) -> None:
    hass = await bootstrap.async_setup_hass(
        runner.RuntimeConfig(config_dir=config_dir, skip_pip=True, log_file=f"{config_dir}/ha.log")
    )
    assert hass is not None
    await hass.async_start()
    flow = await hass.config_entries.flow.async_init("mqtt", context={"source": "user"})
    flow = await hass.config_entries.flow.async_configure(flow["flow_id"], {"broker": "127.0.0.1", "port": port})
    say({"version": __version__, "flow": str(flow["type"]), "errors": flow.get("errors")})
    # The automation is added after the integration that it listens with, as a user would do it.
    shutil.copy(Path(config_dir) / "door.yaml", Path(config_dir) / "automations.yaml")
    await hass.services.async_call("automation", "reload", blocking=True)
    fired: list[str] = []
    opened: list[Any] = []
    hass.services.async_register("lock", "unlock", lambda call: opened.append(call.data["entity_id"]))
    stops: list[Any] = []
    while True:
        word = (await asyncio.to_thread(sys.stdin.readline)).strip()
        await hass.async_block_till_done()
        if word == "entities":
            say(entities(hass))
        elif word == "triggers":
            say([f"{t['type']} {t['subtype']}" for t in await triggers(hass)])
        elif word == "arm":
            for stop in stops:
                stop()
            stops = [await arm(hass, t, fired) for t in await triggers(hass)]
            say(len(stops))
        elif word == "fired":
            say(fired)
            fired.clear()
        elif word == "tag":
            hass.bus.async_fire("tag_scanned", {"tag_id": "alice-front-door"})
            await hass.async_block_till_done()
            say(0)
        elif word == "opened":
            say(opened)
            opened.clear()
        elif word in ("quit", ""):
            await hass.async_stop()
            return


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


def entities(hass: Any) -> dict[str, str]:
    """entity_id -> state; for an event entity, the event type."""
    found = {}
    for entry in entity_registry.async_get(hass).entities.values():
        if entry.platform == "mqtt":
            state = hass.states.get(entry.entity_id)
            text = "no state" if state is None else state.state
            if state is not None and entry.domain == "event" and state.state not in ("unavailable", "unknown"):
                text = str(state.attributes.get("event_type"))  # the state itself is the time
            found[entry.entity_id] = text
    return dict(sorted(found.items()))


async def triggers(hass: Any) -> list[dict[str, Any]]:
    devices = [
        d.id
        for d in device_registry.async_get(hass).devices.values()
        if ("mqtt", "edge_oneshot_porch") in d.identifiers
    ]
    found = await async_get_device_automations(hass, DeviceAutomationType.TRIGGER, devices)
    return sorted(
        (t for per_device in found.values() for t in per_device if t["domain"] == "mqtt"),
        key=lambda t: str(t["subtype"]),
    )


async def arm(hass: Any, trigger: dict[str, Any], fired: list[str]) -> Any:
    from homeassistant.helpers.trigger import async_validate_trigger_config

    config = {k: v for k, v in trigger.items() if k != "metadata"}
    valid = await async_validate_trigger_config(hass, [config])

    async def act(variables: Any, context: Any = None) -> None:
        fired.append(f"{trigger['type']} {trigger['subtype']}")

    return await async_initialize_triggers(hass, valid, act, "mqtt", "arm", lambda *a, **k: None)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
