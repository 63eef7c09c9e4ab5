"""Long audio in constant memory: audio is cut into chunks in pauses, log-posteriors into passages between words.

In between, stretches without a voice are set to silence, so that noise gives no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from velocity.audio import SAMPLE_RATE, TRANSFORMED
from velocity.recognition.decoding.greedy import best_path

WHOLE = 20  # seconds: shorter audio is not cut
SHORTEST, LONGEST = 10, 20  # seconds of a chunk of longer audio
PAUSE = 0.3  # seconds
CONTEXT = 1.0  # seconds of its neighbours that a chunk includes on either side; their frames are discarded
FAINT = 0.02  # share of a chunk's peak (-34 dB) below which what came before it is no speech
LEVEL = SAMPLE_RATE // 100  # samples per measured level

VOICE_STEP = 0.02  # seconds between the decisions of ``voice_activity``
VOICE_RATE = SAMPLE_RATE // 4  # Hz: the harmonics of a voice lie low
VOICE_WINDOW = 160  # samples at VOICE_RATE: 40 ms, at least three periods of a low voice
SHORTEST_PERIOD, LONGEST_PERIOD = 10, 56  # samples at VOICE_RATE: voices of 400 to 71 Hz
CERTAIN, LIKELY = 0.9, 0.7  # periodicity of a frame that is certainly, or probably, voiced
ENOUGH, WITHIN = 4, 20  # required voiced frames within a window of frames: 80 ms of 0.4 s
# Instead, where stretches that are not ``plausible`` are dropped: the voice may be faint or hoarse.
LIKELY_IF_CHECKED, ENOUGH_IF_CHECKED = 0.5, 1
PLAUSIBLE = 0.4  # mean probability of the best class where it is not the blank
ENOUGH_OF_A_PIECE, WITHIN_A_PIECE = 10, 50  # certain ones, in a chunk of long audio: 200 ms of a second
CERTAIN_REACH, LIKELY_REACH = 2.0, 0.5  # seconds around them: the sentence, and the consonants next to a vowel
APART = 1.0  # seconds without a voice that part two stretches of speech
SURE = -20.0  # log-posterior of all other classes where the blank is certain


class Chunk(NamedTuple):
    """(samples,) at 16 kHz: those from ``start`` to ``end``, with context on both sides.

    ``alone``: nothing else was said, as the recording has no other chunk, or much quieter ones before this last one.
    """

    samples: np.ndarray
    start: int
    end: int
    alone: bool = False


def chunks(blocks: Iterable[np.ndarray], frame: int) -> Iterator[Chunk]:
    """Cut audio given in ``blocks``, (samples,) at 16 kHz each, where it is quietest, at multiples of ``frame``.

    Each sample is between ``start`` and ``end`` of exactly one chunk; chunks include CONTEXT seconds of their
    neighbours.
    """
    buffer, first, start = np.empty(0, dtype=np.float32), 0, 0  # where the next chunk's context, and the chunk, begin
    loudest = 0.0  # of the chunks so far
    context = round(CONTEXT * SAMPLE_RATE) // frame * frame
    for block in blocks:
        buffer, first, start = np.concatenate([buffer[first:], block]), 0, start - first
        while len(buffer) - start > WHOLE * SAMPLE_RATE:
            end = start + _quietest(buffer[start : start + LONGEST * SAMPLE_RATE], frame)
            yield Chunk(buffer[first : end + context], start - first, end - first)
            loudest = max(loudest, float(np.abs(buffer[start:end]).max()))
            first, start = end - context, end
    if len(buffer) > start:
        alone = loudest <= FAINT * float(np.abs(buffer[start:]).max())
        yield Chunk(buffer[first:], start - first, len(buffer) - first, alone)


def _quietest(samples: np.ndarray, frame: int) -> int:
    """Where to cut (samples,), after SHORTEST seconds: in the middle of the quietest PAUSE."""
    power = _power(samples)
    width = round(PAUSE * SAMPLE_RATE / LEVEL)
    levels = np.convolve(power[round(SHORTEST * SAMPLE_RATE / LEVEL) :], np.full(width, 1 / width), "valid")
    quietest = int(levels.argmin())
    middle = round(SHORTEST * SAMPLE_RATE) + (quietest + width // 2) * LEVEL
    return middle // frame * frame


def _power(samples: np.ndarray) -> np.ndarray:
    """(samples,) → the mean square of each LEVEL samples, float64; an incomplete rest is ignored."""
    return np.square(samples[: len(samples) // LEVEL * LEVEL].reshape(-1, LEVEL)).mean(axis=1, dtype=np.float64)


def voice_activity(periodic: np.ndarray, alone: bool = False, checked: bool = False) -> np.ndarray:
    """Where somebody may be speaking, by the ``periodicity`` of each 20 ms: (steps,) bool.

    A short recording usually contains speech, and so does the only chunk with a sound (``alone``); one of many needs
    stronger evidence. If what is recognised in each stretch is ``checked`` (``plausible``), weak evidence will do.

    Speech is where frames are probably voiced, near some that certainly are. Whispering is not detected.
    """
    if checked:
        enough, within, least = ENOUGH_IF_CHECKED, WITHIN, LIKELY_IF_CHECKED
    else:
        enough, within, least = (ENOUGH, WITHIN, LIKELY) if alone else (ENOUGH_OF_A_PIECE, WITHIN_A_PIECE, LIKELY)
    certain = _count(periodic > CERTAIN, within) >= enough
    likely = _count(periodic > least, WITHIN) >= ENOUGH
    reach = lambda found, seconds: _count(found, 2 * round(seconds / VOICE_STEP) + 1) > 0  # noqa: E731
    return reach(certain, CERTAIN_REACH) & reach(likely, LIKELY_REACH)


def plausible(log_probs: np.ndarray, blank: int) -> bool:
    """Whether (frames, V) log-posteriors are of speech: noise is something to a recogniser, but it is unsure what."""
    best = log_probs.max(axis=1)[log_probs.argmax(axis=1) != blank]
    return len(best) > 0 and float(np.exp(best).mean()) >= PLAUSIBLE


def periodicity(samples: np.ndarray) -> np.ndarray:
    """(samples,) at 16 kHz → one float32 every 20 ms: 0 for noise, near 1 for a vowel.

    A voice is periodic; breath, wind, hiss, rumble and most clatter are not. The measure is the greatest normalised
    autocorrelation at the periods of a voice, divided by the window's own autocorrelation: Boersma, "Accurate
    short-term analysis of the fundamental frequency and the harmonics-to-noise ratio", IFA Proceedings 17, 1993.
    """
    step = round(VOICE_STEP * VOICE_RATE)
    four = samples[: len(samples) // 4 * 4].reshape(-1, 4).T
    low = (four[0] + four[1] + four[2] + four[3]) / 4  # a filter with nulls at 4 and 8 kHz is enough
    frames = -(-len(samples) // (4 * step))
    padded = np.zeros((frames - 1) * step + VOICE_WINDOW, dtype=np.float32)
    low = low[: len(padded) - VOICE_WINDOW // 2]
    padded[VOICE_WINDOW // 2 : VOICE_WINDOW // 2 + len(low)] = low
    framed = np.lib.stride_tricks.sliding_window_view(padded, VOICE_WINDOW)[::step]  # (frames, window)
    window = np.hanning(VOICE_WINDOW + 2)[1:-1].astype(np.float32)
    own = _autocorrelation(window)
    found = np.empty((frames, LONGEST_PERIOD + 1), dtype=np.float32)
    for first in range(0, frames, TRANSFORMED):
        few = framed[first : first + TRANSFORMED]
        found[first : first + TRANSFORMED] = _autocorrelation((few - few.mean(axis=1, keepdims=True)) * window)
    ratio = found[:, SHORTEST_PERIOD:] / (own[SHORTEST_PERIOD:] / own[0])
    return ratio.max(axis=1) / (found[:, 0] + 1e-7)  # 0 for digital silence


def _autocorrelation(framed: np.ndarray) -> np.ndarray:
    """(…, window) → (…, LONGEST_PERIOD + 1): by the power spectrum, padded so that no lag wraps around."""
    spectrum = np.fft.rfft(framed, 2 * VOICE_WINDOW)
    return np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[..., : LONGEST_PERIOD + 1]


def _count(found: np.ndarray, width: int) -> np.ndarray:
    """The number of true values among the ``width`` values around each."""
    sums = np.concatenate([np.zeros(width // 2 + 1, int), found, np.zeros(width, int)]).cumsum()
    return sums[width : width + len(found)] - sums[: len(found)]


def stretches(active: np.ndarray, frame_seconds: float) -> Iterator[tuple[int, int]]:
    """The stretches of speech that are recognised each by itself: (first, last + 1) in frames of ``frame_seconds``.

    ``active`` is what ``voice_activity`` gave. Stretches less than APART seconds apart are one.
    """
    inside = np.concatenate([[False], active, [False]])
    starts, ends = np.flatnonzero(inside[1:] & ~inside[:-1]), np.flatnonzero(~inside[1:] & inside[:-1])
    begin = 0
    for index in range(len(starts)):
        if index + 1 == len(starts) or (starts[index + 1] - ends[index]) * VOICE_STEP >= APART:
            first, last = starts[begin] * VOICE_STEP / frame_seconds, ends[index] * VOICE_STEP / frame_seconds
            yield int(first + 1e-6), int(np.ceil(last - 1e-6))
            begin = index + 1


def silence(frames: int, classes: int, blank: int) -> np.ndarray:
    """(frames, classes) log-posteriors that are certainly blank."""
    log_probs = np.full((frames, classes), SURE, dtype=np.float32)
    log_probs[:, blank] = 0.0
    return log_probs


def silenced(log_probs: np.ndarray, active: np.ndarray, frame_seconds: float, blank: int) -> np.ndarray:
    """(frames, V) log-posteriors; frames that are inactive by ``voice_activity`` become certainly blank, in place."""
    steps = ((np.arange(len(log_probs)) + 0.5) * frame_seconds / VOICE_STEP).astype(int)
    quiet = ~active[np.minimum(steps, len(active) - 1)]
    log_probs[quiet] = SURE
    log_probs[quiet, blank] = 0.0
    return log_probs


def split_posteriors(pieces: Iterable[np.ndarray], begins: np.ndarray, blank: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut log-posteriors that come in ``pieces``, (frames, V) each, into passages that can be decoded separately.

    Yields (first frame, (frames, V)). A passage ends before a class that begins a word, (V,) bool ``begins``, at the
    longest pause, so the best paths of the passages together are the best path of the whole. A single piece is a
    single passage; at most two pieces are kept in memory, and silent pieces are not decoded.
    """
    pending: np.ndarray | None = None
    first = 0
    for piece in pieces:
        if pending is not None:
            cut = _cut(pending, begins, blank)
            if cut:
                yield first, pending[:cut]
            cut = cut or len(pending)  # silence
            first += cut
            pending = np.concatenate([pending[cut:], piece])
        else:
            pending = piece
    if pending is not None:
        yield first, pending


def _cut(log_probs: np.ndarray, begins: np.ndarray, blank: int) -> int:
    """The frame to cut before, in the second half if possible; 0 if there are only blanks."""
    tokens, frames = best_path(log_probs, blank)
    if not len(tokens):
        return 0
    after = np.append(frames, len(log_probs))[1:]  # where the next token starts
    before = np.insert(frames, 0, 0)[:-1]
    words = begins[tokens] & (frames > 0)
    late = words & (frames >= len(log_probs) // 2)
    if (late if late.any() else words).any():
        pause = np.where(late if late.any() else words, after - before, -1)
        return int(frames[pause.argmax()])
    blanks = np.flatnonzero(log_probs.argmax(axis=1) == blank)  # one endless word: babble, or another language
    return int(blanks[-1]) + 1 if len(blanks) else int(frames[-1]) or len(log_probs)
