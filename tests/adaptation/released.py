"""A tiny released model of the project's own network, and the tones that it can be taught to hear."""

from pathlib import Path

import numpy as np
import torch

from tests.model.test_asr import small
from velocity.artefacts.target import export_target
from velocity.artefacts.trained import folder_model
from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.files import write_json
from velocity.model.asr import VelocityModel, frame_mask, save_model
from velocity.quantization.linear import quantize_linears, quantized_layers, set_mode
from velocity.text import TextTokenizer, train_tokenizer

LETTERS = "abcdefgh"


def speak(words: str, shift: float = 0.0) -> np.ndarray:
    """(samples,) at 16 kHz: each letter a tone of 0.2 s, higher by ``shift`` Hz, over the hum that makes it a voice."""
    time = np.arange(3200) / SAMPLE_RATE
    hum = 0.3 * np.sin(2 * np.pi * 125 * time)
    tones = [hum + 0.3 * np.sin(2 * np.pi * (500 + 400 * LETTERS.index(word) + shift) * time) for word in words.split()]
    return np.concatenate([np.concatenate([np.zeros(1600), tone]) for tone in tones]).astype(np.float32)


def draw(random: np.random.Generator, count: int) -> str:
    return " ".join(random.choice(list(LETTERS), count))


def teach(model: VelocityModel, tokenizer: TextTokenizer, steps: int) -> None:
    """Have the model hear such tones: about 350 steps are enough."""
    random = np.random.default_rng(1)
    optimiser = torch.optim.AdamW(model.parameters(), 0.004)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.004, total_steps=steps)
    for step in range(steps):
        texts = [draw(random, 3) for _ in range(8)]
        mel = torch.from_numpy(np.stack([compute_mel_spectrogram(speak(text, random.normal(0, 20))) for text in texts]))
        if not step:
            levelled = model.level(mel, frame_mask(mel, None))
            model.set_feature_statistics(levelled.mean((0, 1)).tolist(), levelled.std((0, 1)).clamp(min=0.1).tolist())
        set_mode(model, "observe" if step < 0.6 * steps else "fake")
        log_probs, lengths = model(mel)
        targets = torch.tensor([tokenizer.encode(text) for text in texts])
        torch.nn.functional.ctc_loss(
            log_probs.transpose(0, 1), targets, lengths, torch.full((8,), targets.size(1))
        ).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        rates.step()


def release(folder: Path, steps: int = 3) -> Path:
    """``folder`` with ``model.safetensors``, ``calibration.json``, ``tokenizer.model``; the artefact in ``model/``."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer([], "characters", 30, folder / "tokenizer.model")
    model = small(blocks=1, half_rate=0, vocabulary=30, conv_kernel=15)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():  # equal constants would be kept once in the graph
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=random))
    model = quantize_linears(model).train()
    teach(model, tokenizer, steps)
    save_model(model, folder / "model.safetensors")
    layers = {
        name: dict(zip(("low", "high"), layer.activation_range(), strict=True))
        for name, layer in quantized_layers(model).items()
    }
    write_json(folder / "calibration.json", {"layers": layers})
    write_json(folder / "config.json", {"name": "a-toy", "synthetic": True, "licence": "CC0-1.0"})
    export_target("onnx-int8", folder_model(folder), folder / "model")
    return folder
