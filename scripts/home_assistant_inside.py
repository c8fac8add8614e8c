"""Runs in Home Assistant's own Python: starts it, adds the MQTT integration with the config flow, and answers queries.

A query is one line on standard input: entities, names, triggers, arm, fired, tag ID, opened, notified, quit, or
`call SERVICE ENTITY [VALUE]`. The answer is one line of JSON on standard output. Started by scripts/home_assistant_walk.py;
imports nothing of this project.
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
    heard: dict[str, list[Any]] = {"fired": [], "opened": [], "notified": []}
    hass.services.async_register("lock", "unlock", lambda call: heard["opened"].append(call.data["entity_id"]))
    hass.services.async_register("notify", "phone", lambda call: heard["notified"].append(call.data["message"]))
    stops: list[Any] = []
    while True:
        word, _, rest = (await asyncio.to_thread(sys.stdin.readline)).strip().partition(" ")
        await hass.async_block_till_done()
        if word in ("quit", ""):
            await hass.async_stop()
            return
        say(await answer(hass, word, rest, heard, stops))


async def answer(hass: Any, word: str, rest: str, heard: dict[str, list[Any]], stops: list[Any]) -> Any:
    """Do what one line asks; its answer. heard: what happened since the last question about it."""
    if word in heard:
        found = list(heard[word])
        heard[word].clear()
        return found
    if word == "entities":
        return entities(hass)
    if word == "names":
        return {s.entity_id: s.name for s in hass.states.async_all()}
    if word == "triggers":
        return [f"{t['type']} {t['subtype']}" for t in await triggers(hass)]
    if word == "arm":
        for stop in stops:
            stop()
        stops[:] = [await arm(hass, t, heard["fired"]) for t in await triggers(hass)]
        return len(stops)
    if word == "tag":
        hass.bus.async_fire("tag_scanned", {"tag_id": rest})
        await hass.async_block_till_done()
    elif word == "call":
        await call(hass, *rest.split(" ", 2))
    return 0


async def call(hass: Any, service: str, entity: str, value: str | None = None) -> None:
    domain, name = service.split(".")
    data = {"entity_id": entity} | ({} if value is None else {"value": value})
    await hass.services.async_call(domain, name, data, blocking=True)


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
