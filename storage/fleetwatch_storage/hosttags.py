"""Host tags in queries: which series a query's conditions select, and which group each belongs to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fleetwatch_storage.frames import Codes, TagSet
from fleetwatch_storage.patterns import compile_pattern
from fleetwatch_storage.query import Matcher, Op

Mask: TypeAlias = npt.NDArray[np.bool_]
HostTags: TypeAlias = Mapping[str, Mapping[str, str]]
"""Tags of hosts by host name, as `HostDirectory.tags()` gives them."""


class LateTags(Mapping[str, Mapping[str, str]]):
    """Host tags that are only asked for when the first is looked at: most queries need none."""

    def __init__(self, ask: Callable[[], HostTags]) -> None:
        self._ask = ask
        self._known: HostTags | None = None

    def _tags(self) -> HostTags:
        if self._known is None:
            self._known = self._ask()
        return self._known

    def __getitem__(self, host: str) -> Mapping[str, str]:
        return self._tags()[host]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tags())

    def __len__(self) -> int:
        return len(self._tags())


def value_of(tag: str, host: str, tagset: TagSet, host_tags: HostTags) -> str:
    """The value of a tag of a series: its host's name, its own tag, else its host's tag, else the empty text."""
    if tag == "host":
        return host
    own = dict(tagset).get(tag)
    return host_tags.get(host, {}).get(tag, "") if own is None else own


def selected(
    where: Sequence[Matcher],
    hosts: Sequence[str],
    tagsets: Sequence[TagSet],
    host: Codes,
    tagset: Codes,
    tags: HostTags,
) -> Mask:
    """Which of the series (n,) given as codes into `hosts` and `tagsets` satisfy all conditions: (n,) bool.

    Every pattern is tried once per host and tag set, not once per series; `tags` are looked at only where needed.
    """
    keep = np.ones(len(host), np.bool_)
    for matcher in where:
        keep &= _accepted(matcher, hosts, tagsets, host, tagset, tags)
    return keep


def _accepted(
    matcher: Matcher, hosts: Sequence[str], tagsets: Sequence[TagSet], host: Codes, tagset: Codes, tags: HostTags
) -> Mask:
    if matcher.tag == "host":
        return _accepts_host(matcher, hosts)[host]
    own = [dict(one).get(matcher.tag) for one in tagsets]
    result = _accepts(matcher, [value or "" for value in own])[tagset]
    absent = np.fromiter((value is None for value in own), np.bool_, len(own))[tagset]
    if absent.any():
        by_host = _accepts(matcher, [tags.get(name, {}).get(matcher.tag, "") for name in hosts])
        result = np.where(absent, by_host[host], result)
    return result


def _accepts_host(matcher: Matcher, hosts: Sequence[str]) -> Mask:
    """As `_accepts`; a name that is there once is found faster than all are compared."""
    if matcher.op not in (Op.EQ, Op.NE) or hosts.count(matcher.value) > 1:
        return _accepts(matcher, hosts)
    equal = np.zeros(len(hosts), np.bool_)
    if matcher.value in hosts:
        equal[hosts.index(matcher.value)] = True
    return equal if matcher.op is Op.EQ else ~equal


def _accepts(matcher: Matcher, values: Sequence[str]) -> Mask:
    if matcher.op in (Op.EQ, Op.NE):
        equal = np.fromiter((value == matcher.value for value in values), np.bool_, len(values))
        return equal if matcher.op is Op.EQ else ~equal
    match = compile_pattern(matcher.value).fullmatch
    matches = np.fromiter((match(value) is not None for value in values), np.bool_, len(values))
    return matches if matcher.op is Op.RE else ~matches


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each of n series: codes (n,) into sorted names of hosts and sorted labels."""

    host: Codes
    hosts: Sequence[str]
    tagset: Codes
    tagsets: Sequence[TagSet]


def groups(
    group_by: Sequence[str], hosts: Sequence[str], tagsets: Sequence[TagSet], host: Codes, tagset: Codes, tags: HostTags
) -> Groups:
    """The groups of series (n,) given as codes into `hosts`, which are sorted, and `tagsets`.

    The host is "" unless grouped by host. Labels are sorted by key; one whose value is empty is left out, as an absent
    tag equals the empty text.
    """
    code, found = np.zeros(len(host), np.int64), [dict[str, str]()]
    for tag in sorted(set(group_by) - {"host"}):
        values, of_series = _values(tag, hosts, tagsets, host, tagset, tags)
        pairs, code = np.unique(code * len(values) + of_series, return_inverse=True)
        found = [found[pair // len(values)] | {tag: values[pair % len(values)]} for pair in pairs.tolist()]
    labels = [tuple((tag, value) for tag, value in one.items() if value) for one in found]
    in_order = sorted(set(labels))
    place = np.array([in_order.index(one) for one in labels], np.int32)
    if "host" in group_by:
        return Groups(host, hosts, place[code], in_order)
    return Groups(np.zeros(len(host), np.int32), ("",), place[code], in_order)


def _values(
    tag: str, hosts: Sequence[str], tagsets: Sequence[TagSet], host: Codes, tagset: Codes, tags: HostTags
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The distinct values of one tag and the code of each series' value."""
    own = [dict(one).get(tag) for one in tagsets]
    absent = np.fromiter((value is None for value in own), np.bool_, len(own))[tagset]
    by_host = [tags.get(name, {}).get(tag, "") for name in hosts] if absent.any() else []
    number: dict[str, int] = {}
    codes = [number.setdefault(text or "", len(number)) for text in (*own, *by_host)]
    of_text = np.array(codes or [0], np.int64)
    return list(number) or [""], of_text[np.where(absent, host + len(own), tagset)]
