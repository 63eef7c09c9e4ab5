"""The whole model: its size, its cost, what padding may not do, and which frames may see which."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from velocity.config.model import ModelConfig
from velocity.config.reader import default_section, read_params
from velocity.errors import VelocityError
from velocity.model.asr import VelocityModel, load_model, load_pretrained, read_weights, save_model
from velocity.model.context import pool_to
from velocity.model.rate import double, halve

SMALL = default_section(
    "model", ModelConfig, dim=32, blocks=2, half_rate=1, state=8, head_dim=16, ffn=48, context_state=8,
    context_layers=1, attention_heads=2, attention_head_dim=8, vocabulary=12, chunk=16, conv_kernel=4,
)  # fmt: skip
REFERENCE = default_section("model", ModelConfig, **read_params("profiles/reference.yaml")["model"])


def small(direction: str = "bidirectional", **changes) -> VelocityModel:
    torch.manual_seed(0)
    return VelocityModel(replace(SMALL, direction=direction, **changes)).eval()


def test_reference_configuration_has_its_parameters():
    def parameters(**changes) -> int:
        return VelocityModel(replace(REFERENCE, **changes)).parameter_count()

    assert parameters(vocabulary=256) == 4_227_184
    assert parameters(vocabulary=1024) == 4_375_408
    assert parameters(vocabulary=256, direction="causal") == 4_004_848


def test_embedded_default_has_its_parameters():
    assert VelocityModel(default_section("model", ModelConfig, vocabulary=30)).parameter_count() == 643_966


def test_a_factorised_head_fits_fifty_thousand_classes_into_five_million():
    full = VelocityModel(replace(REFERENCE, vocabulary=50_000))
    factorised = VelocityModel(replace(REFERENCE, vocabulary=50_000, head_rank=12))
    assert full.parameter_count() > 10_000_000
    assert factorised.parameter_count() == 4_830_080
    log_probs, _ = factorised.eval()(torch.randn(1, 20, 80))
    assert log_probs.shape == (1, 10, 50_000)
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(1, 10), atol=1e-4)


def test_classes_beyond_the_vocabulary_share_the_posterior_and_are_not_given_out():
    model = small(head_classes=500, head_rank=4)
    log_probs, _ = model(torch.randn(1, 40, 80))
    assert log_probs.shape == (1, 20, 12)
    assert log_probs.exp().sum(-1).max() < 0.5  # untrained, 12 of 500 classes have little of it
    assert model.head[1].out_features == 500
    assert small(head_classes=5).head.out_features == 12  # never fewer than the tokenizer has


def test_a_head_for_phones_changes_neither_the_other_weights_nor_the_letters():
    model, without = small(phones=True), small()
    own = model.state_dict()
    assert own.keys() - without.state_dict().keys() == {"phone_head.weight", "phone_head.bias"}
    assert all(torch.equal(own[name], tensor) for name, tensor in without.state_dict().items())
    mel, lengths = torch.randn(2, 40, 80), torch.tensor([40, 23])
    for found, expected in zip(model(mel, lengths), without(mel, lengths), strict=True):
        assert torch.equal(found, expected)
    frames = model.encode(model.normalize(mel, lengths), lengths).frames
    scores = frames.double() @ own["phone_head.weight"].double().T + own["phone_head.bias"].double()
    posteriors = scores.exp() / scores.exp().sum(-1, keepdim=True)
    *letters, phones = model.outputs(mel, lengths)
    assert len(letters) == 2
    assert phones.shape == (2, 20, 48)
    assert torch.allclose(phones.double().exp(), posteriors, atol=1e-6)
    assert len(without.outputs(mel, lengths)) == 2


@pytest.mark.parametrize("pretrained", [False, True])
def test_pretraining_with_or_without_a_head_for_phones_is_a_start(pretrained, tmp_path):
    save_model(small(phones=pretrained, dropout=0.0), tmp_path / "pretrained.safetensors")
    for phones in (False, True):
        torch.manual_seed(1)
        model = VelocityModel(replace(SMALL, phones=phones))
        own = model.phone_head.weight.clone() if phones else None
        statistics = torch.full((80,), 3.0)
        model.feature_mean.copy_(statistics)
        load_pretrained(model, tmp_path / "pretrained.safetensors")
        assert torch.equal(model.fusion.gate.weight, small().fusion.gate.weight)
        assert torch.equal(model.head.weight, small().head.weight)
        assert torch.equal(model.feature_mean, statistics)
        if phones:
            expected = small(phones=True).phone_head.weight if pretrained else own
            assert torch.equal(model.phone_head.weight, expected)


def test_a_fixed_context_is_the_utterance_in_so_many_tokens():
    model = small(context="fixed", context_tokens=5).context
    model.layers = torch.nn.ModuleList()  # what is attended to is then the pooled frames themselves
    x = torch.randn(1, 90, 32)
    pooled = F.adaptive_avg_pool1d(x.transpose(1, 2), 5).transpose(1, 2)
    expected = model.attention(x, pooled, torch.ones(1, 1, 5))
    assert torch.allclose(model(x, torch.ones(1, 90, 1)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="spans the whole utterance"):
        small("causal", context="fixed")


def test_half_the_rate_is_the_mean_of_pairs_added_to_both():
    frames = torch.tensor([[[1.0], [3.0], [5.0], [9.0], [11.0]]])
    mask = torch.tensor([[[1.0], [1.0], [1.0], [1.0], [0.0]]])
    whole, _ = halve(frames, torch.ones(1, 5, 1), causal=False)
    assert whole.flatten().tolist() == [2.0, 7.0, 11.0]
    padded, pair_mask = halve(frames, mask, causal=False)
    assert (padded.flatten().tolist(), pair_mask.flatten().tolist()) == ([2.0, 7.0, 0.0], [1.0, 1.0, 0.0])
    past, pair_mask = halve(frames, mask, causal=True)  # of 2k - 1 and 2k
    assert (past.flatten().tolist(), pair_mask.flatten().tolist()) == ([1.0, 4.0, 9.0], [1.0, 1.0, 1.0])
    assert double(whole, 5).flatten().tolist() == [2.0, 2.0, 7.0, 7.0, 11.0]


def test_blocks_that_change_nothing_at_half_the_rate_change_nothing():
    """What they add is added to the frames, which themselves keep their full rate."""
    model, without = small(blocks=3, half_rate=1), small(blocks=2, half_rate=0)
    without.load_state_dict(
        {
            name.replace("blocks.2.", "blocks.1."): tensor
            for name, tensor in model.state_dict().items()
            if not name.startswith("blocks.1.")
        }
    )
    for layer in (model.blocks[1].mixer.ssm.output, model.blocks[1].feed_forward.down):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    mel = torch.randn(1, 77, 80)
    assert torch.allclose(model(mel)[0], without(mel)[0], atol=1e-6)


@pytest.mark.parametrize(("blocks", "half_rate", "halved"), [(8, 6, [1, 2, 3, 4, 5, 6]), (4, 1, [1]), (2, 0, [])])
def test_the_middle_blocks_have_half_the_rate(blocks, half_rate, halved):
    assert list(replace(SMALL, blocks=blocks, half_rate=half_rate).halved) == halved
    with pytest.raises(ValueError, match="more than there are blocks"):
        replace(SMALL, blocks=1, half_rate=2)


SHAPES = [("bidirectional", "hierarchical"), ("bidirectional", "fixed"), ("causal", "hierarchical")]


@pytest.mark.parametrize(("direction", "context"), SHAPES)
@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("frames", [1, 2, 7, 131, 700])
def test_padding_and_company_change_nothing(direction, context, stride, frames):
    model = small(direction, context=context, stride=stride)
    alone, companion = 3 * torch.randn(1, frames, 80) - 4, 3 * torch.randn(1, 900, 80) - 4
    expected, length = model(alone)
    assert expected.size(1) == length.item() == -(-frames // stride)
    batch = torch.cat([F.pad(alone, (0, 0, 0, 900 - frames), value=7.0), companion])
    together, lengths = model(batch, torch.tensor([frames, 900]))
    assert lengths.tolist() == [length.item(), 900 // stride]
    assert (together[:1, : length.item()] - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("frame", [40, 41, 200, 555])
def test_causal_model_never_sees_the_future(frame):
    model = small("causal")
    mel = torch.randn(1, 600, 80)
    changed = mel.clone()
    changed[:, frame:] = torch.randn(1, 600 - frame, 80)
    before, after = model(mel)[0], model(changed)[0]
    first = -(-frame // 2)  # output i is centred on input 2i and sees nothing after it
    assert torch.equal(before[:, :first], after[:, :first])
    assert not torch.allclose(before[:, first:], after[:, first:])


def test_bidirectional_model_sees_the_future_and_the_past():
    model = small()
    mel = torch.randn(1, 600, 80)
    late, early = mel.clone(), mel.clone()
    late[:, 500:] += 1.0
    early[:, :100] += 1.0
    base = model(mel)[0]
    assert not torch.allclose(base[:, 100], model(late)[0][:, 100], atol=1e-6)
    assert not torch.allclose(base[:, 250], model(early)[0][:, 250], atol=1e-6)


@pytest.mark.parametrize(("frames", "count"), [(500, 64), (64, 64), (30, 64), (1000, 125), (7, 3), (1, 64)])
def test_pooling_is_adaptive_average_pooling(frames, count):
    x = torch.randn(2, frames, 5) + 3.0
    pooled, mask = pool_to(F.pad(x, (0, 0, 0, 9)), torch.tensor([frames] * 2), torch.tensor([count] * 2), count + 4)
    expected = F.adaptive_avg_pool1d(x.transpose(1, 2), count).transpose(1, 2)
    assert (pooled[:, :count] - expected).abs().max() <= 1e-5
    assert pooled[:, count:].abs().max() == 0
    assert mask.squeeze(-1).sum(1).tolist() == [count, count]


def test_pooling_stays_exact_over_an_hour_of_frames():
    x = torch.randn(1, 180_000, 2) + 5.0
    pooled, _ = pool_to(x, torch.tensor([180_000]), torch.tensor([22_500]), 22_500)
    expected = F.adaptive_avg_pool1d(x.double().transpose(1, 2), 22_500).transpose(1, 2)
    assert (pooled - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(("direction", "context"), SHAPES)
def test_cost_is_linear_in_length(direction, context):
    model = small(direction, context=context, chunk=64)

    def operations(seconds: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, seconds * 100, 80))
        return counter.get_total_flops()

    assert operations(600) <= 10.2 * operations(60)


def test_saved_model_is_the_same_bytes_and_the_same_model(tmp_path):
    model = small()
    model.set_feature_statistics([1.0] * 80, [2.0] * 80)
    save_model(model, tmp_path / "a.safetensors")
    save_model(model, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    mel = torch.randn(1, 50, 80)
    assert torch.equal(load_model(tmp_path / "a.safetensors")(mel)[0], model(mel)[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_broken_or_foreign_weights_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not a model")
    with pytest.raises(VelocityError, match=r"weights\.safetensors: not a VELOCITY-ASR model"):
        read_weights(path)
    save_model(small(), path)
    with pytest.raises(VelocityError, match="other dimensions"):
        load_pretrained(small(dim=64), path)
    config = {name: value for name, value in SMALL.to_dict().items() if name != "head_rank"}
    save_file({}, path, metadata={"config": json.dumps(config)})  # as of a version that did not know the key
    with pytest.raises(VelocityError, match=r"weights\.safetensors: config\.head_rank: missing key"):
        read_weights(path)


def test_encoder_is_handed_over_without_head(tmp_path):
    donor, model = small(), VelocityModel(replace(SMALL, vocabulary=20))
    save_model(donor, tmp_path / "pretrained.safetensors")
    load_pretrained(model, tmp_path / "pretrained.safetensors")
    assert torch.equal(model.blocks[0].mixer.ssm.input.weight, donor.blocks[0].mixer.ssm.input.weight)
    assert model.head.weight.shape == (20, 32)
