"""The section ``model``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from velocity.config.section import section


@section
class ModelConfig:
    """Every dimension of the recogniser; the defaults are the reference configuration (4.0–5.0 M parameters).

    ``params.yaml`` leaves out the vocabulary, which comes from the tokenizer.
    """

    mel_bins: int = 80
    dim: int = 192  # width of the residual stream
    stride: int = 2  # feature frames a model frame: 2 → 20 ms, 4 → 40 ms
    blocks: int = 8  # local processor
    state: int = 64  # SSM state a head
    expand: int = 2  # inner width of the SSM = expand · dim
    head_dim: int = 64  # SSM heads = expand · dim / head_dim
    conv_kernel: int = 4  # depthwise convolution before the scan
    chunk: int = 64  # frames a chunk of the structured-state-space scan
    ffn: int = 384
    dropout: float = 0.1
    direction: Literal["bidirectional", "causal"] = "bidirectional"
    context: Literal["hierarchical", "fixed"] = "hierarchical"  # fixed: one pooling to context_tokens, however long
    context_tokens: int = 32  # K of the fixed context
    context_layers: int = 2  # SSM layers over the first pooling
    context_state: int = 32
    context_window: int = 8  # frames a token of the first pooling: K1 = max(context_min, L / window)
    context_min: int = 64
    summary_min: int = 16  # K2 = min(summary_max, max(summary_min, K1 / 4)) tokens to attend to
    summary_max: int = 64
    attention_heads: int = 4
    attention_head_dim: int = 48
    vocabulary: int = 256  # CTC classes, blank (0) included
    head_rank: int = 0  # 0: a full CTC head; r: factorised dim → r → classes
    head_classes: int = 0  # at least so many outputs: those beyond the vocabulary are trained never to win

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
