"""What Home Assistant is told so that it finds a node by itself (its MQTT device discovery)."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, get_args

from ..node_messages import CameraInfo, NodeInfo, keepsight_version
from ..types import EventKind, Switch
from .mqtt_target import MqttTarget

BIRTH_TOPIC = "homeassistant/status"
"""Says `online` when Home Assistant has started: then everything is told again."""
_NAMES: dict[Switch, str] = {"enabled": "tracking", "overlay": "overlay", "auto": "find objects"}
_ICONS: dict[Switch, str] = {"enabled": "mdi:eye", "overlay": "mdi:layers", "auto": "mdi:auto-fix"}


def discovery_topic(target: MqttTarget) -> str:
    return f"homeassistant/device/{_plain(f'{target.prefix}_{target.node}')}/config"


def discovery(target: MqttTarget, info: NodeInfo) -> str:
    """The message for `discovery_topic`, retained: one device with the entities of all cameras."""
    device = _plain(f"keepsight_{target.prefix}_{target.node}")
    components = {
        f"{_plain(camera.name)}_{key}": component | {"unique_id": f"{device}_{_plain(camera.name)}_{key}"}
        for camera in info.cameras
        for key, component in _components(target, camera).items()
    }
    return json.dumps(
        {
            "device": {
                "identifiers": [device],
                "name": f"Keepsight {target.node}",
                "manufacturer": "Keepsight",
                "model": info.model or "tracker",
                "sw_version": keepsight_version(),
            },
            "origin": {"name": "keepsight", "sw_version": keepsight_version()},
            "availability": [_availability(target)],
            "components": components,
            "qos": 1,
        }
    )


def _availability(target: MqttTarget) -> dict[str, str]:
    return {
        "topic": target.availability_topic,
        "value_template": "{{ 'online' if value == 'online' else 'offline' }}",
    }


def _running(base: str) -> dict[str, str]:
    """What is kept of a zone is of now only while frames of the camera are looked at."""
    stale = "value_json.state != 'running' or value_json.source in ['offline', 'stalled']"
    return {
        "topic": f"{base}/status",
        "value_template": f"{{{{ 'offline' if {stale} else 'online' }}}}",
    }


def _components(target: MqttTarget, camera: CameraInfo) -> dict[str, dict[str, Any]]:
    """The entities of one camera: switches, an event, sensors of its run, and the count of each zone."""
    base = f"{target.prefix}/{target.node}/cam/{camera.name}"
    switches: dict[str, dict[str, Any]] = {}
    for switch in switches_of(camera):
        switches[switch] = _switch(base, camera.name, switch)
    present = {"availability": [_availability(target), _running(base)], "availability_mode": "all"}
    zones = {f"zone_{_plain(zone)}": _zone(base, camera.name, zone) | present for zone in camera.zones}
    return {**switches, "event": _event(base, camera.name), **_sensors(base, camera.name), **zones}


def _switch(base: str, camera: str, switch: Switch) -> dict[str, Any]:
    return {
        "platform": "switch",
        "name": f"{camera} {_NAMES[switch]}",
        "icon": _ICONS[switch],
        "command_topic": f"{base}/{switch}/set",
        "state_topic": f"{base}/{switch}/state",
    }


def _event(base: str, camera: str) -> dict[str, Any]:
    told = ("object_id", "label", "rule", "event_id")
    fields = ", ".join(f'"{name}": value_json.{name}' for name in told)
    return {
        "platform": "event",
        "name": f"{camera} event",
        "state_topic": f"{base}/events",
        "event_types": list(get_args(EventKind)),
        "value_template": f'{{{{ {{"event_type": value_json.kind, {fields}}} | tojson }}}}',
    }


def _sensors(base: str, camera: str) -> dict[str, dict[str, Any]]:
    """What the status tells."""
    status, diagnostic = {"state_topic": f"{base}/status"}, {"entity_category": "diagnostic"}
    away = "{{ 'OFF' if value_json.source in ['offline', 'stalled'] else 'ON' }}"
    return {
        "objects": {
            "platform": "sensor",
            "name": f"{camera} objects",
            "value_template": "{{ value_json.objects }}",
            "state_class": "measurement",
            **status,
        },
        "source": {
            "platform": "binary_sensor",
            "name": f"{camera} source",
            "device_class": "connectivity",
            "value_template": away,
            **status,
            **diagnostic,
        },
        "rate": {
            "platform": "sensor",
            "name": f"{camera} frames per second",
            "value_template": "{{ value_json.frames_per_second }}",
            **status,
            **diagnostic,
        },
    }


def _zone(base: str, camera: str, zone: str) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": f"{camera} {zone}",
        "state_topic": f"{base}/zone/{zone}",
        "value_template": "{{ value_json.count }}",
        "state_class": "measurement",
    }


def switches_of(camera: CameraInfo) -> tuple[Switch, ...]:
    return ("enabled", "overlay", "auto") if camera.auto else ("enabled", "overlay")


def _plain(name: str) -> str:
    """A name in the letters that Home Assistant takes in ids; names that differ stay different."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
