"""The catalogue and the identity of schemas."""

import pytest
from fleetwatch_proto.catalog import BY_NAME, MEASUREMENTS, Kind, lookup
from fleetwatch_proto.schema import columns, schema_id
from fleetwatch_proto.v1.ingest_pb2 import Series, Tag

UNITS = {"percent", "bytes", "seconds", "milliseconds", "microseconds", "count", "rpm", "celsius", "watts", "mbit", ""}


def series(measurement: str, fields: list[str], **tags: str) -> Series:
    return Series(measurement=measurement, tags=[Tag(key=k, value=v) for k, v in tags.items()], fields=fields)


def test_every_field_has_a_known_unit_a_description_and_a_unique_name() -> None:
    for measurement in MEASUREMENTS:
        names = [field.name for field in measurement.fields]

        assert len(names) == len(set(names)), measurement.name
        assert {field.unit for field in measurement.fields} <= UNITS, measurement.name
        assert all(field.description and field.bad in ("", "high", "low") for field in measurement.fields)


def test_levels_worsen_in_the_bad_direction() -> None:
    with_levels = [field for one in MEASUREMENTS for field in one.fields if field.levels]

    assert with_levels
    for field in with_levels:
        warning, critical = field.levels
        assert (warning < critical) == (field.bad == "high"), field.name


def test_only_process_names_and_owners_are_text() -> None:
    text = {(one.name, field.name) for one in MEASUREMENTS for field in one.fields if field.kind is Kind.TEXT}

    assert text == {("process_top", "name"), ("process_top", "user")}


def test_identity_tags_are_tags() -> None:
    assert all(set(one.identity) <= set(one.tags) for one in BY_NAME.values())


@pytest.mark.parametrize("metric", ["cpu.nothing", "nothing.usage_active", "cpu", "", "."])
def test_an_unknown_metric_is_not_found(metric: str) -> None:
    assert lookup(metric) is None
    assert lookup("cpu.usage_active") == (BY_NAME["cpu"], BY_NAME["cpu"].field("usage_active"))


def test_equal_schemas_have_one_identity_and_different_ones_have_two() -> None:
    one = [series("cpu", ["a", "b"], cpu="cpu0"), series("mem", ["c"])]
    variants = [
        [series("cpu", ["a"], cpu="cpu0"), series("mem", ["b", "c"])],
        [series("cpu", ["b", "a"], cpu="cpu0"), series("mem", ["c"])],
        [series("cpu", ["a", "b"], cpu="cpu1"), series("mem", ["c"])],
        [series("cpu", ["a", "b", "mem", "c"], cpu="cpu0")],
        [series("cpucpu", ["a", "b"], cpu="0"), series("mem", ["c"])],
        [series("mem", ["c"]), series("cpu", ["a", "b"], cpu="cpu0")],
    ]

    assert schema_id(one) == schema_id([Series.FromString(each.SerializeToString()) for each in one])
    assert len({schema_id(one), *(schema_id(each) for each in variants)}) == 7
    assert columns(one) == 3
