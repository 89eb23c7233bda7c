"""What the host page shows beside its charts, and which cards it has."""

from __future__ import annotations

import json

import numpy as np
from fleetwatch_dashboard import fleet, host_view, panels, tiles
from fleetwatch_dashboard.levels import Rulebook
from fleetwatch_proto.catalog import BY_NAME
from fleetwatch_storage.hosts import Facts, Host
from fleetwatch_storage.metadata.hosts import Event
from fleetwatch_storage.store import SeriesKey

from tests.support.store_rows import Row, frame

NOW_MS = 1_795_168_800_000
GIB = 2.0**30


def keys(*found: tuple[str, dict[str, str], tuple[str, ...]]) -> list[SeriesKey]:
    return [SeriesKey(name, "web-1", tuple(sorted(tags.items())), fields) for name, tags, fields in found]


def test_every_field_of_every_card_is_in_the_catalogue() -> None:
    missing = [
        (panel.id, name)
        for panel in panels.PANELS
        for view in panel.views
        for line in view.lines
        for name in (*line.fields, *filter(None, [view.peak]))
        if BY_NAME[panel.measurement].field(name) is None
    ]

    assert missing == []


def test_cards_without_data_are_not_there() -> None:
    cards = panels.for_host(keys(("mem", {}, ("used",)), ("disk", {"path": "/"}, ("used",))), cores=4, memory_bytes=GIB)

    assert [card.id for card in cards] == ["mem", "disk"]
    assert cards[0].views[0].top == GIB


def test_devices_can_be_chosen_and_the_loopback_comes_last() -> None:
    cards = panels.for_host(
        keys(*(("net", {"interface": name}, ("bytes_recv",)) for name in ("lo", "eth1", "eth0"))),
        cores=1,
        memory_bytes=0,
    )

    assert cards[0].choices == ("eth0", "eth1", "lo")


def test_load_is_drawn_per_core() -> None:
    (card,) = panels.for_host(keys(("system", {}, ("load1",))), cores=8, memory_bytes=0)

    assert card.views[0].factor == 1 / 8


def test_a_measurement_outside_the_catalogue_gets_a_card_with_a_view_per_field() -> None:
    cards = panels.for_host(keys(("shop_queue", {"queue": "mail"}, ("depth", "consumers"))), cores=1, memory_bytes=0)

    assert [(card.id, [view.title for view in card.views]) for card in cards] == [
        ("custom-shop_queue", ["consumers", "depth"])
    ]
    assert cards[0].views[0].split == "queue"


def test_a_flood_of_measurements_is_cut() -> None:
    many = keys(*((f"custom{number:03}", {}, tuple(f"f{field}" for field in range(40))) for number in range(200)))

    cards = panels.for_host(many, cores=1, memory_bytes=0)

    assert len(cards) == panels.MAX_CUSTOM_PANELS
    assert (len(cards[0].views), cards[0].more) == (panels.MAX_CUSTOM_FIELDS, 32)


def test_a_card_says_which_of_its_fields_are_counters() -> None:
    (card,) = panels.for_host(keys(("net", {"interface": "eth0"}, ("bytes_recv",))), cores=1, memory_bytes=0)

    document = json.loads(json.dumps(panels.document(card)))

    assert document["views"][0]["rates"] == ["bytes_recv", "bytes_sent"]


def test_unknown_facts_are_left_out() -> None:
    host = Host("web-1", facts=Facts(os="Debian 12.7", cpu_model="EPYC", cores=8, threads=16), agent_version="0.1.0")
    row = fleet.rows([host], [], [], Rulebook(), NOW_MS)[0]

    facts = host_view.facts(host, row, NOW_MS)

    assert facts == [("OS", "Debian 12.7"), ("CPU", "EPYC, 8 cores / 16 threads"), ("Agent", "0.1.0")]


def test_disks_come_fullest_first_with_their_growth() -> None:
    day = 86_400_000
    tags = {"path": "/var", "mode": "rw"}
    now = frame(
        "disk",
        [
            Row(
                "web-1",
                NOW_MS,
                {"used_percent": 20.0, "used": 20 * GIB, "total": 100 * GIB, "free": 80 * GIB},
                {"path": "/", "mode": "ro"},
            ),
            Row("web-1", NOW_MS, {"used_percent": 90.0, "used": 90 * GIB, "total": 100 * GIB, "free": 10 * GIB}, tags),
        ],
    )
    history = frame("disk", [Row("web-1", NOW_MS - (7 - n) * day, {"used": (83 + n) * GIB}, tags) for n in range(8)])
    row = fleet.rows([Host("web-1")], [now], [], Rulebook(), NOW_MS)[0]

    full, calm = host_view.disks(now, row, history, Rulebook())

    assert (full.path, full.level, round((full.per_day or 0) / GIB, 6), full.days) == ("/var", "crit", 1.0, 10.0)
    assert (calm.path, calm.read_only, calm.per_day, calm.days) == ("/", True, None, None)
    assert host_view.used_of(full) == "90 / 100 GiB"


def test_the_process_table_is_that_of_one_moment() -> None:
    table = frame(
        "process_top",
        [
            Row("web-1", 1000, {"pid": 7.0, "name": "old", "cpu_percent": 99.0}, {"rank": "1"}),
            Row("web-1", 2000, {"pid": 8.0, "name": "b", "cpu_percent": 1.0}, {"rank": "1"}),
            Row("web-1", 2000, {"pid": 9.0, "name": "a", "cpu_percent": 5.0, "user": None}, {"rank": "2"}),
            Row("other", 3000, {"pid": 1.0, "name": "init", "cpu_percent": 5.0}, {"rank": "1"}),
        ],
    )

    found = host_view.processes(table, "web-1")

    assert [(one.pid, one.name, one.user) for one in found] == [(9, "a", ""), (8, "b", "")]
    assert host_view.processes(table, "nobody") == []


def test_events_of_unknown_kinds_are_shown_by_their_name() -> None:
    (found,) = host_view.happenings([Event(5, "web-1", "disk_swapped", "sda")], [], 0, 10)

    assert (found.title, found.detail, found.shape) == ("Disk swapped", "sda", "")


def test_network_tiles_leave_a_unit_out_where_it_is_that_of_the_sum() -> None:
    row = fleet.rows([Host("web-1")], [], [], Rulebook(), NOW_MS)[0]

    (tile,) = tiles.tiles(row, {}, {"net": np.array([1.0, 2.0])}, (84e6, 412e6), {})

    assert (str(tile.value), tile.note) == ("496 Mbit/s", "↓ 84 ↑ 412")
