"""Host tags in queries: which series a query's conditions select, and which group each belongs to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fleetwatch_storage.frames import Codes, TagSet
from fleetwatch_storage.query import Matcher

HostTags: TypeAlias = Mapping[str, Mapping[str, str]]
"""Tags of hosts by host name, as `HostDirectory.tags()` gives them."""


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
) -> npt.NDArray[np.bool_]:
    """Which of the series (n,) given as codes into `hosts` and `tagsets` satisfy all conditions: (n,) bool.

    Every pattern is tried once per distinct value, not once per series.
    """
    keep = np.ones(len(host), np.bool_)
    for matcher in where:
        values, codes = _values(matcher.tag, hosts, tagsets, host, tagset, tags)
        keep &= np.fromiter((matcher.accepts(value) for value in values), np.bool_, len(values))[codes]
    return keep


def groups(
    group_by: Sequence[str], hosts: Sequence[str], tagsets: Sequence[TagSet], host: Codes, tagset: Codes, tags: HostTags
) -> tuple[Codes, list[tuple[str, TagSet]]]:
    """The group of each of the series (n,): codes (n,), and per group its host ("" unless grouped by host) and labels.

    Labels are sorted by key; a label whose value is empty is left out, as an absent tag equals the empty text.
    """
    group = np.zeros(len(host), np.int64)
    members = [("", ())] if len(host) else []
    found: list[tuple[str, TagSet]] = list(members)
    for tag in group_by:
        values, codes = _values(tag, hosts, tagsets, host, tagset, tags)
        pairs, group = np.unique(group * len(values) + codes, return_inverse=True)
        found = [_labelled(found[pair // len(values)], tag, values[pair % len(values)]) for pair in pairs.tolist()]
    return group.astype(np.int32), found


def _labelled(group: tuple[str, TagSet], tag: str, value: str) -> tuple[str, TagSet]:
    name, labels = group
    if tag == "host":
        return value, labels
    return name, tuple(sorted({**dict(labels), tag: value}.items())) if value else labels


def _values(
    tag: str, hosts: Sequence[str], tagsets: Sequence[TagSet], host: Codes, tagset: Codes, tags: HostTags
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The distinct values of one tag and the code of each series' value."""
    if tag == "host":
        return _coded(list(hosts), host)
    own = [dict(one).get(tag) for one in tagsets]
    missing = np.fromiter((value is None for value in own), np.bool_, len(own))
    by_host = [tags.get(name, {}).get(tag, "") for name in hosts]
    both = [*by_host, *(value or "" for value in own)]
    return _coded(both, np.where(missing[tagset], host, tagset + len(hosts)) if len(own) else host)


def _coded(texts: list[str], codes: npt.NDArray[np.integer]) -> tuple[list[str], npt.NDArray[np.int64]]:
    number: dict[str, int] = {}
    of_text = np.fromiter((number.setdefault(text, len(number)) for text in texts), np.int64, len(texts))
    return list(number), of_text[codes] if len(texts) else np.zeros(len(codes), np.int64)
