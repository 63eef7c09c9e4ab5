"""A run that was stopped goes on; one with other inputs starts over; nobody else's folder is touched."""

import pytest

from velocity.adaptation.workspace import Workspace
from velocity.errors import VelocityError


def test_finished_steps_are_not_repeated(tmp_path, capsys):
    done = []

    def fail():
        raise VelocityError("no")

    first = Workspace(tmp_path / "w", {"minutes": 1})
    first.step("one", lambda: done.append(1))
    with pytest.raises(VelocityError, match="no"):
        first.step("two", fail)
    again = Workspace(tmp_path / "w", {"minutes": 1})
    assert "resuming in" in capsys.readouterr().err
    again.step("one", lambda: done.append(1))
    again.step("two", lambda: done.append(2))
    assert done == [1, 2]
    other = Workspace(tmp_path / "w", {"minutes": 2})
    assert "starting over in" in capsys.readouterr().err
    other.step("one", lambda: done.append(3))
    assert done == [1, 2, 3]
    other.remove()
    assert not (tmp_path / "w").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(VelocityError, match="exists and is not an unfinished adaptation"):
        Workspace(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
