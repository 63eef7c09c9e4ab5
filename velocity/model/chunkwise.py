"""The causal recogniser chunk by chunk: a few frames and what has been kept of the past in, posteriors out.

The same modules as ``VelocityModel`` holds, called with their state instead of with a whole utterance. No mask: frames
after the end of an utterance change nothing before it, so the last chunk may be filled up with anything.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.config.model import ModelConfig
from velocity.errors import VelocityError
from velocity.model.asr import VelocityModel
from velocity.model.binding import PositionalEncoding, TemporalBinding
from velocity.model.block import SelectiveSSM, SSMLayer
from velocity.model.context import GlobalContext
from velocity.model.level import FAR, QUIETEST, LevelNormalisation, loudness, subtract
from velocity.model.rate import double
from velocity.model.ssd import decay_matrix

TOKENS = 4  # of the global context in a summary

State = dict[str, Tensor]


class StreamingModel(nn.Module):
    """``log_probs, *state = streaming(mel, *state)``, the model frames of ``model(whole)`` piece by piece; ``log_probs,
    phone_log_probs, *state`` of a model with a head for phones.

    mel (b, frames, mel_bins) is any multiple of ``chunk_frames`` of a stream of log-mel that has ``lead_frames`` of
    anything before its first frame: the last model frame of a chunk then waits for no frame it does not hear. The
    streams of a batch run in step. ``state`` is what the call before returned, in the order of ``initial_state()``,
    which a stream starts from.
    """

    def __init__(self, model: VelocityModel) -> None:
        """Shares the weights of ``model``. Raises VelocityError when it is not causal."""
        super().__init__()
        if model.config.direction != "causal":
            raise VelocityError(
                "a bidirectional model needs the whole utterance and cannot stream; train one with "
                "model.direction: causal"
            )
        self.model = model.eval()
        self.config = model.config

    @property
    def chunk_frames(self) -> int:
        """Feature frames a chunk is a multiple of: those of one token of the global context."""
        return self.config.stride * self.config.context_window

    @property
    def lead_frames(self) -> int:
        """Frames before the first one; they are taken for zeros, whatever they hold."""
        return self.config.stride - 1

    def initial_state(self, batch: int = 1) -> State:
        """Name → tensor, float32 but for ``position`` (1,) int64, the model frames that have passed."""
        config = self.config
        state = {"position": torch.zeros(1, dtype=torch.int64)}
        state["loudness"] = torch.zeros(batch, 1, FAR - 1)
        for index, conv in enumerate(self.model.binding.convs):
            state[f"binding.{index}"] = torch.zeros(batch, 1, conv.in_channels)
        if config.half_rate:
            state["halved"] = torch.zeros(batch, 1, config.dim)
        for name, layer in self._layers().items():
            ssm = layer.ssm
            state[f"{name}.conv"] = torch.zeros(batch, ssm.before, config.dim)
            state[f"{name}.scan"] = torch.zeros(batch, ssm.heads, ssm.state, ssm.head_dim)
        state["context.tokens"] = torch.zeros(batch, kept_tokens(config), config.dim)
        return state

    def _layers(self) -> dict[str, SSMLayer]:
        blocks = {f"blocks.{index}": block.mixer for index, block in enumerate(self.model.blocks)}
        return blocks | {f"context.{index}": layer for index, layer in enumerate(self.model.context.layers)}

    def forward(self, mel: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """→ log posteriors (b, frames / stride, vocabulary), of a model with a head for phones theirs too, (b, frames /
        stride, CLASSES), and the state after them, tensor by tensor."""
        model = self.model
        past: State = dict(zip(self.initial_state(), state, strict=True))
        now: State = {}
        levelled = level(mel, self.lead_frames, past, now)  # (b, frames, mel_bins)
        x = bind(model.binding, model.standardize(levelled), past, now)  # (b, l, dim)
        halved = self.config.halved
        x = self._run(range(halved.start), x, past, now)
        if halved:
            before = halve_chunk(x, past, now)  # (b, l / 2, dim)
            x = x + double(self._run(halved, before, past, now) - before, x.size(1))
        x = self._run(range(halved.stop, len(model.blocks)), x, past, now)
        x = model.fusion(x, attend(model.context, x, past, now))
        now["position"] = past["position"] + x.size(1)
        phones = [] if model.phone_head is None else [model.phone_log_posteriors(x)]
        return model.log_posteriors(model.head(x)), *phones, *(now[name] for name in past)

    def _run(self, blocks: range, x: Tensor, past: State, now: State) -> Tensor:
        for index in blocks:
            block = self.model.blocks[index]
            x = block.feed_forward(ssm_layer(block.mixer, x, f"blocks.{index}", past, now))
        return x


def kept_tokens(config: ModelConfig) -> int:
    """Newest tokens that the summaries seen by the next frame are means of: those of 16 whole spans and a begun one."""
    return TOKENS * config.summary_min + TOKENS - 1


def level(mel: Tensor, lead: int, past: State, now: State) -> Tensor:
    """The causal ``LevelNormalisation``, which the frames of the lead do not reach: (b, frames, bins) → the same."""
    heard = (torch.arange(mel.size(1), device=mel.device) >= lead) | (past["position"] > 0)  # (frames,)
    peak = loudness(mel, heard.to(mel.dtype)[None, :, None])
    # Every state begins as zeros: this one is counted from the quietest there is.
    peak = torch.cat([past["loudness"] + 2 * QUIETEST, peak], -1)  # (b, 1, FAR - 1 + frames)
    now["loudness"] = peak[..., 1 - FAR :] - 2 * QUIETEST
    return subtract(mel, LevelNormalisation.past_level(peak))


def bind(binding: TemporalBinding, x: Tensor, past: State, now: State) -> Tensor:
    """``TemporalBinding``: normalised log-mel (b, frames, mel_bins) → (b, frames / stride, dim)."""
    lead = 2 ** len(binding.convs) - 1
    for index, conv in enumerate(binding.convs):
        name = f"binding.{index}"
        seen = (torch.arange(x.size(1), device=x.device) >= lead) | (past["position"] > 0)  # (frames,)
        x = torch.cat([past[name], x * seen.unsqueeze(-1)], 1)  # (b, 1 + frames, channels)
        now[name] = x[:, -1:]
        x = F.gelu(conv(x.transpose(1, 2)).transpose(1, 2))  # (b, frames / 2, dim)
        lead //= 2
    return place(binding.position, binding.norm(x), past["position"])


def place(encoding: PositionalEncoding, x: Tensor, position: Tensor) -> Tensor:
    """``PositionalEncoding`` of frames from ``position`` (1,) int64 on: (b, l, dim) → (b, l, dim).

    Frames are counted in integers: hours on, the angle of one is still that of the whole utterance.
    """
    frame = position + torch.arange(x.size(1), device=x.device)
    angle = frame.float().unsqueeze(1) * encoding.rate  # (l, dim/2) radians
    time = torch.cat([angle.sin(), angle.cos()], -1)
    return x + encoding.time_gain * time + encoding.frequency


def halve_chunk(x: Tensor, past: State, now: State) -> Tensor:
    """The causal ``halve``: (b, l, dim) → (b, l / 2, dim). The first frame of a stream has none before it."""
    b, l, d = x.shape
    now["halved"] = x[:, -1:]
    pairs = torch.cat([past["halved"], x[:, :-1]], 1).reshape(b, l // 2, 2, d)
    alone = (torch.arange(l // 2, device=x.device) == 0) & (past["position"] == 0)  # (l / 2,)
    return pairs.sum(2) / torch.where(alone, 1.0, 2.0).unsqueeze(-1)


def ssm_layer(layer: SSMLayer, x: Tensor, name: str, past: State, now: State) -> Tensor:
    """``SSMLayer``: (b, l, dim) → (b, l, dim)."""
    ssm: SelectiveSSM = layer.ssm
    u = layer.norm(x)
    around = torch.cat([past[f"{name}.conv"], u], 1)  # (b, before + l, dim)
    now[f"{name}.conv"] = around[:, around.size(1) - ssm.before :]
    gate, inputs, B, C, step = ssm.project(u + ssm.convolve(around))
    step = F.softplus(step + ssm.step_bias)  # (b, l, h)
    decay = -ssm.log_rate.exp() * step
    y, now[f"{name}.scan"] = scan(inputs * step.unsqueeze(-1), decay, B[:, :, 0], C[:, :, 0], past[f"{name}.scan"])
    y = ssm.add_skip(y, inputs)
    return x + ssm.output(ssm.norm(y * F.silu(gate)))


def scan(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """``scan_chunked`` of one chunk: x (b, l, h, p), log_decay (b, l, h), B, C (b, l, n), state (b, h, n, p)."""
    x = x.transpose(1, 2)  # (b, h, l, p)
    cumulative = log_decay.transpose(1, 2).cumsum(-1)  # (b, h, l)
    y = ((C @ B.transpose(1, 2)).unsqueeze(1) * decay_matrix(cumulative)) @ x  # (b, h, l, p)
    y = y + (C.unsqueeze(1) @ state) * cumulative.exp().unsqueeze(-1)
    total = cumulative[..., -1:]  # (b, h, 1)
    x = x * (total - cumulative).exp().unsqueeze(-1)
    state = total.exp().unsqueeze(-1) * state + B.transpose(1, 2).unsqueeze(1) @ x  # (b, h, n, p)
    return y.transpose(1, 2), state


def attend(context: GlobalContext, x: Tensor, past: State, now: State) -> Tensor:
    """The causal ``GlobalContext``: local frames (b, l, dim) → their view of the past (b, l, dim).

    A summary is the mean of four tokens, and every fourth running mean over tokens is one. A window of frames looks at
    the newest 16 that ended before its own span of four windows began.
    """
    window, seen = context.config.context_window, context.config.summary_min
    b, l, d = x.shape
    count = l // window
    tokens = x.reshape(b, count, window, d).mean(2)  # (b, t, d)
    for index, layer in enumerate(context.layers):
        tokens = ssm_layer(layer, tokens, f"context.{index}", past, now)
    tokens = torch.cat([past["context.tokens"], tokens], 1)  # (b, kept + t, d)
    kept = past["context.tokens"].size(1)
    now["context.tokens"] = tokens[:, -kept:]
    # means[i] is over tokens[i] … tokens[i + 3]
    means = sum(tokens[:, shift : shift + kept + 1 - TOKENS + count] for shift in range(TOKENS)) / TOKENS

    index = torch.arange(count, device=x.device)
    token = past["position"] // window + index  # (t,) counted from the beginning of the stream
    newest = kept + index - token % TOKENS - TOKENS  # (t,) place in ``means`` of the last summary before its span
    age = torch.arange(seen - 1, -1, -1, device=x.device)  # (seen,) in summaries, the oldest first
    view = means[:, (newest.unsqueeze(1) - TOKENS * age).reshape(-1)].reshape(b * count, seen, d)
    visible = (token.unsqueeze(1) // TOKENS > age) | (age == 0)  # before the first one there is a zero to attend to
    visible = visible.to(x.dtype).unsqueeze(0).expand(b, -1, -1).reshape(b * count, 1, seen)
    return context.attention(x.reshape(b * count, window, d), view, visible).reshape(b, l, d)
