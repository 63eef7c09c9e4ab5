"""Measurements part by part: in order, once, whatever is killed, added or changed."""

import json
import os
import signal
import subprocess
import sys
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.data.manifests import Fault, count_lines, read_faults, read_utterances, save_manifests
from velocity.data.parts import LARGEST, map_parts, parts
from velocity.data.sorting import Sorter
from velocity.errors import VelocityError

LINES = [json.dumps({"id": f"mine/{number}"}) + "\n" for number in range(60)]
ADDED = st.lists(st.integers(0, 999).map(lambda number: json.dumps({"id": f"more/{number}"}) + "\n"), max_size=20)


def double(items):
    return [{"id": item["id"], "twice": item["id"] * 2} for item in items]


def rows_of(lines, folder, compute=double, size=5):
    return list(map_parts("double-1", lines, compute, size, folder))


def test_rows_come_in_order_and_are_computed_once(tmp_path):
    asked = []

    def counted(items):
        asked.extend(item["id"] for item in items)
        return double(items)

    expected = double([json.loads(line) for line in LINES])
    assert rows_of(LINES, tmp_path, counted) == rows_of(LINES, tmp_path, counted) == expected
    assert asked == [row["id"] for row in expected]
    assert list(map_parts("double-2", LINES, counted, 5, tmp_path)) == expected
    assert len(asked) == 2 * len(expected)  # another version of the work


@given(ADDED, st.integers(0, len(LINES)))
def test_added_lines_change_only_the_parts_that_they_fall_into(added, place):
    before = [part.path for part in parts("work", LINES, 5)]
    after = list(parts("work", [*LINES[:place], *added, *LINES[place:]], 5))
    assert "".join(line for part in after for line in part.lines) == "".join([*LINES[:place], *added, *LINES[place:]])
    assert max(len(part.lines) for part in after) <= LARGEST * 5
    changed = {part.path for part in after if not set(part.lines) <= set(LINES)}
    new = {part.path for part in after} - set(before)
    assert len(new - changed) <= 2  # the rest of the part that was cut open, up to a border of its own


def test_changed_audio_is_measured_again_though_the_manifest_is_the_same(tmp_path):
    paths = [tmp_path / f"{number}.wav" for number in range(40)]
    for path in paths:
        path.write_bytes(b"one")
    sources = [{"id": path.stem, "sources": [{"type": "file", "source": str(path)}]} for path in paths]
    cuts = [{"id": recording["id"], "recording": recording} for recording in sources]
    for name, items in (("recordings", sources), ("cuts", cuts)):
        lines = [json.dumps(item) + "\n" for item in items]
        before = list(parts(name, lines, 5))
        assert list(parts(name, lines, 5)) == before
        os.utime(paths[7], ns=(1, 1))
        paths[30].unlink()
        changed = [old.lines for old, new in zip(before, parts(name, lines, 5), strict=True) if old.path != new.path]
        assert len(changed) == 2
        assert '"id": "7"' in "".join(changed[0])
        assert '"id": "30"' in "".join(changed[1])
        paths[30].write_bytes(b"one")
        os.utime(paths[7], ns=(2, 2))


PROGRAM = """
import sys, time
from pathlib import Path
from tests.data.test_parts import LINES, double, rows_of
def slowly(items):
    print("part", flush=True)
    time.sleep(0.05)
    return double(items)
rows_of(LINES, Path(sys.argv[1]), slowly)
"""


def test_what_is_killed_goes_on_and_gives_the_same_rows(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    kept = set(tmp_path.rglob("*.jsonl"))
    assert len(kept) >= 2
    computed = []
    rows = rows_of(LINES, tmp_path, lambda items: computed.append(len(items)) or double(items))
    assert rows == double([json.loads(line) for line in LINES])
    assert len(computed) == len(list(parts("double-1", LINES, 5))) - len(kept)


def test_a_part_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        rows_of(LINES, tmp_path, lambda items: 1 / 0)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@given(
    st.lists(st.tuples(st.text("abc", max_size=3), st.integers(0, 9).map("{}\n".format)), max_size=40),
    st.integers(1, 9),
)
def test_sorting_on_disk_is_sorting_in_memory(pairs, run):
    with Sorter(tempfile.gettempdir(), run) as sorter:
        for key, line in pairs:
            sorter.add(key, line)
        expected = sorted(pairs, key=lambda pair: pair[0])
        assert list(sorter) == list(sorter) == expected


def test_faults_are_sorted_and_a_supervision_without_recording_is_named(tmp_path):
    faults = [Fault("mine", f"mine/{name}", "unreadable-audio", f"{name}.wav") for name in "cab"]
    save_manifests(faults, tmp_path / "mine")
    assert [fault.id for fault in read_faults(tmp_path / "mine")] == ["mine/a", "mine/b", "mine/c"]
    assert count_lines(tmp_path / "mine/faults.jsonl") == 3
    (tmp_path / "mine/supervisions.jsonl").write_text('{"id": "mine/d", "recording_id": "mine/d"}\n')
    with pytest.raises(VelocityError, match="mine/d: no such recording"):
        list(read_utterances(tmp_path / "mine"))
    with pytest.raises(VelocityError, match=r"none\.jsonl: no such file"):
        count_lines(tmp_path / "none.jsonl")
