"""names.json beside the sealed files: the names behind their numbers, so that they can be read without the database."""

from __future__ import annotations

import json
from pathlib import Path

from fleetwatch_storage.embedded import files
from fleetwatch_storage.embedded.names import Names

_FILE = "names.json"


def write(folder: Path, names: Names) -> None:
    """Replaces the file. It has to be on disk before the first file that uses a name."""
    measurements = [
        {
            "name": one.name,
            "fields": [[field.id, field.name, field.text] for field in one.fields.values()],
            "tagsets": one.tagsets,
        }
        for one in names.by_id
    ]
    target = folder / files.FOLDER
    target.mkdir(exist_ok=True)
    text = json.dumps({"hosts": names.hosts, "measurements": measurements}, ensure_ascii=False)
    files.write_text(target / _FILE, text)


def read(folder: Path) -> Names | None:
    """The names as they were last written, all of them new; None when there is no such file.

    Raises:
        ValueError: the file is not what `write` wrote.
    """
    path = folder / files.FOLDER / _FILE
    if not path.exists():
        return None
    found, names = json.loads(path.read_text(encoding="utf-8")), Names()
    names.host_codes(found["hosts"])
    owners = [names.measurement(one["name"]) for one in found["measurements"]]
    fields = [
        (number, owner, name, text)
        for owner, one in zip(owners, found["measurements"], strict=True)
        for number, name, text in one["fields"]
    ]
    for number, owner, name, text in sorted(fields, key=lambda field: field[0]):
        if names.field(owner, name, text=text).id != number:
            raise ValueError(f"{path}: field {number} is missing")
    for owner, one in zip(owners, found["measurements"], strict=True):
        names.tagset_codes(owner, [tuple((key, value) for key, value in tags) for tags in one["tagsets"]])
    return names
