"""The sound side of live recognition: features as samples come, and where a sound begins."""

from __future__ import annotations

import numpy as np

from velocity.audio import HOP, WINDOW, compute_mel_spectrogram

# Loudness is the logarithm of a frame's mean mel power; 1.4 are 6 dB.
RISE = 1.4  # above the floor begins an utterance: little, since the model can tell noise, but not what it was not given
FLOOR_LOW, FLOOR_START = -12.5, -9.5  # noise at -60 dB of full scale, and the floor before anything was heard
FLOOR_CREEP = 0.003  # a frame: the floor falls at once and rises slowly, so that it lies below speech
SURE = 3  # frames in a row that are an onset


class Onset:
    """Where a sound rises above the floor, which is waited for before the model is asked, and how long it is over."""

    def __init__(self) -> None:
        self._floor, self._loud = FLOOR_START, 0
        self.quiet = 0  # frames since the last loud one

    def find(self, mel: np.ndarray) -> int | None:
        """The next (frames, 80) → the first frame of ``SURE`` loud ones in a row, negative when it was before these."""
        onset = None
        for index, level in enumerate(np.log(np.exp(mel).mean(1)).tolist()):
            self._floor = max(FLOOR_LOW, min(level, self._floor + FLOOR_CREEP))
            self._loud = self._loud + 1 if level > self._floor + RISE else 0
            self.quiet = 0 if self._loud else self.quiet + 1
            if onset is None and self._loud >= SURE:
                onset = index + 1 - self._loud
        return onset


class FeatureStream:
    """Log-mel frames of a stream: ``lead`` that stand for nothing, then those that ``compute_mel_spectrogram`` makes of
    the whole. A frame is there as soon as the last sample of its window is, 200 samples after its centre.
    """

    LEAD = 2 * HOP  # samples that are held before the centre of the next frame: more than half a window

    def __init__(self, lead: int) -> None:
        self._held = np.zeros(self.LEAD + lead * HOP, dtype=np.float32)

    def accept(self, samples: np.ndarray) -> None:
        self._held = np.concatenate([self._held, samples])

    def take(self, frames: int) -> np.ndarray | None:
        """The next (frames, 80), once all of them can be computed."""
        needed = self.LEAD + (frames - 1) * HOP + WINDOW // 2
        if len(self._held) < needed:
            return None
        mel = compute_mel_spectrogram(self._held[:needed])
        self._held = self._held[frames * HOP :]
        return np.asarray(mel[self.LEAD // HOP :][:frames])

    def rest(self) -> np.ndarray:
        """The frames that are left when the sound is over: (frames, 80)."""
        return np.asarray(compute_mel_spectrogram(self._held)[self.LEAD // HOP :])
