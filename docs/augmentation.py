"""The figure of docs/data.md: one synthetic utterance under each distortion.

python docs/augmentation.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import velocity.corpora
from velocity.audio import AUDIO_SUFFIXES, compute_mel_spectrogram, load_audio
from velocity.config import Augmentation, SyntheticCorpus
from velocity.corpora.synthetic import synthesise_corpus
from velocity.data.augmentation import Distortion

OFF = {"speeds": (1.0,), "gain_db": 0.0, "time_masks": 0, "frequency_masks": 0}
SHOWN = {
    "as it is": {},
    "speeds: [0.8]": {"speeds": (0.8,)},
    "rooms, RT60 0.6 s": {"rooms": 1.0, "simulated_rooms": 1, "room_rt60": (0.6, 0.6)},
    "noise at 10 dB": {"noise": 1.0, "noise_snr_db": (10.0, 10.0)},
    "telephone": {"telephone": 1.0},
    "codec: Opus": {"codec": 1.0, "codecs": ("opus",)},
    "codec: MP3": {"codec": 1.0, "codecs": ("mp3",)},
    "masks": {"time_masks": 2, "time_mask_share": 0.1, "frequency_masks": 2, "frequency_mask_bins": 12},
}


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    samples = utterance()
    figure, panels = plt.subplots(len(SHOWN) // 2, 2, figsize=(9, 7.5), sharey=True, layout="constrained")
    for panel, (title, settings) in zip(panels.T.flat, SHOWN.items(), strict=True):
        distortion, random = Distortion(Augmentation(**{**OFF, **settings}), 1), np.random.default_rng(2)
        features = compute_mel_spectrogram(distortion.distort(samples, random))
        features = distortion.mask(features, features.mean(axis=0), random)
        seconds = len(features) / 100
        panel.imshow(
            features.T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            vmin=-13,
            vmax=3,
            extent=(0, seconds, 0, 80),
        )
        panel.set_title(title, fontsize=10)
    figure.supxlabel("seconds")
    figure.supylabel("mel bins")
    figure.savefig(Path(__file__).with_name("augmentation.png"), dpi=72, metadata={"Software": None})


def utterance() -> np.ndarray:
    commands = str(Path(velocity.corpora.__path__[0], "commands.yaml"))
    with TemporaryDirectory() as folder:
        synthesise_corpus(SyntheticCorpus("synthetic", commands, utterances=4, voices=4), 1, folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.suffix in AUDIO_SUFFIXES)
        return max(map(load_audio, files), key=len)


if __name__ == "__main__":
    main()
