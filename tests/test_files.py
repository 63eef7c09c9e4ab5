"""The walk over a tree: what links lead to is read, once, in an order that follows from the names, and ends."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.files import has_linked_folders, walk


def write(*paths):
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


def walked(folder):
    return [path.relative_to(folder).as_posix() for path in walk(folder)]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("tree/b/2", "tree/b/1", "tree/a", "tree/c/deep/3", "store/s/4", "store/5")
    return Path("tree")


def test_a_plain_tree_in_the_order_of_names(tree):
    assert walked(tree) == ["a", "b/1", "b/2", "c/deep/3"]
    assert [str(path) for path in walk("tree")][:2] == ["tree/a", "tree/b/1"]  # paths begin as the folder does
    assert not has_linked_folders(tree)


def test_linked_folders_and_files_are_read_after_the_tree_itself(tree):
    Path("tree/aa").symlink_to(Path("store").absolute())
    Path("tree/b/0").symlink_to("../../store/5")
    assert walked(tree) == ["a", "b/0", "b/1", "b/2", "c/deep/3", "aa/5", "aa/s/4"]
    assert has_linked_folders(tree)


def test_all_is_linked(tree):
    Path("links").mkdir()
    for name in ("c", "b"):
        Path("links", name).symlink_to(Path("tree", name).absolute())
    assert walked("links") == ["b/1", "b/2", "c/deep/3"]
    Path("link").symlink_to("links")
    assert walked("link") == ["b/1", "b/2", "c/deep/3"]  # the folder itself is a link


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_a_link_to_a_folder_around_it_is_not_followed(tree, target):
    """Not even to one above the tree: the whole disk would be read."""
    Path("tree/b/loop").symlink_to(target)
    assert walked(tree) == ["a", "b/1", "b/2", "c/deep/3"]


def test_links_to_each_other_and_two_links_to_one_folder_give_each_file_once(tree):
    Path("store/s/back").symlink_to(Path("tree").absolute())
    for name in ("first", "second", "b/third"):
        Path("tree", name).symlink_to(Path("store").absolute())
    Path("tree/c/again").symlink_to("../b")  # which is read under its own name
    assert walked(tree) == ["a", "b/1", "b/2", "c/deep/3", "first/5", "first/s/4"]


def test_what_is_no_file_and_what_is_nowhere(tree):
    os.mkfifo("tree/pipe.wav")
    Path("tree/lost").symlink_to("nowhere")
    Path("tree/pipe").symlink_to("pipe.wav")
    write("tree/._a", "tree/__MACOSX/b/._1", "tree/.hidden")
    assert walked(tree) == [".hidden", "a", "lost", "b/1", "b/2", "c/deep/3"]


def test_a_folder_that_cannot_be_read_is_named(tree, monkeypatch, capsys):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("c"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert walked(tree) == ["a", "b/1", "b/2"]
    assert capsys.readouterr().err == "warning: tree/c: Permission denied; what is in it is left out\n"


FOLDERS = ("x", "x/y", "x/y/z", "w", "w/v", "u")


@given(st.sets(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(FOLDERS)), max_size=12))
def test_whatever_links_to_whatever_each_file_is_read_once(tmp_path_factory, links):
    """Reference: a folder is within reach when a way of folders and links leads to it from the start."""
    tree = tmp_path_factory.mktemp("tree")
    write(*(tree / folder / "file" for folder in FOLDERS))
    for number, (place, target) in enumerate(sorted(links)):
        (tree / place / f"link{number}").symlink_to(tree / target)
    reached, pending = set(), ["x"]
    while pending:
        folder = pending.pop()
        if folder not in reached:
            reached.add(folder)
            pending += [other for other in FOLDERS if Path(other).parent.as_posix() == folder]
            pending += [target for place, target in links if place == folder and f"{place}/".find(f"{target}/") != 0]
    found = [os.path.realpath(path) for path in walk(tree / "x")]
    assert sorted(found) == sorted(os.path.realpath(tree / folder / "file") for folder in reached)
    assert [str(path) for path in walk(tree / "x")] == [str(path) for path in walk(tree / "x")]
