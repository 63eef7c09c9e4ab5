"""The figure in docs/data.md: one synthetic utterance under each augmentation.

python docs/augmentation.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from velocity.audio import compute_mel_spectrogram, load_audio
from velocity.config import load_params
from velocity.corpora.synthetic import synthesise_corpus
from velocity.data.distortion import Distortion, masked
from velocity.reading.names import AUDIO_SUFFIXES

# Everything that params.yaml switches on.
OFF = {"speeds": (1.0,), "noise": 0.0, "gain_db": 0.0, "time_masks": 0, "frequency_masks": 0}
SHOWN = {
    "unchanged": {},
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
    import torch

    samples, params = utterance(), load_params()
    figure, panels = plt.subplots(len(SHOWN) // 2, 2, figsize=(9, 7.5), sharey=True, layout="constrained")
    for panel, (title, settings) in zip(panels.T.flat, SHOWN.items(), strict=True):
        augmentation = replace(params.finetune.augmentation, **{**OFF, **settings})
        distortion, random = Distortion(augmentation, 1), np.random.default_rng(2)
        torch.manual_seed(2)
        features = torch.from_numpy(np.array(compute_mel_spectrogram(distortion.distort(samples, random))))
        mean = features.mean(0)  # masks are zeros in features of mean 0
        features = masked(augmentation, (features - mean)[None], torch.tensor([len(features)]))[0] + mean
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
    corpus = replace(load_params().corpora["synthetic"], utterances=4, voices=4)
    with TemporaryDirectory() as folder:
        synthesise_corpus(corpus, 1, folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.suffix in AUDIO_SUFFIXES)
        return max(map(load_audio, files), key=len)


if __name__ == "__main__":
    main()
