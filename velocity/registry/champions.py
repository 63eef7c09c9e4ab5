"""The aliases ``champion``, ``previous`` and ``challenger``, and how they move so that a kill cannot spoil them.

MLflow writes one alias or tag at a time; a promotion takes several. So it is written down first, as a redo log:

1. ``pending``, a tag of the registered model: the champion and the previous one as they will be.
2. The alias ``champion``: the one write that promotes.
3. What follows from it: the alias ``previous``; on the new champion's version, the tag ``previous``, for further steps
   back; a champion is no ``challenger``. Each may be repeated.
4. ``pending`` is deleted.

Whoever comes next looks for ``pending`` first: if the champion is the one named there, 3 and 4 are done again; if not,
the promotion never happened. Readers need only ``champion``, which is always right. A rollback is the same with the
previous version as the champion.

A file lock admits one process of a machine at a time. MLflow has no conditional write, so two *machines* that promote
on one server must be kept apart by their scheduler.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from velocity.errors import VelocityError
from velocity.project import local_database, store_exists, tracking_uri
from velocity.tracking.model import NAME
from velocity.tracking.store import connect, reason

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
PENDING = "pending"
VERDICT = "verdict"  # tag of a version: what the gate made of it the last time


@dataclass(frozen=True)
class Champions:
    """The versions that have an alias, as MLflow writes them: "1", "2" …"""

    champion: str | None = None
    previous: str | None = None
    challenger: str | None = None


class Registry:
    """The registered model ``velocity-asr`` in the store at ``uri``, by default where runs are tracked.

    A local store is created by the first use of ``client``: who only looks leaves none behind.
    Raises what MLflow raises, and VelocityError when something asked for is not there.
    """

    def __init__(self, uri: str | None = None, client: Any = None) -> None:
        self.uri = uri or tracking_uri()
        if client is not None:
            self.client = client

    @cached_property
    def client(self) -> Any:
        return connect(self.uri)

    @property
    def exists(self) -> bool:
        """False where nothing was registered yet, and looking must not create a store."""
        return "client" in vars(self) or store_exists(self.uri)

    def require(self) -> None:
        """Raises VelocityError when there is no store yet."""
        if not self.exists:
            raise VelocityError(f"{NAME}: no model registry yet at {self.uri}; `velocity-asr register` makes one")

    @contextmanager
    def alone(self) -> Iterator[Champions]:
        """Hold the registry; what a killed promotion left is put right first. Yields the aliases as they stand.

        The lock is beside a local database, otherwise in this machine's folder for temporary files.
        """
        from filelock import FileLock

        _ = self.client  # a local store is created under the same lock
        named = Path(tempfile.gettempdir(), f"velocity-asr-{hashlib.sha256(self.uri.encode()).hexdigest()[:16]}")
        with FileLock(f"{local_database(self.uri) or named}.lock"):
            self._recover()
            yield self.champions()

    def champions(self) -> Champions:
        """As they stand, in one read; all None in a registry without the model."""
        model = self._model()
        aliases = model.aliases if model else {}
        return Champions(**{alias: str(aliases[alias]) for alias in vars(Champions()) if alias in aliases})

    def promote(self, version: str, judged_beside: str | None) -> Champions:
        """Make ``version`` the champion, unless it is. ``judged_beside``: the champion that the gate compared it with.

        Raises VelocityError when there is no such version, or the champion is another one by now.
        """
        with self.alone() as now:
            if version == now.champion:
                return now
            if judged_beside != now.champion:
                there = f"version {now.champion}" if now.champion else "none"
                raise VelocityError(
                    f"{NAME} version {version}: was judged against another champion, not {there}; gate it again"
                )
            self.tags(version)
            return self._move(champion=version, previous=now.champion)

    def rollback(self, leaving: str | None = None) -> Champions:
        """Make the previous champion the champion again.

        With ``leaving``, only if that version is the champion: then a rollback that may have happened can be repeated.
        Raises VelocityError when there was no previous champion.
        """
        with self.alone() as now:
            if leaving not in (None, now.champion):
                return now
            if now.previous is None:
                raise VelocityError(f"{NAME}: no previous champion to go back to in {self.uri}")
            before = self.tags(now.previous).get(PREVIOUS)
            return self._move(champion=now.previous, previous=before if before and self._exists(before) else None)

    def make(self) -> None:
        """The registered model, without a version, unless it is there."""
        if self._model() is None:
            self.client.create_registered_model(NAME)

    def challenge(self, version: str) -> Champions:
        """Make ``version`` the challenger, unless it is the champion. To be called by who holds the registry."""
        if self.champions().champion != version:
            self.client.set_registered_model_alias(NAME, CHALLENGER, version)
        return self.champions()

    def tags(self, version: str) -> dict[str, str]:
        """What was kept with a version. Raises VelocityError when there is no such version."""
        if not self._exists(version):
            raise VelocityError(f"{NAME} version {version}: not in {self.uri}")
        return self.client.get_model_version(NAME, version).tags

    def note_verdict(self, version: str, verdict: str) -> None:
        self.client.set_model_version_tag(NAME, version, VERDICT, verdict)

    def keep(self, version: str, files: Sequence[Path]) -> None:
        """Keep ``files`` with the run of ``version``: a number, or an alias as ``@champion``."""
        read = self.client.get_model_version_by_alias if version.startswith("@") else self.client.get_model_version
        run = read(NAME, version.removeprefix("@")).run_id
        for file in files:
            self.client.log_artifact(run, str(file))

    def _move(self, champion: str, previous: str | None) -> Champions:
        self.client.set_registered_model_tag(NAME, PENDING, json.dumps({CHAMPION: champion, PREVIOUS: previous}))
        self.client.set_registered_model_alias(NAME, CHAMPION, champion)
        self._follow(champion, previous)
        return self.champions()

    def _follow(self, champion: str, previous: str | None) -> None:
        """Steps 3 and 4."""
        if previous is None:
            self.client.delete_registered_model_alias(NAME, PREVIOUS)
            self.client.delete_model_version_tag(NAME, champion, PREVIOUS)
        else:
            self.client.set_registered_model_alias(NAME, PREVIOUS, previous)
            self.client.set_model_version_tag(NAME, champion, PREVIOUS, previous)
        if self.champions().challenger == champion:
            self.client.delete_registered_model_alias(NAME, CHALLENGER)
        self.client.delete_registered_model_tag(NAME, PENDING)

    def _recover(self) -> None:
        model = self._model()
        if model is None or PENDING not in model.tags:
            return
        pending = json.loads(model.tags[PENDING])
        if self.champions().champion == pending[CHAMPION]:
            self._follow(**pending)
        else:
            self.client.delete_registered_model_tag(NAME, PENDING)

    def _model(self) -> Any:
        return _or_none(lambda: self.client.get_registered_model(NAME)) if self.exists else None

    def _exists(self, version: str) -> bool:
        return _or_none(lambda: self.client.get_model_version(NAME, version)) is not None


def _or_none(read: Any) -> Any:
    """What ``read`` gives, None where MLflow has no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return read()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


@contextmanager
def one_line_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow raises inside the block into a VelocityError that names the registry."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise VelocityError(f"model registry {uri}: {reason(error)}") from error
