"""What a model's head for phones is trained to find: the words of the transcripts, as they are pronounced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from velocity.data.batches import Batch
from velocity.data.manifests import read_lines
from velocity.phones import pronunciations, transcribe
from velocity.text import TextTokenizer


def lexicon_of(manifest: str | Path) -> dict[str, bytes]:
    """The pronunciations of all words in the transcripts of ``manifest``."""
    return pronunciations(sorted({word for text in _texts(manifest) for word in text.split()}))


def labellings_of(manifest: str | Path, lexicon: dict[str, bytes]) -> Iterator[bytes]:
    """The phones of each transcript of ``manifest``."""
    return (transcribe(text, lexicon) for text in _texts(manifest))


def _texts(manifest: str | Path) -> Iterator[str]:
    return (segment["text"] for cut in read_lines(manifest) for segment in cut["supervisions"])


class PhoneTargets:
    """The phones of a batch, by its letters: so utterances that are joined need no manifest of their own."""

    def __init__(self, tokenizer: TextTokenizer, lexicon: dict[str, bytes]) -> None:
        self.tokenizer, self.lexicon = tokenizer, lexicon

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Classes (b, longest) int64, padded with zeros, and how many of them count (b,) int64.

        Words without a pronunciation are left out; of an utterance that has no others nothing counts.
        """
        letters = zip(batch.targets.tolist(), batch.target_lengths.tolist(), strict=True)
        phones = [transcribe(self.tokenizer.decode(row[:length]), self.lexicon) for row, length in letters]
        lengths = torch.tensor([len(row) for row in phones])
        targets = torch.zeros(len(phones), max(1, int(lengths.max())), dtype=torch.int64)
        for row, classes in zip(targets, phones, strict=True):
            row[: len(classes)] = torch.tensor(list(classes), dtype=torch.int64)
        return targets.to(batch.targets.device), lengths.to(batch.targets.device)
