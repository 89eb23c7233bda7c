"""Queries as InfluxQL: names quoted, values bound, conditions that never leave out what belongs to the answer."""

from __future__ import annotations

import re

import pytest
from fleetwatch_storage.influx.influxql import (
    identifier,
    place_of,
    rolled_steps,
    samples,
    steps,
    transformed_steps,
)
from fleetwatch_storage.query import Matcher, Op, Query, Transform

HOSTS = {"a": {"env": "prod"}, "b": {"env": "test"}, "c": {}}


def where(*matchers: Matcher) -> str:
    """The condition on tags of a query with these matchers, its parameters filled in."""
    statement = samples(Query("m", ("f",), 0, 10, where=matchers), "m", HOSTS, 0)
    text = statement.text.partition("time < 10ms")[2].partition(" GROUP BY")[0].removeprefix(" AND ")
    return re.sub(r"\$(v\d+)", lambda found: repr(statement.parameters[found[1]]), text)


def test_names_are_quoted_whatever_they_are() -> None:
    assert identifier('a"b\\c\nd') == '"a\\"b\\\\c\\nd"'
    assert place_of("db", 'm"; DROP MEASUREMENT x', "rp") == '"db"."rp"."m\\"; DROP MEASUREMENT x"'


def test_samples_are_asked_for_by_series() -> None:
    statement = samples(Query("m", ("a", "b"), 5, 10), '"db".."m"', {}, 5)

    assert statement.text == (
        'SELECT "a"::field AS "c0", "b"::field AS "c1" FROM "db".."m" WHERE time >= 5ms AND time < 10ms GROUP BY *'
    )
    assert statement.columns == ("a", "b")


def test_steps_are_made_by_the_server() -> None:
    statement = steps(Query("m", ("a",), 0, 10, 5, ("avg", "p95")), "m", {}, 0)

    assert statement.text == (
        'SELECT mean("a"::field) AS "c0", percentile("a"::field, 95) AS "c1" FROM m '
        "WHERE time >= 0ms AND time < 10ms GROUP BY time(5ms), * fill(none)"
    )
    assert statement.columns == ("a:avg", "a:p95")


def test_differences_are_summed_whatever_the_aggregate() -> None:
    statement = transformed_steps(Query("m", ("a",), 0, 10, 5, ("max",), Transform.INCREASE), "m", {}, 0)

    assert statement.text.startswith(
        'SELECT sum("f0") AS "c0" FROM (SELECT non_negative_difference("a"::field) AS "f0"'
    )


def test_roll_ups_weigh_their_means() -> None:
    statement = rolled_steps(Query("m", ("a",), 0, 10, 5), "m", {}, 0)

    assert statement.text.startswith('SELECT sum(s0) / sum(n0) AS "c0" FROM (SELECT "mean_a"::field AS m0')


@pytest.mark.parametrize(
    ("matcher", "condition"),
    [
        (Matcher("host", Op.EQ, "x' OR 1=1"), '"host"::tag = "x\' OR 1=1"'),
        (Matcher("cpu", Op.EQ, "cpu0"), "\"cpu\"::tag = 'cpu0'"),
        (Matcher('t"ag', Op.EQ, "x"), '"t\\"ag"::tag = \'x\''),
        (Matcher("host", Op.RE, "web-.*|db"), '"host"::tag =~ /^(?:web-.*|db)$/'),
        (Matcher("env", Op.EQ, "prod"), "(\"env\"::tag = 'prod' OR \"host\"::tag = 'a')"),
        (
            Matcher("env", Op.RE, "p.*|t.*"),
            '("env"::tag =~ /^(?:p.*|t.*)$/ OR "host"::tag = \'a\' OR "host"::tag = \'b\')',
        ),
    ],
    ids=str,
)
def test_conditions_the_server_can_judge_are_sent(matcher: Matcher, condition: str) -> None:
    assert where(matcher) == condition


@pytest.mark.parametrize(
    "matcher",
    [
        Matcher("cpu", Op.EQ, ""),
        Matcher("cpu", Op.NE, "x"),
        Matcher("cpu", Op.NE, ""),
        Matcher("cpu", Op.RE, "|x"),
        Matcher("cpu", Op.RE, ".*"),
        Matcher("cpu", Op.NRE, "x"),
        Matcher("cpu", Op.RE, r"\d+"),
        Matcher("cpu", Op.RE, "a/b"),
        Matcher("cpu", Op.RE, "(?i)x"),
        Matcher("cpu", Op.RE, "[a-z]+"),
        Matcher("cpu", Op.RE, "é"),
        Matcher("env", Op.NE, ""),
    ],
    ids=str,
)
def test_conditions_that_might_be_read_differently_are_left_to_us(matcher: Matcher) -> None:
    assert where(matcher) == ""


def test_a_host_tag_of_very_many_hosts_is_not_spelled_out() -> None:
    many = {f"h{i}": {"env": "prod"} for i in range(201)}

    statement = samples(Query("m", ("f",), 0, 10, where=(Matcher("env", Op.EQ, "prod"),)), "m", many, 0)

    assert statement.text.endswith("time < 10ms GROUP BY *")


def test_times_are_kept_within_what_the_server_knows() -> None:
    statement = samples(Query("m", ("f",), -(2**62), 2**62), "m", {}, -(2**62))

    assert "WHERE time >= 0ms AND time < 9223372036854ms" in statement.text
