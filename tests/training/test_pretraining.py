"""Supervised pretraining: it is fine-tuning's CTC, on all that has a transcript."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tests.augmentation import augmentation
from tests.model.test_asr import small
from tests.training.tones import write_tones
from velocity.config.pretraining import Pretraining, Supervision
from velocity.config.reader import default_section
from velocity.data.manifests import load_cuts
from velocity.errors import VelocityError
from velocity.text import TextTokenizer
from velocity.training.objectives.pretraining import Task, pretraining_task
from velocity.training.scoring import validation_scores


def task_of(manifest, phones: bool = False, **changes) -> Task:
    tokenizer = TextTokenizer(manifest.parent / "tokenizer.model")
    torch.manual_seed(5)
    model = small(vocabulary=tokenizer.vocabulary, phones=phones)
    chosen = Supervision(**{"early": 0.3, "phones": 0.5, "augmentation_ramp": 0, "augmentation": "off", **changes})
    settings = replace(default_section("pretrain", Pretraining, objective="supervised"), supervised=chosen)
    return pretraining_task(model, settings, manifest, tokenizer, 1, 1, None)


def test_it_learns_what_the_transcripts_say(tmp_path):
    manifest = write_tones(tmp_path)
    task = task_of(manifest)
    cuts = load_cuts(manifest)
    optimizer = torch.optim.Adam(task.objective.parameters(), 0.005)
    before, stream = task.validate(cuts), task.loader.training(manifest, 8.0)
    for _ in range(60):
        loss = task.objective.train()(next(stream))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    task.objective.eval()
    after = task.validate(cuts)
    assert before["wer"] >= 1.0
    assert after["loss"] < 0.5 * before["loss"]
    tokenizer = TextTokenizer(tmp_path / "tokenizer.model")
    assert after == validation_scores(task.objective, task.loader.plain(cuts, 60.0), tokenizer)


def test_it_distorts_as_its_own_section_says(tmp_path):
    manifest = write_tones(tmp_path)
    plain, distorted, rising = (
        next(task_of(manifest, **changes).loader.training(manifest, 8.0))
        for changes in (
            {},
            {"augmentation": augmentation(noise=1.0)},
            {"augmentation": augmentation(noise=1.0), "augmentation_ramp": 2},
        )
    )
    assert plain.ids == distorted.ids == rising.ids
    assert not torch.equal(plain.features, distorted.features)
    assert torch.equal(plain.features, rising.features)  # none in the first epoch


def test_a_head_for_phones_is_taught_as_well(tmp_path):
    manifest = write_tones(tmp_path)
    task = task_of(manifest, phones=True)
    task.objective.train()(next(task.loader.training(manifest, 8.0))).backward()
    assert task.objective.model.phone_head.weight.grad.abs().sum() > 0


def test_speech_without_transcripts_alone_is_refused(tmp_path):
    manifest = write_tones(tmp_path)
    cuts = [json.loads(line) | {"supervisions": []} for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(cut) + "\n" for cut in cuts))
    with pytest.raises(VelocityError, match=r"pretrain\.objective: supervised needs transcripts"):
        task_of(manifest)
