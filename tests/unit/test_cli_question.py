"""What is typed after `fleetwatch query` becomes the question it means."""

from __future__ import annotations

import pytest
from fleetwatch.question import Asked, matcher, moment_ms, split_metric, step_ms, to_query
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.query import Matcher, Op, Transform

NOW_MS = 1_767_225_600_000


def test_a_plain_question_asks_the_last_hour_in_sixty_steps() -> None:
    query = to_query(Asked("cpu.usage_active"), NOW_MS)

    assert (query.measurement, query.fields) == ("cpu", ("usage_active",))
    assert (query.start_ms, query.end_ms, query.step_ms) == (NOW_MS - 3_600_000, NOW_MS, 60_000)
    assert query.aggregates == ("avg",)
    assert query.where == ()
    assert query.group_by is None


def test_every_option_reaches_the_question() -> None:
    asked = Asked(
        "net.bytes_recv,bytes_sent",
        since="2h",
        until="1h",
        step="5m",
        aggregates=("min", "max"),
        transform="rate",
        hosts=("a",),
        tags=("interface!=lo",),
        group_by="host,site",
        group_aggregate="sum",
        top=3,
    )

    query = to_query(asked, NOW_MS)

    assert query.fields == ("bytes_recv", "bytes_sent")
    assert (query.start_ms, query.end_ms, query.step_ms) == (NOW_MS - 7_200_000, NOW_MS - 3_600_000, 300_000)
    assert query.aggregates == ("min", "max")
    assert query.transform is Transform.RATE
    assert query.where == (Matcher("host", Op.EQ, "a"), Matcher("interface", Op.NE, "lo"))
    assert (query.group_by, query.group_aggregate) == (("host", "site"), "sum")
    assert (query.limit, query.order) == (3, "top")


def test_several_hosts_are_alternatives_and_their_names_are_no_patterns() -> None:
    (host,) = to_query(Asked("mem.used", hosts=("web.1", "db")), NOW_MS).where

    assert [host.accepts(name) for name in ("web.1", "db", "webx1", "d")] == [True, True, False, False]


def test_an_empty_group_combines_everything() -> None:
    assert to_query(Asked("mem.used", group_by=""), NOW_MS).group_by == ()


@pytest.mark.parametrize("text", ["cpu", "cpu.", ".usage", "", "cpu.,"])
def test_what_is_not_a_metric_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write measurement\.field"):
        split_metric(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", Matcher("a", Op.EQ, "b")),
        ("a!=b=c", Matcher("a", Op.NE, "b=c")),
        ("a=~x.*", Matcher("a", Op.RE, "x.*")),
        ("a!~x|y", Matcher("a", Op.NRE, "x|y")),
        ("a=", Matcher("a", Op.EQ, "")),
    ],
)
def test_conditions_on_tags(text: str, expected: Matcher) -> None:
    assert matcher(text) == expected


@pytest.mark.parametrize("text", ["a", "=b", "!a", ""])
def test_what_is_not_a_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a condition on a tag"):
        matcher(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW_MS),
        ("90s", NOW_MS - 90_000),
        ("-1h30m", NOW_MS - 5_400_000),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01T01:00:00+01:00", 1_767_225_600_000),
        ("1767225600", 1_767_225_600_000),
        ("1767225600.5", 1_767_225_600_500),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert moment_ms(text, NOW_MS) == expected


@pytest.mark.parametrize("text", ["yesterday", "1x", "12", ""])
def test_what_is_not_a_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        moment_ms(text, NOW_MS)


@pytest.mark.parametrize(
    ("text", "range_ms", "expected"),
    [
        ("raw", 1, 0),
        ("0", 1, 0),
        ("1m", 1, 60_000),
        ("", 3_600_000, 60_000),
        ("", 7 * 86_400_000, 10_800_000),
        ("", 0, 1000),
    ],
)
def test_steps(text: str, range_ms: int, expected: int) -> None:
    assert step_ms(text, range_ms) == expected


def test_top_and_bottom_together_are_refused() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        to_query(Asked("mem.used", top=1, bottom=1), NOW_MS)


def test_an_unknown_aggregate_is_named() -> None:
    with pytest.raises(QueryFailed, match="unknown aggregate 'mode'"):
        to_query(Asked("mem.used", aggregates=("mode",)), NOW_MS)
