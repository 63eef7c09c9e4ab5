"""The model in chunks with state is the model on the whole utterance."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.test_asr import small
from velocity.errors import VelocityError
from velocity.model.chunkwise import StreamingModel, place

FRAMES = 1600  # of log-mel: 16 s, in which the oldest of the 16 summaries has been forgotten again and again


def streamed(model: StreamingModel, mel: torch.Tensor, chunks: list[int]) -> list[torch.Tensor]:
    """The posteriors of each head for ``mel`` given in pieces of so many chunks, over and over; the last is filled
    up."""
    frames = mel.size(1)
    mel = F.pad(mel, (0, 0, model.lead_frames, 0), value=5.0)
    state, outputs, start, turn = list(model.initial_state(mel.size(0)).values()), [], 0, 0
    with torch.no_grad():
        while start < mel.size(1):
            size = chunks[turn % len(chunks)] * model.chunk_frames
            piece = mel[:, start : start + size]
            piece = F.pad(piece, (0, 0, 0, -piece.size(1) % model.chunk_frames), value=9.0)
            found = model(piece, *state)
            heads, state = found[: len(found) - len(state)], list(found[len(found) - len(state) :])
            outputs.append(heads)
            start, turn = start + size, turn + 1
    return [torch.cat(pieces, 1)[:, : -(-frames // model.config.stride)] for pieces in zip(*outputs, strict=True)]


MODELS = {
    "two blocks": small("causal"),
    "full rate": small("causal", half_rate=0),
    "frames of 40 ms": small("causal", stride=4, blocks=1, conv_kernel=1),
    "no context layer, large head": small("causal", context_layers=0, blocks=1, head_classes=40, head_rank=4),
    "a head for phones": small("causal", phones=True),
    "few summaries, wide windows": small("causal", blocks=1, summary_min=3, context_window=16),
}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12)
@given(
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=4), frames=st.integers(1, FRAMES), seed=st.integers(0, 99)
)
def test_chunks_of_any_size_are_the_whole_utterance(name, chunks, frames, seed):
    model = MODELS[name]
    mel = 3 * torch.randn(2, frames, 80, generator=torch.Generator().manual_seed(seed)) - 4
    model.set_feature_statistics([-4.0] * 80, [3.0] * 80)
    with torch.no_grad():
        letters, _, *phones = model.outputs(mel)
    found = streamed(StreamingModel(model), mel, chunks)
    for heads, expected in zip(found, [letters, *phones], strict=True):
        assert (heads - expected).abs().max() <= 1e-4


def test_chunks_carry_what_they_need_and_no_more():
    """The test above would not see a state that is ignored by an untrained model: without each of them it must fail."""
    model = MODELS["two blocks"]
    streaming = StreamingModel(model)
    mel = torch.randn(1, 960, 80)
    with torch.no_grad():
        first, *state = streaming(mel[:, :800], *streaming.initial_state().values())
        expected = streaming(mel[:, 800:], *state)[0]
        for index, (name, empty) in enumerate(streaming.initial_state().items()):
            lacking = [*state[:index], empty, *state[index + 1 :]]
            assert (streaming(mel[:, 800:], *lacking)[0] - expected).abs().max() > 1e-4, name
    assert first.shape == (1, 400, 12)


def test_an_hour_on_the_state_is_as_large_and_time_as_exact():
    model = MODELS["two blocks"]
    streaming, hour = StreamingModel(model), torch.tensor([180_000])
    before = streaming.initial_state() | {"position": hour}
    with torch.no_grad():
        _, *after = streaming(torch.randn(1, 160, 80), *before.values())
        encoding, silence = model.binding.position, torch.zeros(1, hour + 80, 32)
        assert torch.equal(place(encoding, silence[:, hour:], hour), encoding(silence)[:, hour:])
    assert after[0].item() == hour + 80
    assert [tensor.shape for tensor in after] == [tensor.shape for tensor in before.values()]


def test_a_bidirectional_model_is_refused():
    with pytest.raises(VelocityError, match=r"cannot stream; train one with model\.direction: causal"):
        StreamingModel(small())
