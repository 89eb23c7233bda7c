"""What the spool promises, one sentence a test."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleetwatch_agent.samples import Lost
from fleetwatch_agent.spool import Limits, Spool, SpoolNewer, overflow
from fleetwatch_agent.spool.gather import grouped
from fleetwatch_agent.spool.overflow import ranges
from fleetwatch_agent.stamps import Stamps

from tests.support.agent_samples import (
    IN_MEMORY,
    SCHEMA,
    START_MS,
    WIDTH,
    append,
    damage,
    numbers,
    open_spool,
    sample,
    waiting,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state folder in memory: thousands of fsyncs would measure the disk of the machine."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as made:
        yield Path(made) / "state"


def test_a_batch_comes_back_as_it_was_put_in_after_a_restart(folder: Path) -> None:
    spool = open_spool(folder)
    append(spool, 1, ship=False)
    append(spool, 2, processes=b"table")
    spool.close()

    (batch,) = waiting(open_spool(folder))

    assert numbers(batch) == [1, 2]
    assert (batch.seq, batch.t0_ms, batch.offsets_ms) == (1, START_MS + 10_000, (0, 10_000))
    assert (batch.schema_id, batch.points, batch.processes) == (SCHEMA, 2 * WIDTH, b"table")


def test_rows_of_an_open_batch_survive_without_a_clean_end(folder: Path) -> None:
    spool = open_spool(folder)
    append(spool, 1, ship=False)
    append(spool, 2, ship=False)
    spool._now._db.close()  # as a kill does: nothing is flushed

    again = open_spool(folder)
    assert waiting(again) == []
    append(again, 3)

    assert [numbers(batch) for batch in waiting(again)] == [[1, 2, 3]]


def test_the_stamps_of_open_rows_survive_too(folder: Path) -> None:
    spool = open_spool(folder)
    append(spool, 5, ship=False)
    spool._now._db.close()

    assert max(open_spool(folder).stamps.highest) == START_MS + 50_000


def test_a_number_is_never_used_twice(folder: Path) -> None:
    spool = open_spool(folder)
    for number in range(3):
        append(spool, number)
    spool.acknowledge(spool.spool_id, 3)
    spool.close()

    again = open_spool(folder)
    append(again, 9)

    assert again.after(0, 10) == [4]


def test_only_acknowledged_batches_are_forgotten(folder: Path) -> None:
    spool = open_spool(folder)
    for number in range(10):
        append(spool, number)

    spool.acknowledge(spool.spool_id, 3, [6, 8, 99])

    assert spool.after(0, 100) == [4, 5, 7, 9, 10]
    assert spool.get(6) is None
    assert spool.figures().batches == 5
    spool.close()
    assert open_spool(folder).after(0, 100) == [4, 5, 7, 9, 10]


def test_an_acknowledgement_for_another_spool_is_ignored(folder: Path) -> None:
    spool = open_spool(folder)
    append(spool, 1)

    spool.acknowledge("somebody else", 1)

    assert spool.after(0, 10) == [1]


def test_a_batch_has_one_schema_rising_times_and_one_table() -> None:
    first = sample(1)

    assert grouped([], first, False) == ([], [first])
    other = sample(2, schema_id=5)
    assert grouped([first], other, False) == ([[first]], [other])
    earlier = sample(0)
    assert grouped([first], earlier, False) == ([[first]], [earlier])
    with_table = sample(2, processes=b"t")
    assert grouped([first], with_table, False) == ([[first, with_table]], [])
    late = sample(100_000)
    assert grouped([first], late, True) == ([[first], [late]], [])


def test_large_rows_close_a_batch_before_it_outgrows_a_message(folder: Path) -> None:
    spool = open_spool(folder)
    wide = [sample(number, width=20_000) for number in range(4)]
    for one in wide:
        spool.append(one, False, Stamps())

    assert [batch.rows for batch in waiting(spool)] == [4]


def test_a_full_spool_drops_the_oldest_and_counts_every_point(folder: Path) -> None:
    spool = open_spool(folder, size=1 << 20)
    for number in range(4000):
        append(spool, number)

    kept = waiting(spool)
    lost = [one for _, one in spool.lost(100_000)]
    assert spool.figures().bytes <= 1 << 20
    assert sum(batch.points for batch in kept) + sum(one.points for one in lost) == 4000 * WIDTH
    assert spool.figures().lost_points == sum(one.points for one in lost)
    gone = {seq for one in lost for seq in range(one.from_seq, one.to_seq + 1)}
    assert gone.isdisjoint(batch.seq for batch in kept)
    assert gone | {batch.seq for batch in kept} == set(range(1, 4001))
    assert kept[-1].seq == 4000, "the newest stays"


def test_history_is_thinned_before_the_oldest_goes(folder: Path) -> None:
    spool = open_spool(folder, size=1 << 20)
    for number in range(3000):
        append(spool, number)

    reasons = {one.reason for _, one in spool.lost(100_000)}
    thinned_to = max(one.to_seq for _, one in spool.lost(100_000) if one.reason == "thinned")
    old = [batch.seq for batch in waiting(spool) if batch.seq <= thinned_to]
    assert reasons == {"thinned"}
    assert old
    assert thinned_to < 3000 - overflow.THIN_AFTER_MS // 10_000, "the last hour is whole"
    assert all(seq % overflow.KEEP_EVERY == 0 for seq in old)


def test_without_the_bound_the_spool_would_grow_past_it(folder: Path) -> None:
    """The negative control of the bound."""
    spool = open_spool(folder, size=1 << 26)
    for number in range(4000):
        append(spool, number)

    assert spool.figures().bytes > 1 << 20
    assert spool.lost(10) == []


def test_batches_on_their_way_are_not_given_up(folder: Path) -> None:
    spool = open_spool(folder, size=1 << 20)
    append(spool, 0)
    spool.sending(spool.spool_id, {1})
    for number in range(1, 3000):
        append(spool, number)

    assert spool.after(0, 1) == [1]


def test_a_refused_batch_is_buried_and_counted(folder: Path) -> None:
    spool = open_spool(folder)
    append(spool, 1)
    append(spool, 2)

    spool.bury(spool.spool_id, 1, "poison", "no such thing")

    assert spool.after(0, 10) == [2]
    ((number, lost),) = spool.lost(10)
    assert lost == Lost(1, 1, WIDTH, "poison")
    spool.forget_lost(spool.spool_id, [number])
    assert spool.lost(10) == []
    assert spool.figures().lost_points == WIDTH, "the count stays"


def test_dead_letters_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overflow, "_MOST_DEAD_BYTES", 2000)
    spool = open_spool(folder)
    for number in range(50):
        append(spool, number)
        spool.bury(spool.spool_id, number + 1, "poison", "x" * 10_000)

    kept, size = spool._now._db.execute("SELECT count(*), sum(length(data)) FROM dead").fetchone()
    assert 0 < kept < 50
    assert size <= 2000


def test_lost_ranges_are_bounded_and_keep_their_points(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overflow, "_MOST_RANGES", 200)
    spool = open_spool(folder)
    with spool._now._transaction():
        overflow.record(spool._now._db, [Lost(seq, seq, 3, "overflow") for seq in range(1, 2001, 2)])

    found = [one for _, one in spool.lost(10_000)]
    assert len(found) <= 200
    assert sum(one.points for one in found) == 3000
    assert (found[0].from_seq, found[-1].to_seq) == (1, 1999)


def test_ranges_join_neighbours() -> None:
    assert ranges([(1, 5), (2, 5), (4, 1)], "overflow") == [Lost(1, 2, 10, "overflow"), Lost(4, 4, 1, "overflow")]


def test_a_spool_of_a_later_version_is_refused_in_words(folder: Path) -> None:
    open_spool(folder).close()
    db = sqlite3.connect(folder / "spool.db")
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(SpoolNewer, match="newer agent"):
        open_spool(folder)


def test_a_file_that_is_no_database_is_set_aside(folder: Path) -> None:
    spool = open_spool(folder)
    before = spool.spool_id
    append(spool, 1)
    spool.close()
    (folder / "spool.db").write_bytes(b"this is no database" * 500)

    again = open_spool(folder)

    assert again.figures().durable
    assert again.spool_id != before
    assert len(list(folder.glob("spool.corrupt-*"))) >= 1
    assert [one.reason for _, one in again.lost(10)] == ["corrupt"]
    append(again, 2)
    assert [numbers(batch) for batch in waiting(again)] == [[2]]


def test_batches_around_the_damage_are_saved(folder: Path) -> None:
    spool = open_spool(folder)
    for number in range(400):
        append(spool, number)
    spool.close()
    size = (folder / "spool.db").stat().st_size
    damage(folder / "spool.db", size // 2 // 4096 * 4096)

    again = open_spool(folder)

    saved = [number for batch in waiting(again) for number in numbers(batch)]
    lost = sum(one.points for _, one in again.lost(10))
    assert saved == sorted(set(saved))
    assert 300 < len(saved) < 400
    assert {0, 399} <= set(saved)
    assert lost == (400 - len(saved)) * WIDTH
    assert all(again.schema(batch.schema_id) == b"schema" for batch in waiting(again))


def test_a_damaged_batch_is_buried_when_it_is_read(folder: Path) -> None:
    spool = open_spool(folder)
    append(spool, 1)
    append(spool, 2)
    spool.close()
    db = sqlite3.connect(folder / "spool.db")
    db.execute("UPDATE batches SET data = ? WHERE seq = 1", (zlib.compress(bytes(8 * WIDTH)),))
    db.commit()
    db.close()

    again = open_spool(folder)

    assert again.get(1) is None
    assert [(one.from_seq, one.reason) for _, one in again.lost(10)] == [(1, "corrupt")]
    assert [numbers(batch) for batch in waiting(again)] == [[2]]


def test_a_damaged_open_row_does_not_keep_the_agent_from_starting(folder: Path) -> None:
    spool = open_spool(folder)
    append(spool, 1)
    append(spool, 2, ship=False)
    spool._now._db.execute("UPDATE open_rows SET data = x'010203'")
    spool._now._db.close()

    again = open_spool(folder)
    append(again, 3)

    assert again.figures().durable
    assert [number for batch in waiting(again) for number in numbers(batch)] == [1, 3]


def test_damage_found_while_running_starts_a_new_file(folder: Path) -> None:
    spool = open_spool(folder)
    for number in range(50):
        append(spool, number)
    before = spool.spool_id
    spool._now._db.execute("DROP TABLE open_rows")  # what a bad page looks like to the next statement

    append(spool, 50, ship=False)
    append(spool, 51)

    assert spool.spool_id != before
    assert spool.figures().durable
    assert sorted(number for batch in waiting(spool) for number in numbers(batch)) == list(range(52))


def test_an_unusable_folder_means_memory_and_saying_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told: list[int] = []

    spool = open_spool(tmp_path / "file" / "state", on_change=lambda: told.append(1))
    append(spool, 1)

    assert not spool.figures().durable
    assert spool.trouble
    assert [numbers(batch) for batch in waiting(spool)] == [[1]]


def test_what_memory_held_moves_to_disk_when_it_can(tmp_path: Path) -> None:
    now = [0.0]
    (tmp_path / "file").write_text("in the way")
    spool = open_spool(tmp_path / "file", clock=lambda: now[0])
    in_memory = spool.spool_id
    append(spool, 1)
    append(spool, 2, ship=False)
    (tmp_path / "file").unlink()

    append(spool, 3)
    still = spool.spool_id
    now[0] = 31.0
    append(spool, 4)

    assert still == in_memory, "not tried before its time"
    assert spool.spool_id != in_memory
    assert spool.figures().durable
    assert sorted(number for batch in waiting(spool) for number in numbers(batch)) == [1, 2, 3, 4]
    spool.close()
    assert len(waiting(open_spool(tmp_path / "file"))) == 3


def test_memory_is_bounded_and_counts_what_it_drops(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    spool = open_spool(tmp_path / "file", memory=1 << 17)
    for number in range(1000):
        append(spool, number)

    kept = waiting(spool)
    lost = [one for _, one in spool.lost(100_000)]
    assert spool.figures().bytes <= 1 << 17
    assert {one.reason for one in lost} == {"memory"}
    assert sum(batch.points for batch in kept) + sum(one.points for one in lost) == 1000 * WIDTH


def test_a_last_chance_at_the_end_saves_what_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    spool = open_spool(tmp_path / "file")
    append(spool, 1)
    (tmp_path / "file").unlink()

    spool.close()

    assert [numbers(batch) for batch in waiting(open_spool(tmp_path / "file"))] == [[1]]


def test_schemas_that_nothing_needs_are_forgotten_and_those_in_use_kept(folder: Path) -> None:
    spool = open_spool(folder)
    append(spool, 1)
    for number in range(50):
        spool.put_schema(1000 + number, b"other")

    assert spool.schema(SCHEMA) == b"schema"
    assert spool.schema(1049) == b"other"
    assert spool.schema(1000) is None
    assert spool.schema((1 << 64) - 1) is None


def test_schema_ids_use_all_64_bits(folder: Path) -> None:
    spool = open_spool(folder)
    large = (1 << 64) - 5
    spool.put_schema(large, b"large")
    append(spool, 1, schema_id=large)

    (batch,) = waiting(spool)

    assert batch.schema_id == large
    assert spool.schema(large) == b"large"


def test_a_disk_with_little_space_left_stops_the_growth(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(folder, Limits(1 << 26, keep_free=1), 1 << 20)
    spool.put_schema(SCHEMA, b"schema")
    for number in range(2000):
        append(spool, number)
    size = spool.figures().bytes
    real = os.statvfs(folder)
    nearly_full = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr("fleetwatch_agent.spool.file.os.statvfs", lambda path: nearly_full)

    for number in range(2000, 4000):
        append(spool, number)

    assert spool.figures().bytes <= size * 1.05
    assert spool.figures().lost_points > 0
    assert waiting(spool)[-1].seq == 4000


def test_the_file_is_private_and_commits_are_synced(folder: Path) -> None:
    spool = open_spool(folder)

    assert (folder / "spool.db").stat().st_mode & 0o777 == 0o600
    assert spool._now._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._now._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_space_is_given_back_after_a_backlog(folder: Path) -> None:
    spool = open_spool(folder)
    for number in range(4000):
        append(spool, number)
    spool.close()
    grown = (folder / "spool.db").stat().st_size

    spool = open_spool(folder)
    for up_to in range(100, 4001, 100):
        spool.acknowledge(spool.spool_id, up_to)
    spool.close()

    assert (folder / "spool.db").stat().st_size < grown / 2
