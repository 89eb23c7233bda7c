"""Patterns of matchers: whole values, linear time, errors in words."""

import re
import time

import pytest
from fleetwatch_storage.errors import QueryFailed
from fleetwatch_storage.patterns import compile_pattern
from fleetwatch_storage.query import Matcher, Op, Query

EXPLOSIVE = "(a+)+$"


def test_a_pattern_matches_the_whole_value() -> None:
    matcher = Matcher("host", Op.RE, "web-.*|ünï")

    assert [matcher.accepts(value) for value in ("web-1", "ünï", "my-web-1", "")] == [True, True, False, False]


def test_a_pattern_that_backtracks_elsewhere_takes_linear_time() -> None:
    started = time.process_time()

    assert not Matcher("host", Op.RE, EXPLOSIVE).accepts("a" * 10_000 + "b")

    assert time.process_time() - started < 0.5


def test_the_same_pattern_explodes_in_the_standard_library() -> None:
    """The negative control: it is this pattern that the guard is for."""
    started = time.process_time()

    assert re.fullmatch(EXPLOSIVE, "a" * 20 + "b") is None

    assert time.process_time() - started > 0.01


@pytest.mark.parametrize(
    ("pattern", "words"), [("[a", "missing ]"), ("(?=a)b", "invalid perl operator"), ("a{5000}", "")]
)
def test_a_bad_pattern_is_refused_in_words(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        compile_pattern(pattern)
    with pytest.raises(QueryFailed, match="bad regular expression"):
        Query("cpu", ("usage_idle",), 0, 1, where=(Matcher("host", Op.RE, pattern),))
