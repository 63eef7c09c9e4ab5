"""What reaches MLflow over a connection that fails, before a request is done or after it, is what was reported."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.tracking.ledger import Ledger

PARAMS, TAGS = {"seed": "1", "url": "s3://h/x"}, {"git.dirty": "false"}
FIRST = {"stage": "finetune", "identity": "abc", "params": PARAMS, "tags": TAGS}


class Server:
    """MLflow's client over tables in memory; each call takes an outcome from ``weather``: fine, lost, unanswered."""

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.rows: list[tuple[str, str, int, float, int]] = []
        self.weather: list[str] = []

    def __getattr__(self, name):
        def call(*arguments, **named):
            outcome = self.weather.pop() if self.weather else "fine"
            if outcome == "lost":
                raise ConnectionError("the request never came")
            answer = getattr(type(self), f"do_{name}")(self, *arguments, **named)
            if outcome == "unanswered":
                raise ConnectionError("the answer never came")
            return answer

        return call

    def do_get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="1")

    def do_search_runs(self, experiments, query, **options):
        return [run for run in reversed(self.runs.values()) if query == f"tags.identity = '{run.tags.get('identity')}'"]

    def do_create_run(self, experiment, run_name, tags):
        info = SimpleNamespace(run_id=f"run{len(self.runs)}", status="RUNNING")
        run = SimpleNamespace(info=info, data=SimpleNamespace(metrics={}), tags=dict(tags), params={})
        return self.runs.setdefault(info.run_id, run)

    def do_update_run(self, run_id, status):
        self.runs[run_id].info.status = status

    def do_get_metric_history(self, run_id, name):
        return [SimpleNamespace(step=row[4]) for row in self.rows if row[:2] == (run_id, name)]

    def do_log_batch(self, run_id, metrics=(), params=(), tags=()):
        for metric in metrics:
            row = (run_id, metric.key, metric.timestamp, metric.value, metric.step)
            if row not in self.rows:  # MLflow's primary key
                self.rows.append(row)
            self.runs[run_id].data.metrics[metric.key] = metric.value
        self.runs[run_id].params |= {param.key: param.value for param in params}
        self.runs[run_id].tags |= {tag.key: tag.value for tag in tags}

    def do_set_terminated(self, run_id, status):
        self.runs[run_id].info.status = status


@pytest.fixture(scope="module")
def serve():
    """Start a new server, which MLflow's clients talk to from then on."""
    import mlflow

    def start() -> Server:
        server = Server()
        patch.setattr(mlflow, "MlflowClient", lambda: server)
        return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow, "set_tracking_uri", lambda uri: None)
        yield start


def rows(first: int, last: int) -> list[dict]:
    return [{"metrics": [["loss", 1 / step, step, step], ["rate", 0.1, step, step]]} for step in range(first, last + 1)]


def persist(ledger: Ledger) -> None:
    while True:
        try:
            return ledger.send()
        except ConnectionError:
            pass


@settings(max_examples=40)
@given(
    weather=st.lists(st.sampled_from(["fine", "lost", "unanswered"]), max_size=30),
    reported=st.integers(1, 600),  # MLflow takes 1000 metrics at once
    again=st.integers(0, 20),
)
def test_whatever_the_connection_does_every_row_is_there_once(serve, weather, reported, again):
    server = serve()
    server.weather = weather
    killed = Ledger("http://server", FIRST)
    killed.pending += [*rows(1, reported), {"close": "KILLED"}]
    persist(killed)
    resumed = Ledger("http://server", FIRST)
    resumed.pending += [*rows(max(1, reported - again), reported + 10), {"close": "FINISHED"}]
    persist(resumed)

    (run,) = server.runs.values()
    assert run.info.status == "FINISHED"
    assert run.params == FIRST["params"]
    assert run.tags == {"stage": "finetune", "identity": "abc", **FIRST["tags"]}
    losses = [(step, value) for _, name, _, value, step in server.rows if name == "loss"]
    assert losses == [(step, 1 / step) for step in range(1, reported + 11)]
    assert len(server.rows) == 2 * len(losses)
