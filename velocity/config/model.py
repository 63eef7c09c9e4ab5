"""The section ``model``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from velocity.config.section import section


@section
class ModelConfig:
    """Every dimension of the recogniser. A weights file holds all of them, so it needs no params.yaml."""

    mel_bins: int
    dim: int  # width of the residual stream
    stride: int  # feature frames a model frame: 2 → 20 ms, 4 → 40 ms
    blocks: int  # local processor
    state: int  # SSM state a head
    expand: int  # inner width of the SSM = expand · dim
    head_dim: int  # SSM heads = expand · dim / head_dim
    conv_kernel: int  # frames of the depthwise convolution before the scan: centred if bidirectional, else of the past
    chunk: int  # frames a chunk, at most, of the structured-state-space scan
    ffn: int
    dropout: float
    direction: Literal["bidirectional", "causal"]
    context: Literal["hierarchical", "fixed"]  # fixed: one pooling to context_tokens, however long
    context_tokens: int  # K of the fixed context
    context_layers: int  # SSM layers over the first pooling
    context_state: int
    context_window: int  # frames a token of the first pooling: K1 = max(context_min, L / window)
    context_min: int
    summary_min: int  # K2 = min(summary_max, max(summary_min, K1 / 4)) tokens to attend to
    summary_max: int
    attention_heads: int
    attention_head_dim: int
    head_rank: int  # 0: a full CTC head; r: factorised dim → r → classes
    head_classes: int  # at least so many outputs: those beyond the vocabulary are trained never to win
    vocabulary: int = 0  # CTC classes, blank (0) included: the tokenizer decides, so it is not in params.yaml

    @property
    def inner(self) -> int:
        return self.expand * self.dim

    @property
    def heads(self) -> int:
        return self.inner // self.head_dim

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
        if self.stride not in (2, 4):
            raise ValueError(f"stride must be 2 or 4, not {self.stride}")
        if self.dim % 4:
            raise ValueError(f"dim must be a multiple of 4 (positional encoding), not {self.dim}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
