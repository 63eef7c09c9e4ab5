"""Trains the recurrent part of a language model (``velocity.recognition.language_model.recurrent``) on a text.

The softmax is estimated: over the most frequent words and a sample of the others, each weighed by how rarely it is
drawn (Jean et al. 2015, "On using very large target vocabulary"). Its logarithm is drawn to 0, so that recognition need
not compute it (Devlin et al. 2014, "Fast and robust neural network joint models", section 2.3).
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.errors import VelocityError
from velocity.progress import Progress
from velocity.recognition.language_model.recurrent import RARE, UNITS, WIDTH, Recurrent
from velocity.recognition.language_model.tables import END_ID, START_ID, UNKNOWN_ID
from velocity.training.checkpoint import Checkpoints, fingerprint
from velocity.training.devices import set_determinism

ROWS = 20_000  # words with an embedding of their own, most frequent first
SHARE = 0.8  # of the network in its mixture with the n-grams
BATCH = 4096  # words
LONGEST = 80  # words of a sentence; longer ones are left out
FREQUENT, SAMPLED = 1000, 1024  # words in the estimate of the softmax: always, and drawn
RATE, WARMUP, DROPOUT, CLIP = 0.003, 300, 0.1, 1.0
NORMALISED = 0.05  # weight of the square of ln Σ
SEED, THREADS = 1, 2  # fixed, so that the same text gives the same bytes
CHECKPOINT_EVERY = 250  # steps


class WordLSTM(nn.Module):
    """Rows (b, l) int64 → ``queries`` (b, l, WIDTH), whose products with the embeddings are log-probabilities."""

    def __init__(self, unigrams: Tensor) -> None:
        """``unigrams`` (rows,): log-probabilities, with which the biases begin."""
        super().__init__()
        self.embedding = nn.Embedding(len(unigrams), WIDTH)
        self.lstm = nn.LSTM(WIDTH, UNITS, proj_size=WIDTH, batch_first=True)
        for weights in (self.embedding.weight, *self.lstm.parameters()):
            nn.init.normal_(weights, std=0.1) if weights.dim() > 1 else nn.init.zeros_(weights)
        nn.init.ones_(self.lstm.bias_ih_l0[UNITS : 2 * UNITS])  # remember, at first
        self.bias = nn.Parameter(unigrams.clone())
        self.dropout = nn.Dropout(DROPOUT)

    def queries(self, rows: Tensor) -> Tensor:
        outputs, _ = self.lstm(self.dropout(self.embedding(rows)))
        return self.dropout(outputs)

    def scores(self, queries: Tensor, rows: Tensor) -> Tensor:
        """(n, WIDTH), (m,) → (n, m)."""
        return queries @ self.embedding(rows).T + self.bias[rows]


class SampledSoftmax:
    """``counts`` (rows,) of the text: how words are drawn."""

    def __init__(self, counts: np.ndarray) -> None:
        order = np.argsort(-counts, kind="stable")
        self.frequent, self.others = order[:FREQUENT], order[FREQUENT:]
        draws = (counts[self.others] + 0.5) ** 0.75
        self.cumulated = np.cumsum(draws / draws.sum()) if len(draws) else draws
        self.is_frequent = torch.zeros(len(counts), dtype=torch.bool)
        self.is_frequent[torch.from_numpy(self.frequent)] = True
        # ln P(a word is among the drawn ones)
        self.included = np.log(-np.expm1(SAMPLED * np.log1p(-draws / draws.sum()))) if len(draws) else draws

    def __call__(self, model: WordLSTM, queries: Tensor, targets: Tensor, rng: np.random.Generator) -> Tensor:
        """(n, WIDTH), (n,) → the mean loss in nats, with what draws ln Σ to 0."""
        drawn = np.empty(0, dtype=np.int64)
        if len(self.others):
            places = np.searchsorted(self.cumulated, rng.random(SAMPLED))
            drawn = np.unique(np.minimum(places, len(self.others) - 1))
        others = torch.from_numpy(self.others[drawn])
        weights = torch.from_numpy(np.concatenate([np.zeros(len(self.frequent)), self.included[drawn]])).float()
        scores = model.scores(queries, torch.cat([torch.from_numpy(self.frequent), others])) - weights
        right = (queries * model.embedding(targets)).sum(-1) + model.bias[targets]
        again = F.pad(others == targets[:, None], (len(self.frequent), 0))  # the right word is counted by itself
        log_sum = scores.masked_fill(again, -math.inf).logsumexp(-1)
        log_sum = torch.where(self.is_frequent[targets], log_sum, torch.logaddexp(log_sum, right))
        return (log_sum - right).mean() + NORMALISED * log_sum.square().mean()


def train_recurrent(text: np.ndarray, words: int, epochs: int, folder: Path) -> Recurrent:
    """``text`` (positions,) ids below ``words``, each sentence between START_ID and END_ID.

    Checkpoints lie in ``folder``: the same training goes on from the last one, and removes them in the end.
    Raises VelocityError if there are no sentences.
    """
    counts = np.bincount(text, minlength=words)
    ranked = [int(word) for word in np.argsort(-counts, kind="stable") if word not in (UNKNOWN_ID, START_ID, END_ID)]
    own = np.array([START_ID, END_ID, *sorted(ranked[:ROWS])])
    row_of = np.full(words, RARE, dtype=np.int64)
    row_of[own] = np.arange(1, len(own) + 1)
    rows = row_of[text]
    sentences = np.split(rows, np.flatnonzero(text == START_ID)[1:])
    sentences = [sentence for sentence in sentences if 2 < len(sentence) <= LONGEST + 2]
    if not sentences:
        raise VelocityError("the text has no sentences to train a recurrent network on")
    counts = np.bincount(np.concatenate(sentences), minlength=len(own) + 1)
    counts[row_of[START_ID]] = 0  # never predicted
    set_determinism(THREADS)
    torch.manual_seed(SEED)
    model = WordLSTM(torch.from_numpy(np.log((counts + 0.5) / (counts + 0.5).sum())).float())
    settings = ROWS, BATCH, LONGEST, FREQUENT, SAMPLED, RATE, WARMUP, DROPOUT, CLIP, NORMALISED, SEED
    mark = fingerprint([str((epochs, *settings)), hashlib.sha256(rows).hexdigest()])
    _fit(model, sentences, SampledSoftmax(counts), epochs, Checkpoints(str(folder.resolve()), lambda _: mark))
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    gates = state["lstm.weight_ih_l0"], state["lstm.weight_hh_l0"], state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"]
    return Recurrent.of(SHARE, own, state["embedding.weight"], state["bias"], gates, state["lstm.weight_hr_l0"])


def _fit(
    model: WordLSTM, sentences: list[np.ndarray], softmax: SampledSoftmax, epochs: int, checkpoints: Checkpoints
) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.98), fused=True)
    steps = epochs * len(_batches(sentences, 0))
    first = _restore(model, optimizer, checkpoints)
    with warnings.catch_warnings(), Progress("recurrent network", steps, first) as progress:
        warnings.filterwarnings("ignore", "LSTM with projections")  # that it is not one of oneDNN's
        for step, batch in _stream(sentences, first, steps):
            torch.manual_seed(SEED * 1_000_003 + step)
            loss = softmax(model, *_examples(model, batch), np.random.default_rng((SEED, 1, step)))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.advance(loss=loss.item())
            if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < steps:
                _save(model, optimizer, step + 1, checkpoints)
    checkpoints.clear()


def _stream(sentences: list[np.ndarray], first: int, steps: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """The steps from ``first`` on, with their sentences: every epoch has all of them."""
    batches, step = len(_batches(sentences, 0)), first
    while step < steps:
        for chosen in _batches(sentences, step // batches)[step % batches :]:
            yield step, [sentences[index] for index in chosen]
            step += 1


def _batches(sentences: list[np.ndarray], epoch: int) -> list[np.ndarray]:
    """The numbers of sentences about as long, at most BATCH words together, in an order of the epoch's own."""
    rng = np.random.default_rng((SEED, 0, epoch))
    lengths = np.array([len(sentence) for sentence in sentences])
    order = np.lexsort((rng.random(len(sentences)), lengths))
    found, first = [], 0
    while first < len(order):
        last = first + max(1, BATCH // lengths[order[first]])
        found.append(order[first:last])
        first = last
    rng.shuffle(found)
    return found


def _examples(model: WordLSTM, batch: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """The queries (n, WIDTH) and the rows of the words that follow (n,)."""
    lengths = torch.tensor([len(sentence) for sentence in batch])
    padded = nn.utils.rnn.pad_sequence([torch.from_numpy(sentence) for sentence in batch], batch_first=True)
    there = torch.arange(1, padded.size(1)) < lengths[:, None]
    return model.queries(padded[:, :-1])[there], padded[:, 1:][there]


def _save(model: WordLSTM, optimizer: torch.optim.Adam, step: int, checkpoints: Checkpoints) -> None:
    moments = {
        f"{name}.{moment}": optimizer.state[parameter][moment]
        for name, parameter in model.named_parameters()
        for moment in ("step", "exp_avg", "exp_avg_sq")
    }
    checkpoints.save(step, {"weights": model.state_dict(), "moments": moments}, {"step": step})


def _restore(model: WordLSTM, optimizer: torch.optim.Adam, checkpoints: Checkpoints) -> int:
    """The number of steps that a run before has finished."""
    found = checkpoints.restore()
    if found is None:
        return 0
    tensors, state = found
    model.load_state_dict(tensors["weights"])
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            moment: tensors["moments"][f"{name}.{moment}"] for moment in ("step", "exp_avg", "exp_avg_sq")
        }
    return state["step"]
