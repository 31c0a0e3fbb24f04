"""What `/metrics` of the sidecar says after some work."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from contract.levels import Level
from highwater.simulate.log import Message
from ingest.breaker import Pin
from ingest.metrics import Metrics
from tests.support.sidecar_world import POISON, World, trade

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(metrics: Metrics) -> Samples:
    reply = metrics.reply()
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in text_string_to_metric_families(reply.body.decode())
        for s in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    wanted = frozenset({"table": "trades", **labels}.items())
    return samples[f"highwater_ingest_{name}", wanted]


def test_commits_rows_duplicates_and_dead_letters_are_counted() -> None:
    world = World()
    world.log.append(0, trade("a"), trade("a"), POISON, Message(None, key=b"k"), trade("b", 200))
    metrics = Metrics()
    world.metrics = metrics

    sidecar = world.sidecar().begin()
    sidecar.catch_up()
    sidecar.step()

    found = samples_of(metrics)
    assert value(found, "committed_rows_total") == 2
    assert value(found, "duplicates_total") == 1
    assert value(found, "dead_letters_total", kind="malformed") == 1
    assert value(found, "dead_letters_total", kind="tombstone") == 1
    assert value(found, "commits_total") == value(found, "commit_duration_seconds_count")
    assert value(found, "committed_files_total") >= 1


def test_level_transitions_and_lanes_are_shown() -> None:
    world = World(pin=Pin(Level.MODERATE, "a test", math.inf))
    metrics = Metrics()
    world.metrics = metrics
    world.log.append(0, *(trade(f"l{i}", 1) for i in range(12)))
    sidecar = world.sidecar().begin()

    sidecar.step(10)

    found = samples_of(metrics)
    moved = {"from": "NORMAL", "to": "MODERATE", "signal": "pin"}
    assert value(found, "level") == Level.MODERATE
    assert value(found, "level_transitions_total", **moved) == 1
    assert value(found, "lane_behind_messages", lane="LOW") == 8
    assert value(found, "lane_waiting_rows", lane="LOW") == 8
    assert value(found, "lane_waiting_bytes", lane="LOW") > 8
    assert value(found, "lane_behind_messages", lane="HIGH") == 0
    assert value(found, "signal", signal="lag_messages") == 0
    world.pin = None
    sidecar.catch_up()
    sidecar.step(4)
    found = samples_of(metrics)
    assert value(found, "lane_behind_messages", lane="LOW") == 0
    assert value(found, "lane_waiting_rows", lane="LOW") == 0
