"""Settings: precedence, units, and errors that name the place, the key and the value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from fleetwatch_proto.settings import ConfigError, duration_s, load, read_secret, setting, size_bytes


@dataclass(frozen=True, slots=True)
class Example:
    listen: str = setting("127.0.0.1:1", "where it listens")
    interval: float = setting(10.0, "how often", "duration")
    cap: int = setting(1024, "how much", "bytes")
    mode: Literal["a", "b"] = setting("a", "which")
    tags: tuple[str, ...] = setting((), "names")
    quiet: bool = setting(False, "says less")
    file: Path | None = setting(None, "a file")


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_the_command_line_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = toml(tmp_path, 'interval = "1s"\ncap = "1Ki"\nlisten = "file:1"')
    environment = {"FLEETWATCH_CAP": "2Ki", "FLEETWATCH_LISTEN": "env:1"}

    found = load(Example, file=path, environment=environment, overrides={"listen": "line:1", "quiet": None})

    assert (found.interval, found.cap, found.listen, found.quiet) == (1.0, 2048, "line:1", False)


def test_an_unknown_setting_names_the_file_and_suggests_a_name(tmp_path: Path) -> None:
    path = toml(tmp_path, 'intervall = "1s"')

    with pytest.raises(ConfigError, match=r"settings\.toml: unknown setting 'intervall'; did you mean 'interval'\?"):
        load(Example, file=path, environment={})


def test_a_key_of_another_part_of_the_process_is_passed_over(tmp_path: Path) -> None:
    path = toml(tmp_path, "other = 1")

    assert load(Example, file=path, environment={}, known_elsewhere=frozenset({"other"})) == Example()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("interval = '5'", "duration needs a unit: write 5s or 5m"),
        ("interval = 'soon'", "is not a duration"),
        ("cap = 'much'", "is not a size"),
        ("mode = 'c'", "must be one of a, b"),
        ("quiet = 'perhaps'", "must be true or false"),
        ("listen = 5", "must be text"),
        ("cap = true", "must be a number"),
    ],
)
def test_a_bad_value_names_file_key_and_value(tmp_path: Path, text: str, words: str) -> None:
    key = text.partition(" ")[0]

    with pytest.raises(ConfigError) as error:
        load(Example, file=toml(tmp_path, text), environment={})

    assert words in str(error.value)
    assert f"settings.toml: {key} = " in str(error.value)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(Example, file=toml(tmp_path, "interval ="), environment={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read settings"):
        load(Example, file=tmp_path / "none.toml", environment={})


def test_lists_and_paths_come_from_text() -> None:
    found = load(Example, environment={"FLEETWATCH_TAGS": "a,b", "FLEETWATCH_FILE": "x/y"})

    assert (found.tags, found.file) == (("a", "b"), Path("x/y"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1h30m", 5400), ("7d", 604800), ("2w", 1209600), ("0", 0)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("1048576", 1048576), ("256Mi", 268435456), ("2G", 2_000_000_000), ("1.5KiB", 1536)]
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert size_bytes(text) == size


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o644)

    with pytest.raises(ConfigError, match=r"chmod 600"):
        read_secret(path)

    path.chmod(0o600)
    assert read_secret(path) == "s3cret"
