"""The section ``model``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from velocity.config.section import Count, CountOrZero, section


@section
class ModelConfig:
    """Every dimension of the recogniser. A weights file holds all of them, so it needs no params.yaml."""

    mel_bins: Count
    dim: Count  # width of the residual stream
    stride: Count  # feature frames a model frame: 2 → 20 ms, 4 → 40 ms
    blocks: Count  # local processor
    half_rate: CountOrZero  # of them, those in the middle, that take two frames as one
    state: Count  # SSM state a head
    expand: Count  # inner width of the SSM = expand · dim
    head_dim: Count  # SSM heads = expand · dim / head_dim
    conv_kernel: Count  # frames of the depthwise convolution: centred if bidirectional, else of the past
    chunk: Count  # frames a chunk, at most, of the structured-state-space scan
    ffn: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    direction: Literal["bidirectional", "causal"]
    context: Literal["hierarchical", "fixed"]  # fixed: one pooling to context_tokens, however long
    context_tokens: Count  # K of the fixed context
    context_layers: CountOrZero  # SSM layers over the first pooling
    context_state: Count
    context_window: Count  # frames a token of the first pooling: K1 = max(context_min, L / window)
    context_min: Count
    summary_min: Count  # K2 = min(summary_max, max(summary_min, K1 / 4)) tokens to attend to
    summary_max: Count
    attention_heads: Count
    attention_head_dim: Count
    head_rank: CountOrZero  # 0: a full CTC head; r: factorised dim → r → classes
    head_classes: CountOrZero  # at least so many outputs: those beyond the vocabulary are trained never to win
    phones: bool = False  # a second CTC head, for phones; models made before there were any say nothing of it
    vocabulary: CountOrZero = 0  # CTC classes, blank (0) included: the tokenizer decides, so it is not in params.yaml

    @property
    def inner(self) -> int:
        return self.expand * self.dim

    @property
    def heads(self) -> int:
        return self.inner // self.head_dim

    @property
    def halved(self) -> range:
        """Indices of the blocks at half the frame rate."""
        first = (self.blocks - self.half_rate) // 2
        return range(first, first + self.half_rate)

    @property
    def classes(self) -> int:
        """Outputs of the CTC head."""
        return max(self.vocabulary, self.head_classes)

    def __post_init__(self) -> None:
        if self.inner % self.head_dim:
            raise ValueError(f"expand·dim = {self.inner} is not a multiple of head_dim = {self.head_dim}")
        if self.direction == "bidirectional" and self.heads % 2:
            raise ValueError(f"a bidirectional model needs an even number of SSM heads, not {self.heads}")
        if self.direction == "causal" and self.context == "fixed":
            raise ValueError("a fixed context spans the whole utterance, which a causal model does not know")
        if self.half_rate > self.blocks:
            raise ValueError(f"half_rate = {self.half_rate} is more than there are blocks, {self.blocks}")
        if self.stride not in (2, 4):
            raise ValueError(f"stride must be 2 or 4, not {self.stride}")
        if self.dim % 4:
            raise ValueError(f"dim must be a multiple of 4 (positional encoding), not {self.dim}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
