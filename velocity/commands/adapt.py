"""``velocity-asr adapt``: a released model fitted to one person's speech and words.

Everything before the verdict happens in a folder beside the result: a killed run goes on there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import velocity
from velocity.adaptation.average import export_average
from velocity.adaptation.comparison import Comparison
from velocity.adaptation.judgement import GENERAL, OWN, judge_adaptation, rates
from velocity.adaptation.speech import divide
from velocity.adaptation.training import OVERLAY, STAGES, train
from velocity.adaptation.vocabulary import export_with_vocabulary
from velocity.adaptation.workspace import Workspace
from velocity.commands.decoder import read_hotwords
from velocity.commands.models import find_artefact
from velocity.config.gate import Gate
from velocity.config.reader import default_section
from velocity.corpora.collection import read_collection
from velocity.errors import VelocityError
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.files import atomic_directory, md5
from velocity.gate import Judgement, Verdict
from velocity.project import FINETUNED

SHARES = (1.0, 0.75, 0.5, 0.25)  # of what was trained, the rest being the base: the first that keeps general speech
REWARDS = (1.0, 0.7, 0.4)  # of the hot words' nats: likewise
GENERAL_UTTERANCES, GENERAL_VOICES, GENERAL_SEED = 300, 50, 1  # a minute's work; the synthesiser has 104 voices


def adapt(
    source: Path | None, out: Path, base: str | None, minutes: float, general: str | None, vocabulary: str | None
) -> tuple[Judgement, dict[str, Any]]:
    """Adapt ``base`` to the speech in ``source``, to the words that ``vocabulary`` lists, or to both; write the result
    to ``out`` if the judgement is a pass.

    Returns the judgement and the error rates of both models (``velocity.adaptation.judgement.rates``).
    Raises VelocityError for an ``out`` that exists, a model that cannot be adapted, and speech that is missing, too
    little, or refused by the stage ``validate``.
    """
    if source is None and vocabulary is None:
        raise VelocityError("nothing to adapt to: name a FOLDER of recordings, --vocabulary FILE, or both")
    if out.exists() or out.is_symlink():
        raise VelocityError(f"{out}: exists already; name another folder, or remove it")
    phrases = {} if vocabulary is None else read_hotwords(vocabulary)
    spoken = [] if source is None else read_collection(source)
    parts = {} if source is None else divide(spoken, source)
    started_from = find_artefact(base, quantized=True).resolve()
    config = _read_config(started_from, trained=source is not None)
    others = None if general is None else load_test_set(general)[1]
    files = [(str(one.path.resolve()), one.path.stat().st_size, one.path.stat().st_mtime_ns) for one in spoken]
    inputs = {
        "base": [str(started_from), md5(started_from / "model.onnx"), config],
        "speech": [files, [(one.text, one.speaker) for one in spoken]],
        "vocabulary": phrases,
        "settings": [minutes, OVERLAY.read_text(encoding="utf-8"), velocity.__version__],
    }
    steps = [*((*STAGES, "average") if parts else ()), *(("vocabulary",) if phrases else ())]
    workspace = Workspace(out.parent / f"{out.name}.adapting", inputs, steps)

    speech = {OWN: train(workspace, parts, started_from, config["model"], minutes)} if parts else {}
    speech[GENERAL] = others or _general_speech(workspace)
    model = started_from
    if parts:
        comparison = Comparison(started_from, speech, greedy=True)
        model = comparison.first_that_keeps(_averages(workspace, started_from, config, out.name))
    if phrases:
        comparison = Comparison(started_from, speech, greedy=False)
        model = comparison.first_that_keeps(_with_vocabulary(workspace, model, phrases, out.name))
    hypotheses = comparison.hypotheses(model)
    resamples = default_section("gate", Gate).bootstrap
    judgement = judge_adaptation(config["name"], out.name, hypotheses, resamples)
    if judgement.verdict is Verdict.PASS:
        os.replace(model, out)
        workspace.remove()
    return judgement, rates(hypotheses, resamples)


def _read_config(base: Path, trained: bool) -> dict[str, Any]:
    """``config.json`` of a model. Raises VelocityError for one that cannot be ``trained``."""
    if trained:
        from velocity.quantization.base import read_base

        read_base(base)
    return json.loads((base / "config.json").read_text(encoding="utf-8"))


def _averages(workspace: Workspace, base: Path, config: Mapping[str, Any], name: str) -> Iterator[Path]:
    for share in SHARES:
        workspace.announce("average", f"with {share:.0%} of what was learned")
        folder = workspace.folder / "averages" / f"{share:g}"
        export = partial(export_average, workspace.folder / FINETUNED, base, share, name, config, folder)
        workspace.step(f"average-{share:g}", export)
        yield folder / "model"


def _with_vocabulary(workspace: Workspace, model: Path, phrases: Mapping[str, float], name: str) -> Iterator[Path]:
    for reward in REWARDS:
        workspace.announce("vocabulary", f"with {reward:.0%} of the hot words' weight")
        rewarded = {phrase: round(reward * nats, 3) for phrase, nats in phrases.items()}
        folder = workspace.folder / "vocabulary" / f"{reward:g}"
        export_with_vocabulary(model, rewarded, name, folder)
        yield folder


def _general_speech(workspace: Workspace) -> list[Utterance]:
    """Commands and numbers by the embedded synthesiser: not how people speak, but they show what was forgotten."""
    folder = workspace.folder / "general"
    workspace.step("general", partial(_synthesise, folder))
    return load_test_set(str(folder))[1]


def _synthesise(folder: Path) -> None:
    from velocity.corpora.kinds.synthetic import SyntheticCorpus
    from velocity.corpora.synthetic import VOICES, synthesise_corpus

    corpus = SyntheticCorpus(kind="synthetic", source=str(VOICES), utterances=GENERAL_UTTERANCES, voices=GENERAL_VOICES)
    with atomic_directory(folder) as partial_folder:
        synthesise_corpus(corpus, GENERAL_SEED, partial_folder)
