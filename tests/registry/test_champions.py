"""Promotions and rollbacks that are cut off at every write: the registry is as before or as after, never between."""

import copy
import json
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.errors import VelocityError
from velocity.registry import NAME, Champions, Registry

VERSIONS = ["1", "2", "3", "4"]


class Killed(BaseException):
    """No `except Exception` and no clean-up of ours may help."""


class Store:
    """MLflow's registry in memory. A kill comes before or after the write it is planned for."""

    def __init__(self, versions=VERSIONS) -> None:
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {version: {} for version in versions}
        self.kill_at: float | None = None  # 2: before the third write; 2.5: after it
        self.writes = 0
        self.seen: list[str | None] = []  # the champion after each write

    def write(self, change) -> None:
        if self.kill_at == self.writes:
            raise Killed
        change()
        self.seen.append(self.aliases.get("champion"))
        if self.kill_at == self.writes + 0.5:
            raise Killed
        self.writes += 1

    def get_registered_model(self, name):
        aliases = {alias: int(version) for alias, version in self.aliases.items()}  # as a database has them
        return SimpleNamespace(aliases=aliases, tags=dict(self.tags))

    def get_model_version(self, name, version):
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

        if version not in self.versions:
            raise MlflowException("no such version", RESOURCE_DOES_NOT_EXIST)
        return SimpleNamespace(tags=dict(self.versions[version]))

    def __getattr__(self, method):
        """MLflow's writes: ``set_`` and ``delete_`` of aliases and tags."""
        verb, _, what = method.partition("_")

        def call(name, *arguments):
            if what == "model_version_tag":
                version, *arguments = arguments
            tables = {"registered_model_alias": self.aliases, "registered_model_tag": self.tags}
            table = self.versions[version] if what == "model_version_tag" else tables[what]
            key, value = (*arguments, None)[:2]
            self.write(lambda: table.update({key: value}) if verb == "set" else table.pop(key, None))

        return call


class Reference:
    """What the operations mean, however they are stored."""

    def __init__(self) -> None:
        self.champion: str | None = None
        self.challenger: str | None = None
        self.before: dict[str, str | None] = {}  # champion → the one it followed

    def challenge(self, version: str) -> None:
        if version != self.champion:
            self.challenger = version

    def promote(self, version: str) -> None:
        if version != self.champion:
            self.before[version], self.champion = self.champion, version
            self._met()

    def rollback(self) -> None:
        if self.champion and self.before.get(self.champion):
            self.champion = self.before[self.champion]
            self._met()

    def _met(self) -> None:
        if self.challenger == self.champion:
            self.challenger = None

    def observed(self) -> tuple:
        """All that can be observed, now and by going further back."""
        chain, version = [], self.champion
        while version is not None and version not in chain:
            chain.append(version)
            version = self.before.get(version)
        return Champions(self.champion, self.before.get(self.champion), self.challenger), chain


def observed(registry: Registry, store: Store) -> tuple:
    """The same of the registry, recovered."""
    with registry.alone() as champions:
        chain, version = [], champions.champion
        while version is not None and version not in chain:
            chain.append(version)
            version = store.versions[version].get("previous")
    assert "pending" not in store.tags
    return champions, chain


def do(registry: Registry, operation: str, version: str) -> None:
    if operation == "challenge":
        with registry.alone():
            registry.challenge(version)
    elif operation == "promote":
        registry.promote(version, registry.champions().champion)
    elif registry.champions().previous:
        registry.rollback()


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """Of no database: the lock lies beside it."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


OPERATIONS = st.tuples(st.sampled_from(["promote", "promote", "rollback", "challenge"]), st.sampled_from(VERSIONS))
KILLS = st.none() | st.integers(0, 12).map(lambda half: half / 2)


@given(st.lists(st.tuples(OPERATIONS, KILLS), max_size=8))
def test_a_kill_leaves_all_or_nothing(uri, steps):
    store, reference = Store(), Reference()
    registry = Registry(uri, store)
    for (operation, version), kill_at in steps:
        before, after = copy.deepcopy(reference), reference
        getattr(after, operation)(*([version] if operation != "rollback" else []))
        store.kill_at, store.writes, store.seen = kill_at, 0, []
        try:
            do(registry, operation, version)
            survived = True
        except Killed:
            survived = False
        store.kill_at = None
        assert set(store.seen) <= {before.champion, after.champion}  # whoever reads meanwhile
        found = observed(registry, store)
        assert found == after.observed() or (not survived and found == before.observed())
        reference = after if found == after.observed() else before


@given(st.integers(0, 12).map(lambda half: half / 2), st.integers(0, 12).map(lambda half: half / 2))
def test_a_recovery_may_be_cut_off_as_well(uri, first, second):
    store = Store()
    registry = Registry(uri, store)
    do(registry, "promote", "1")
    do(registry, "promote", "2")
    do(registry, "challenge", "3")
    for kill_at, attempt in (
        (first, lambda: do(registry, "promote", "3")),
        (second, lambda: observed(registry, store)),
    ):
        store.kill_at, store.writes = kill_at, 0
        with suppress(Killed):
            attempt()
    store.kill_at = None
    assert observed(registry, store) in [
        (Champions("2", "1", "3"), ["2", "1"]),
        (Champions("3", "2", None), ["3", "2", "1"]),
    ]


def test_of_two_promotions_at_once_one_must_be_gated_again(uri):
    store = Store()
    Registry(uri, store).promote("1", judged_beside=None)
    outcomes, together = [], threading.Barrier(2)

    def promote(version: str) -> None:
        registry = Registry(uri, store)
        together.wait()
        try:
            registry.promote(version, judged_beside="1")
            outcomes.append(version)
        except VelocityError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=promote, args=[version]) for version in ("2", "3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (promoted,) = {"2", "3"} & set(outcomes)
    assert sum("gate it again" in outcome for outcome in outcomes) == 1
    assert observed(Registry(uri, store), store) == (Champions(promoted, "1", None), [promoted, "1"])


def test_a_rollback_can_be_repeated_and_goes_to_no_deleted_version(uri):
    store = Store()
    registry = Registry(uri, store)
    for version, beside in (("1", None), ("2", "1"), ("3", "2")):
        registry.promote(version, beside)
    assert registry.rollback(leaving="3") == registry.rollback(leaving="3") == Champions("2", "1", None)
    assert registry.rollback() == Champions("1", None, None)
    with pytest.raises(VelocityError, match="no previous champion to go back to"):
        registry.rollback()
    assert registry.promote("2", "1") == registry.promote("2", "3") == Champions("2", "1", None)  # it is already
    with pytest.raises(VelocityError, match=f"{NAME} version 9: not in sqlite"):
        registry.promote("9", judged_beside="2")
    registry.promote("3", "2")
    del store.versions["1"]
    assert registry.rollback() == Champions("2", None, None)


def test_a_champion_that_somebody_set_by_hand_is_left_alone(uri):
    store = Store()
    registry = Registry(uri, store)
    registry.promote("1", None)
    store.tags["pending"] = json.dumps({"champion": "2", "previous": "1"})
    store.aliases["champion"] = "4"
    assert observed(registry, store)[0] == Champions("4", None, None)
