"""The flow does what the command does, and leaves it with Prefect."""

import pytest
from prefect.client.orchestration import get_client

from flows import rollback as module
from flows.rollback import rollback
from velocity.errors import VelocityError
from velocity.registry import Champions

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(monkeypatch) -> list[str | None]:
    """A registry whose champion is version 2, once; the calls."""
    calls: list[str | None] = []

    def restore(leaving: str | None) -> Champions:
        calls.append(leaving)
        if len(calls) > 1:
            raise VelocityError("velocity-asr: no previous champion to go back to")
        return Champions("1", None, "3")

    monkeypatch.setattr(module, "restore", restore)
    return calls


def test_rollback_is_kept_with_prefect(registry, monkeypatch, capsys):
    assert rollback(leaving=2) == Champions("1", None, "3")
    assert registry == ["2"]
    with get_client(sync_client=True) as client:
        artifacts = [artifact for artifact in client.read_artifacts() if artifact.key == "champion"]
    assert "champion: version 1, previous: none, challenger: version 3" in artifacts[-1].data
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert (ended.value.code, registry) == (1, ["2", None])
    assert capsys.readouterr().err.splitlines()[-1] == "error: velocity-asr: no previous champion to go back to"
