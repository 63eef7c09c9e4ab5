"""The front end of live recognition: features of a stream of samples, and the detection of onsets."""

from __future__ import annotations

import numpy as np

from velocity.audio import HOP, WINDOW, compute_mel_spectrogram

# Loudness is the logarithm of a frame's mean mel power; 1.4 is 6 dB.
RISE = 1.4  # above the floor: an onset. Low, since the model can reject noise, but not recover lost speech
FLOOR_LOW, FLOOR_START = -14.5, -9.5  # noise at -69 dB of full scale, and the floor at the start of a stream
FLOOR_CREEP = 0.003  # per frame: the floor falls at once and rises slowly, so that it stays below speech
SURE = 3  # consecutive loud frames that make an onset


class Onset:
    """Detects when sound rises above a noise floor, and counts how long it has been quiet since."""

    def __init__(self) -> None:
        self._floor, self._loud = FLOOR_START, 0
        self.quiet = 0  # frames since the last loud one

    def find(self, mel: np.ndarray) -> int | None:
        """The next (frames, 80) → the first of ``SURE`` consecutive loud frames; negative if it was before these."""
        onset = None
        for index, level in enumerate(np.log(np.exp(mel).mean(1)).tolist()):
            self._floor = max(FLOOR_LOW, min(level, self._floor + FLOOR_CREEP))
            self._loud = self._loud + 1 if level > self._floor + RISE else 0
            self.quiet = 0 if self._loud else self.quiet + 1
            if onset is None and self._loud >= SURE:
                onset = index + 1 - self._loud
        return onset


class FeatureStream:
    """Log-mel frames of a stream: ``lead`` frames of silence, then those that ``compute_mel_spectrogram`` gives for the
    whole stream. A frame is available as soon as the last sample of its window is, 200 samples after its centre.
    """

    LEAD = 2 * HOP  # samples kept before the centre of the next frame: more than half a window

    def __init__(self, lead: int) -> None:
        self._buffer = np.zeros(self.LEAD + lead * HOP, dtype=np.float32)

    def accept(self, samples: np.ndarray) -> None:
        self._buffer = np.concatenate([self._buffer, samples])

    def take(self, frames: int) -> np.ndarray | None:
        """The next (frames, 80), or None until all of them can be computed."""
        needed = self.LEAD + (frames - 1) * HOP + WINDOW // 2
        if len(self._buffer) < needed:
            return None
        mel = compute_mel_spectrogram(self._buffer[:needed])
        self._buffer = self._buffer[frames * HOP :]
        return np.asarray(mel[self.LEAD // HOP :][:frames])

    def rest(self) -> np.ndarray:
        """The remaining frames at the end of the stream: (frames, 80)."""
        return np.asarray(compute_mel_spectrogram(self._buffer)[self.LEAD // HOP :])
