"""``velocity-asr adapt``: a released model fitted to one person's speech and words.

Everything before the verdict happens in a folder beside the result: a killed run goes on there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import velocity
from velocity.adaptation.average import export_average
from velocity.adaptation.comparison import Comparison
from velocity.adaptation.judgement import judge_adaptation, rates
from velocity.adaptation.speech import TRAIN, divide
from velocity.adaptation.transcripts import transcribed
from velocity.adaptation.vocabulary import export_with_vocabulary
from velocity.adaptation.workspace import Workspace
from velocity.commands.adaptation import OVERLAY, STAGES, fold_step, train
from velocity.commands.decoder import read_hotwords
from velocity.commands.models import find_artefact
from velocity.config.gate import Gate
from velocity.config.reader import default_section
from velocity.corpora.collection import read_collection
from velocity.corpora.layout import find_audio
from velocity.errors import VelocityError, printable
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.files import atomic_directory, md5
from velocity.gate import Judgement, Verdict

SHARES = (1.0, 0.75, 0.5, 0.25)  # of what was trained, the rest being the base: the first that keeps general speech
REWARDS = (1.0, 0.7, 0.4)  # of the hot words' nats: likewise
MINUTES = 10.0
GENERAL_UTTERANCES, GENERAL_VOICES, GENERAL_SEED = 300, 50, 1  # a minute's work; the synthesiser has 104 voices


@dataclass(frozen=True)
class Request:
    """``speech``: recordings with text; ``unlabelled``: more without; ``vocabulary``: words, as for --hotwords.

    ``base``: a model; ``minutes``: of training, by default MINUTES; ``general``: a test set of other people, or None
    for synthetic speech.
    """

    out: Path
    speech: Path | None = None
    unlabelled: Path | None = None
    vocabulary: str | None = None
    base: str | None = None
    minutes: float | None = None
    general: str | None = None

    def check(self) -> None:
        """Raises VelocityError for a combination that makes no sense, and for an ``out`` that exists."""
        if self.speech is None and self.unlabelled is not None:
            raise VelocityError("--unlabelled needs a FOLDER of recordings with text as well: they judge the result")
        if self.speech is None and self.vocabulary is None:
            raise VelocityError("nothing to adapt to: name a FOLDER of recordings, --vocabulary FILE, or both")
        if self.speech is None and self.minutes is not None:
            raise VelocityError(
                "--minutes is the time to train on a FOLDER of recordings; without one nothing is trained"
            )
        if self.vocabulary is not None and not os.path.isfile(self.vocabulary):
            raise VelocityError(
                f"{printable(self.vocabulary)}: no such file; --vocabulary needs a file with a list of words"
            )
        if self.out.exists() or self.out.is_symlink():
            raise VelocityError(f"{self.out}: exists already; name another folder, or remove it")


def adapt(request: Request) -> tuple[Judgement, dict[str, Any]]:
    """Adapt the base to the speech, to the words, or to both; write the result to ``out`` if the judgement is a pass.

    Returns the judgement and the error rates of both models (``velocity.adaptation.judgement.rates``).
    Raises VelocityError for a request that makes no sense, a model that cannot be adapted, and speech that is missing,
    too little, or refused by the stage ``validate``.
    """
    request.check()
    minutes = request.minutes or MINUTES
    phrases = read_hotwords(request.vocabulary) if request.vocabulary else {}
    spoken = read_collection(request.speech) if request.speech else []
    folds = divide(spoken, request.speech) if request.speech else []
    untranscribed = [path for _, path in find_audio(request.unlabelled)] if request.unlabelled else []
    base = find_artefact(request.base, quantized=True).resolve()
    config = _read_config(base, trained=bool(folds))
    others = load_test_set(request.general)[1] if request.general else None
    if missing := next((one.path for one in others or () if not os.path.isfile(one.path)), None):
        raise VelocityError(f"--general {request.general}: {printable(missing)} is missing")
    inputs = {
        "base": [str(base), md5(base / "model.onnx"), config],
        "speech": [*_state(one.path for one in spoken), [(one.text, one.speaker) for one in spoken]],
        "unlabelled": _state(untranscribed),
        "vocabulary": phrases,
        "settings": [minutes, OVERLAY.read_text(encoding="utf-8"), velocity.__version__],
    }
    steps = [("transcribe", untranscribed)]
    steps += [(fold_step(stage, fold), True) for fold in range(1, len(folds) + 1) for stage in STAGES]
    steps += [("average", folds), ("vocabulary", phrases)]
    folder = request.out.parent / f"{request.out.name}.adapting"
    workspace = Workspace(folder, inputs, [step for step, wanted in steps if wanted])

    more = transcribed(workspace, base, untranscribed) if untranscribed else []
    weights, own = [], []
    for fold, parts in enumerate(folds, 1):
        parts[TRAIN] += more
        trained, held_out = train(workspace, fold, parts, base, config["model"], minutes / len(folds))
        weights.append(trained)
        own.append(held_out)
    comparison = Comparison(base, own, others or _general_speech(workspace))
    # A member has been trained in one fold alone, so it may be judged by what was held out there.
    name, model, members = request.out.name, base, []
    if folds:
        average = partial(_average, workspace, base, config, name)
        share, model = comparison.first_that_keeps((share, average(share, weights)) for share in SHARES)
        members = [average(share, [trained]) for trained in weights]
    if phrases:
        reworded = partial(_with_vocabulary, workspace, phrases, name)
        reward, model = comparison.first_that_keeps((reward, reworded(reward, model)) for reward in REWARDS)
        members = [reworded(reward, member) for member in members]
    hypotheses = comparison.hypotheses(model, members)
    resamples = default_section("gate", Gate).bootstrap
    judgement = judge_adaptation(config["name"], name, hypotheses, resamples)
    if judgement.verdict is Verdict.PASS:
        os.replace(model, request.out)
        workspace.remove()
    return judgement, rates(hypotheses, resamples)


def _state(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """By which a later run knows that the files have not changed."""
    return [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _read_config(base: Path, trained: bool) -> dict[str, Any]:
    """``config.json`` of a model. Raises VelocityError for one that cannot be ``trained``."""
    if trained:
        from velocity.quantization.base import read_base

        read_base(base)
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        return {**config, "name": config["name"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VelocityError(f"{base / 'config.json'}: missing or damaged; export the model again") from error


def _average(
    workspace: Workspace, base: Path, config: Mapping[str, Any], name: str, share: float, weights: Sequence[Path]
) -> Path:
    of = "all" if len(weights) > 1 else weights[0].parent.parent.name
    if of == "all":
        workspace.announce("average", f"with {share:.0%} of what was learned")
    folder = workspace.folder / "averages" / f"{share:g}" / of
    export = partial(export_average, weights, base, share, name, config, folder)
    workspace.step(f"average-{share:g}-{of}", export)
    return folder / "model"


def _with_vocabulary(workspace: Workspace, phrases: Mapping[str, float], name: str, reward: float, model: Path) -> Path:
    rewarded = {phrase: round(reward * nats, 3) for phrase, nats in phrases.items()}
    folder = workspace.folder / "vocabulary" / f"{reward:g}" / model.parent.name
    if not folder.exists():
        workspace.announce("vocabulary", f"with {reward:.0%} of the hot words' weight")
        export_with_vocabulary(model, rewarded, name, folder)
    return folder


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
