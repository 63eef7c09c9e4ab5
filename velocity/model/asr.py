"""The recogniser: log-mel → temporal binding → selective SSM blocks → global context → gated fusion → CTC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from velocity.config.model import ModelConfig
from velocity.config.reader import parse
from velocity.errors import VelocityError
from velocity.model.binding import TemporalBinding
from velocity.model.block import Block, SelectiveSSM
from velocity.model.context import GlobalContext
from velocity.model.level import LevelNormalisation
from velocity.model.rate import double, halve
from velocity.phones import CLASSES

BLANK = 0


class Encoded(NamedTuple):
    """What ``VelocityModel.encode`` gives; padding included, of which ``lengths`` tells."""

    frames: Tensor  # (b, l, dim), what the heads see
    lengths: Tensor  # (b,) int64, of them
    blocks: list[Tensor]  # (b, l, dim) after each block


class VelocityModel(nn.Module):
    """``log_probs, lengths = model(mel, lengths)``; the whole of VELOCITY-ASR v2 with the front end's statistics."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        bidirectional = config.direction == "bidirectional"
        self.register_buffer("feature_mean", torch.zeros(config.mel_bins))
        self.register_buffer("feature_std", torch.ones(config.mel_bins))
        self.level = LevelNormalisation(causal=not bidirectional)
        self.binding = TemporalBinding(config.mel_bins, config.dim, config.stride, causal=not bidirectional)
        self.blocks = nn.ModuleList(
            Block(
                config.dim,
                SelectiveSSM(
                    config.dim,
                    config.inner,
                    config.head_dim,
                    config.state,
                    config.conv_kernel,
                    config.chunk,
                    bidirectional,
                ),
                config.ffn,
                config.dropout,
            )
            for _ in range(config.blocks)
        )
        self.context = GlobalContext(config)
        self.fusion = GatedFusion(config.dim)
        self.head = ctc_head(config.dim, config.classes, config.head_rank)
        # Last, so that all other weights are drawn as without it. None also where an export leaves it out.
        self.phone_head = nn.Linear(config.dim, CLASSES) if config.phones else None

    def set_feature_statistics(self, mean: list[float], std: list[float]) -> None:
        """Mean and standard deviation of each bin, its level taken out, over the training set: (mel_bins,) each."""
        self.feature_mean.copy_(torch.tensor(mean))
        self.feature_std.copy_(torch.tensor(std))

    def normalize(self, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-mel (b, frames, mel_bins), lengths (b,) in frames or None → the same of mean 0 and deviation 1."""
        return self.standardize(self.level(mel, frame_mask(mel, lengths)))

    def standardize(self, levelled: Tensor) -> Tensor:
        return (levelled - self.feature_mean) / self.feature_std

    def encode(self, features: Tensor, lengths: Tensor | None = None) -> Encoded:
        """Normalised features (b, frames, mel_bins), lengths (b,) in frames or None → l = ⌈frames / stride⌉ frames."""
        x, mask = self.binding(features, frame_mask(features, lengths))
        blocks = []
        for block in self.blocks[: self.config.halved.start]:
            x = block(x, mask)
            blocks.append(x)
        if self.config.half_rate:
            before, pair_mask = halve(x, mask, causal=self.config.direction == "causal")
            pairs = before
            for block in self.blocks[self.config.halved.start : self.config.halved.stop]:
                pairs = block(pairs, pair_mask)
                blocks.append(x + double(pairs - before, x.size(1)))
            x = blocks[-1]
        for block in self.blocks[self.config.halved.stop :]:
            x = block(x, mask)
            blocks.append(x)
        x = self.fusion(x, self.context(x, mask))
        return Encoded(x, mask.sum((1, 2)).long(), blocks)

    def forward(self, mel: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-mel (b, frames, mel_bins) float32, lengths (b,) int64 in frames (None: every frame is speech).

        Returns log posteriors (b, l, vocabulary) float32 with l = ⌈frames / stride⌉, and their lengths (b,) int64.
        Padding beyond a length changes nothing before it.
        """
        log_probs, lengths, *_ = self.outputs(mel, lengths)  # of the phones too: calibration has to see their layer
        return log_probs, lengths

    def outputs(self, mel: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """What ``forward`` returns and, of a model with a head for phones, ``phone_log_posteriors``."""
        encoded = self.encode(self.normalize(mel, lengths), lengths)
        letters = self.log_posteriors(self.head(encoded.frames)), encoded.lengths
        return letters if self.phone_head is None else (*letters, self.phone_log_posteriors(encoded.frames))

    def log_posteriors(self, scores: Tensor) -> Tensor:
        """What a head gives, (b, l, classes) → log posteriors (b, l, vocabulary) float32."""
        log_probs = scores.float().log_softmax(-1)
        if self.config.classes > self.config.vocabulary:
            log_probs = log_probs[..., : self.config.vocabulary]  # no text uses the classes beyond
        return log_probs

    def phone_log_posteriors(self, frames: Tensor) -> Tensor:
        """Frames of ``encode`` (b, l, dim) → log posteriors of the phones (b, l, CLASSES) float32."""
        return self.phone_head(frames).float().log_softmax(-1)

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def frame_mask(features: Tensor, lengths: Tensor | None) -> Tensor:
    """(b, frames, bins), lengths (b,) or None → (b, frames, 1): 1.0 on frames of the utterance, 0.0 on padding."""
    if lengths is None:
        return torch.ones_like(features[:, :, :1])
    index = torch.arange(features.size(1), device=features.device)
    return (index < lengths.unsqueeze(1)).unsqueeze(-1).to(features.dtype)


class GatedFusion(nn.Module):
    """Each channel chooses between the local and the global view; the local one also passes by: (b, l, dim) twice."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, local: Tensor, context: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(torch.cat([local, context], -1)))
        return self.norm(local + gate * local + (1 - gate) * context)


def ctc_head(dim: int, classes: int, rank: int) -> nn.Module:
    """Linear(dim → classes), or factorised dim → rank → classes where so many would not fit."""
    if rank == 0:
        return nn.Linear(dim, classes)
    return nn.Sequential(nn.Linear(dim, rank, bias=False), nn.Linear(rank, classes))


def save_model(model: VelocityModel, path: str | Path) -> None:
    """Weights and configuration in one safetensors file, whole or not at all; the same bytes for the same model."""
    from safetensors.torch import save_file

    from velocity.files import atomic_path

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"config": json.dumps(model.config.to_dict(), sort_keys=True)})


def read_weights(path: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration and tensors that ``save_model`` wrote. Raises VelocityError on any other file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            config = parse(ModelConfig, json.loads(file.metadata()["config"]), str(path), "config")
            return config, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise VelocityError(f"{path}: not a VELOCITY-ASR model ({error})") from error


def load_model(path: str | Path) -> VelocityModel:
    """The floating-point model of a safetensors file, in evaluation mode; quantisation ranges in it are left out."""
    config, state = read_weights(path)
    model = VelocityModel(config)
    known = model.state_dict().keys()
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in known})
    return model.eval()


def load_pretrained(model: VelocityModel, path: str | Path) -> None:
    """What fine-tuning takes from pretraining: all weights of ``path``, the heads' if they fit. The feature statistics
    stay those of ``model``.

    Raises VelocityError when the encoders differ in their dimensions or layers.
    """
    _, state = read_weights(path)
    own, heads = model.state_dict(), ("head.", "phone_head.")
    for name in [name for name in state if name.startswith(heads)]:
        if name not in own or own[name].shape != state[name].shape:
            del state[name]
    state = {name: tensor for name, tensor in state.items() if not name.startswith("feature_")}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise VelocityError(f"{path}: has other dimensions than params.yaml; run the stage pretrain again") from error
    if unexpected or any(not name.startswith((*heads, "feature_")) for name in missing):
        raise VelocityError(f"{path}: belongs to another model; run the stage pretrain again")
