"""Long audio in memory that does not grow: chunks that are cut in pauses in, passages that end between two words out.

Between them, what holds no voice is made silence, so that no text is invented for noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from velocity.audio import SAMPLE_RATE, TRANSFORMED
from velocity.recognition.decoding.greedy import best_path

WHOLE = 20  # seconds of audio that are not cut at all
SHORTEST, LONGEST = 10, 20  # seconds of a chunk of longer audio
PAUSE = 0.3  # seconds
CONTEXT = 1.0  # seconds on either side of a chunk that it hears, and leaves to its neighbour
LEVEL = SAMPLE_RATE // 100  # samples a level is measured on

VOICE_STEP = 0.02  # seconds between the decisions of ``voice_activity``
VOICE_RATE = SAMPLE_RATE // 4  # Hz: the harmonics of a voice lie low
VOICE_WINDOW = 160  # samples at VOICE_RATE: 40 ms, at least three periods of a low voice
SHORTEST_PERIOD, LONGEST_PERIOD = 10, 56  # samples at VOICE_RATE: voices of 400 to 71 Hz
CERTAIN, LIKELY = 0.9, 0.7  # periodicity of a frame that is certainly, or may well be, of a voice
ENOUGH, WITHIN = 4, 20  # so many such frames in so many: 80 ms of 0.4 s
ENOUGH_OF_A_PIECE, WITHIN_A_PIECE = 10, 50  # certain ones in a piece of long audio: 200 ms of a second
CERTAIN_REACH, LIKELY_REACH = 2.0, 0.5  # seconds around them: the sentence, and the consonants beside a vowel
SURE = -20.0  # log-posterior of what cannot be


class Chunk(NamedTuple):
    """(samples,) at 16 kHz, of which those from ``start`` to ``end`` count; the others are context.

    ``whole``: nothing was cut.
    """

    samples: np.ndarray
    start: int
    end: int
    whole: bool = False


def chunks(blocks: Iterable[np.ndarray], frame: int) -> Iterator[Chunk]:
    """Cut the audio that comes in ``blocks``, (samples,) at 16 kHz, where it is quietest, on multiples of ``frame``.

    What counts in the chunks is all of the audio, once; either side of a cut hears CONTEXT seconds of the other.
    """
    held, first, start = np.empty(0, dtype=np.float32), 0, 0  # the next chunk's context and its start, in what is held
    whole = True
    context = round(CONTEXT * SAMPLE_RATE) // frame * frame
    for block in blocks:
        held, first, start = np.concatenate([held[first:], block]), 0, start - first
        while len(held) - start > WHOLE * SAMPLE_RATE:
            end = start + _quietest(held[start : start + LONGEST * SAMPLE_RATE], frame)
            yield Chunk(held[first : end + context], start - first, end - first)
            first, start, whole = end - context, end, False
    if len(held) > start:
        yield Chunk(held[first:], start - first, len(held) - first, whole)


def _quietest(samples: np.ndarray, frame: int) -> int:
    """Where to cut (samples,), after SHORTEST seconds: in the middle of the quietest PAUSE."""
    power = _power(samples)
    width = round(PAUSE * SAMPLE_RATE / LEVEL)
    levels = np.convolve(power[round(SHORTEST * SAMPLE_RATE / LEVEL) :], np.full(width, 1 / width), "valid")
    quietest = int(levels.argmin())
    middle = round(SHORTEST * SAMPLE_RATE) + (quietest + width // 2) * LEVEL
    return middle // frame * frame


def _power(samples: np.ndarray) -> np.ndarray:
    """(samples,) → the mean square of each whole LEVEL samples, float64."""
    return np.square(samples[: len(samples) // LEVEL * LEVEL].reshape(-1, LEVEL)).mean(axis=1, dtype=np.float64)


def voice_activity(samples: np.ndarray, whole: bool = False) -> np.ndarray:
    """Where somebody may be speaking in (samples,) at 16 kHz: a bool every 20 ms.

    A short recording, ``whole``, was made because somebody speaks; a piece of a long one needs more to say so.

    A voice is periodic, as breath, wind, hiss, rumble and most clatter are not. The measure is the greatest normalised
    autocorrelation at the periods of a voice, its window's own autocorrelation divided out: Boersma, "Accurate
    short-term analysis of the fundamental frequency and the harmonics-to-noise ratio", IFA Proceedings 17, 1993.
    Speech is where frames are likely voiced, near some that are certainly so. Whispering is not found.
    """
    periodic = _periodicity(samples)
    enough, within = (ENOUGH, WITHIN) if whole else (ENOUGH_OF_A_PIECE, WITHIN_A_PIECE)
    certain = _count(periodic > CERTAIN, within) >= enough
    likely = _count(periodic > LIKELY, WITHIN) >= ENOUGH
    reach = lambda found, seconds: _count(found, 2 * round(seconds / VOICE_STEP) + 1) > 0  # noqa: E731
    return reach(certain, CERTAIN_REACH) & reach(likely, LIKELY_REACH)


def _periodicity(samples: np.ndarray) -> np.ndarray:
    """(samples,) at 16 kHz → (a value every 20 ms,) float32: 0 for noise, near 1 for a vowel."""
    step = round(VOICE_STEP * VOICE_RATE)
    four = samples[: len(samples) // 4 * 4].reshape(-1, 4).T
    low = (four[0] + four[1] + four[2] + four[3]) / 4  # a filter of nulls at 4 and 8 kHz is enough
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
    return ratio.max(axis=1) / (found[:, 0] + 1e-7)  # of digital silence: 0


def _autocorrelation(framed: np.ndarray) -> np.ndarray:
    """(…, window) → (…, LONGEST_PERIOD + 1): by the power spectrum, padded so that no lag wraps around."""
    spectrum = np.fft.rfft(framed, 2 * VOICE_WINDOW)
    return np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[..., : LONGEST_PERIOD + 1]


def _count(found: np.ndarray, width: int) -> np.ndarray:
    """How many of the ``width`` values around each are true."""
    sums = np.concatenate([np.zeros(width // 2 + 1, int), found, np.zeros(width, int)]).cumsum()
    return sums[width : width + len(found)] - sums[: len(found)]


def silenced(log_probs: np.ndarray, active: np.ndarray, frame_seconds: float, blank: int) -> np.ndarray:
    """(frames, V) log-posteriors in which frames without a voice, by ``voice_activity``, are certainly blank."""
    steps = ((np.arange(len(log_probs)) + 0.5) * frame_seconds / VOICE_STEP).astype(int)
    quiet = ~active[np.minimum(steps, len(active) - 1)]
    log_probs[quiet] = SURE
    log_probs[quiet, blank] = 0.0
    return log_probs


def passages(pieces: Iterable[np.ndarray], begins: np.ndarray, blank: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut log-posteriors that come in ``pieces``, (frames, V) each, into what can be decoded one after the other.

    Yields (its first frame, (frames, V)). A passage ends before a class that begins a word, (V,) bool ``begins``, at
    the longest pause there is, so the best path of the passages is the best path of the whole. A single piece is
    a single passage; nothing is held longer than two pieces, and pieces of silence are not decoded at all.
    """
    held: np.ndarray | None = None
    first = 0
    for piece in pieces:
        if held is not None:
            cut = _cut(held, begins, blank)
            if cut:
                yield first, held[:cut]
            cut = cut or len(held)  # nothing was said
            first += cut
            held = np.concatenate([held[cut:], piece])
        else:
            held = piece
    if held is not None:
        yield first, held


def _cut(log_probs: np.ndarray, begins: np.ndarray, blank: int) -> int:
    """The frame to cut before, in the later half if possible; 0 when there is nothing but blanks."""
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
    blanks = np.flatnonzero(log_probs.argmax(axis=1) == blank)  # one endless word: babble, or not English
    return int(blanks[-1]) + 1 if len(blanks) else int(frames[-1]) or len(log_probs)
