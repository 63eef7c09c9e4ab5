"""Every knob of ``params.yaml`` as frozen dataclasses, and the strict reader that names the key it does not like.

One dataclass a section; a section is also what its DVC stage lists under ``params``.
"""

from __future__ import annotations

from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from velocity.errors import VelocityError

PARAMS_FILE = Path("params.yaml")

section = checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))


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
    context_layers: int = 2  # SSM layers over the first pooling
    context_state: int = 32
    context_window: int = 8  # frames a token of the first pooling: K1 = max(context_min, L / window)
    context_min: int = 64
    summary_min: int = 16  # K2 = min(summary_max, max(summary_min, K1 / 4)) tokens to attend to
    summary_max: int = 64
    attention_heads: int = 4
    attention_head_dim: int = 48
    vocabulary: int = 256  # CTC classes, blank (0) included
    head_rank: int = 0  # 0: a full CTC head; r: factorised dim → r → vocabulary

    @property
    def inner(self) -> int:
        return self.expand * self.dim

    @property
    def heads(self) -> int:
        return self.inner // self.head_dim

    def __post_init__(self) -> None:
        if self.inner % self.head_dim:
            raise ValueError(f"expand·dim = {self.inner} is not a multiple of head_dim = {self.head_dim}")
        if self.direction == "bidirectional" and self.heads % 2:
            raise ValueError(f"a bidirectional model needs an even number of SSM heads, not {self.heads}")
        if self.stride not in (2, 4):
            raise ValueError(f"stride must be 2 or 4, not {self.stride}")
        if self.dim % 4:
            raise ValueError(f"dim must be a multiple of 4 (positional encoding), not {self.dim}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


# How speakers are kept out of training: a share of them (drawn by a hash of the speaker's name, so that it stays the
# same when speakers are added), a regular expression searched for in the name, or a list of the corpus' official parts.
SpeakerSelection = float | str | tuple[str, ...]


@section
class SyntheticCorpus:
    """Speech made by espeak-ng on this machine. Synthetic: no claim about speech of people."""

    labelled: ClassVar[bool] = True
    kind: Literal["synthetic"]
    source: str  # a YAML file (vocabulary, sentence patterns, voices), or a text whose lines are read aloud
    utterances: int = 2000
    voices: int = 60
    words: tuple[int, int] = (2, 12)  # of a text's line an utterance takes, from anywhere in it
    test: SpeakerSelection = 0.2
    validation: SpeakerSelection = 0.1


@section
class FolderCorpus:
    """A folder of speech in LibriSpeech layout: audio files beside ``*.trans.txt`` ('ID TEXT' a line)."""

    kind: Literal["folder"]
    source: str  # the folder
    labelled: bool = True  # False: audio alone, used by pretraining only
    test: SpeakerSelection = 0.1
    validation: SpeakerSelection = 0.05


@section
class PartedCorpus:
    """A corpus that is published in parts; those that are listed are fetched."""

    labelled: ClassVar[bool] = True
    source: str
    train: tuple[str, ...]  # parts, such as train-clean-100
    validation: SpeakerSelection
    test: SpeakerSelection

    @property
    def parts(self) -> tuple[str, ...]:
        lists = (self.train, self.validation, self.test)
        return tuple(part for listed in lists if isinstance(listed, tuple) for part in listed)

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train: list at least one part")
        if repeated := sorted({part for part in self.parts if self.parts.count(part) > 1}):
            raise ValueError(f"{repeated[0]!r} is listed twice among train, validation and test")


@section
class LibriSpeechCorpus(PartedCorpus):
    """LibriSpeech or Mini LibriSpeech (Panayotov et al. 2015), by its parts; ``source`` is the table of archives."""

    kind: Literal["librispeech"]


@section
class SpeechOcean762Corpus(PartedCorpus):
    """speechocean762 (Zhang et al. 2021): its parts are train and test; ``source`` is the table of archives."""

    kind: Literal["speechocean762"]


@section
class CommonVoiceCorpus(PartedCorpus):
    """A release of Common Voice in English (Ardila et al. 2020); ``source`` is its archive, parts are its TSV files."""

    kind: Literal["common-voice"]


@section
class LibriLightCorpus:
    """Libri-Light (Kahn et al. 2020): untranscribed, for pretraining only; ``source`` is the table of archives."""

    labelled: ClassVar[bool] = False
    kind: Literal["librilight"]
    source: str
    parts: tuple[Literal["small", "medium", "large"], ...] = ("small",)


@section
class LJSpeechCorpus:
    """LJ Speech (Ito and Johnson 2017): one reader, so all is in one split; ``source`` is the table of archives."""

    labelled: ClassVar[bool] = True
    kind: Literal["ljspeech"]
    source: str
    test: SpeakerSelection = 0.0
    validation: SpeakerSelection = 0.0


AnyCorpus = (
    SyntheticCorpus
    | FolderCorpus
    | LibriSpeechCorpus
    | SpeechOcean762Corpus
    | CommonVoiceCorpus
    | LibriLightCorpus
    | LJSpeechCorpus
)
Corpus = Annotated[AnyCorpus, Field(discriminator="kind")]


Severity = Literal["refuse", "drop", "warn"]

# What ``validate`` looks for, and what it does about it unless ``validate.severity`` says otherwise: a delivery that is
# broken is refused, an utterance that is of no use for training is dropped, what may be meant so is told.
SEVERITIES: dict[str, Severity] = {
    "unreadable-audio": "refuse",  # the first six are found while the corpus is fetched
    "transcript-without-audio": "refuse",
    "audio-without-transcript": "refuse",
    "duplicate-id": "refuse",
    "malformed-transcript": "refuse",
    "unknown-speaker": "refuse",
    "truncated-audio": "refuse",
    "sample-rate": "refuse",
    "channels": "refuse",
    "not-a-number": "refuse",
    "silence": "drop",
    "clipping": "drop",
    "dc-offset": "drop",
    "too-short": "drop",
    "duplicate-audio": "drop",
    "id-in-two-corpora": "warn",
    "too-long": "drop",
    "outside-recording": "refuse",
    "foreign-letters": "drop",
    "empty-text": "drop",
    "pace": "drop",
    "ctc-infeasible": "drop",
    "speaker-in-two-splits": "drop",
    "sentence-in-two-splits": "warn",
}


@section
class Drift:
    """How far a corpus may be from the version that was accepted last (``velocity-asr accept``)."""

    severity: Literal["refuse", "warn"] = "warn"
    max_psi: float = 0.25  # population stability index: 0.1 to 0.25 is a shift, above it a large one (Siddiqi 2006)
    max_vocabulary_divergence: float = 0.1  # bits, Jensen–Shannon, between the frequencies of words
    max_new_words: float = 0.05  # share of the running words that the accepted version did not have, beyond its own
    max_new_speakers: float = 1.0  # share of the speakers


@section
class Validation:
    """The limits of each check, what is done about what breaks them, and how much may be lost."""

    severity: dict[str, Severity] = field(default_factory=dict)  # of checks that differ from SEVERITIES
    max_dropped: float = 0.05  # share of a corpus; if more would be dropped, it is refused
    min_rate: int = 8000  # Hz
    max_rate: int = 192_000
    max_channels: int = 2
    min_seconds: float = 0.2
    max_seconds: float = 40.0  # of an utterance with text; others are cut into windows
    max_clipped: float = 0.01  # share of samples at full scale
    min_level_db: float = -60.0  # RMS relative to full scale: below is silence
    max_dc_offset: float = 0.05  # mean of the samples
    min_characters_per_second: float = 1.0
    max_characters_per_second: float = 35.0
    drift: Drift = field(default_factory=Drift)

    def __post_init__(self) -> None:
        if unknown := sorted(self.severity.keys() - SEVERITIES.keys()):
            raise ValueError(f"severity: no check is called {unknown[0]!r}; there are {', '.join(SEVERITIES)}")

    def severity_of(self, check: str) -> Severity:
        return self.severity.get(check, SEVERITIES[check])


@section
class Tokenizer:
    kind: Literal["characters", "bpe"] = "characters"
    vocabulary: int = 256  # pieces of a BPE tokenizer; characters are counted from the text


@section
class Sharding:
    """Lhotse Shar shards of the training set, for many hours on a shared store."""

    url: str = ""  # a folder or any other URL fsspec knows, such as s3://bucket/folder; "": no shards
    shard_size: Annotated[int, Field(ge=1)] = 1000  # utterances
    audio: Literal["flac", "opus"] = "flac"
    cache_gb: Annotated[float, Field(ge=0)] = 20.0  # of copies, when the store is not a local folder


@section
class Preparation:
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    shards: Sharding = field(default_factory=Sharding)


Share = Annotated[float, Field(ge=0, le=1)]


@section
class Augmentation:
    """Training-time distortions, in the order in which they happen to a sound; each is off at 0 (speeds: at [1.0])."""

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    rooms: Share = 0.0  # share of utterances heard in a room
    room_source: str | None = None  # a folder of impulse responses; without one, rooms are simulated
    simulated_rooms: Annotated[int, Field(ge=1)] = 40
    room_rt60: tuple[float, float] = (0.2, 0.6)  # seconds in which the sound of a simulated room falls by 60 dB
    noise: Share = 0.0  # share of utterances that get noise
    noise_source: str | None = None  # a folder of recordings; without one, noise is generated, white to pink
    noise_snr_db: tuple[float, float] = (10.0, 40.0)
    gain_db: float = 6.0  # uniform in ±gain_db
    telephone: Share = 0.0  # share heard over a telephone: 300 to 3400 Hz, 8 kHz, µ-law
    codec: Share = 0.0  # share encoded and decoded by one of the codecs
    codecs: tuple[Literal["opus", "vorbis", "mp3"], ...] = ("opus", "vorbis", "mp3")
    time_masks: int = 2
    time_mask_share: Share = 0.05  # longest time mask, as a share of the utterance
    frequency_masks: int = 2
    frequency_mask_bins: Annotated[int, Field(ge=0, le=80)] = 15

    def __post_init__(self) -> None:
        if not self.speeds or min(self.speeds) <= 0:
            raise ValueError(f"speeds must be factors above 0, 1.0 for as it is, not {list(self.speeds)}")
        if not 0 < self.room_rt60[0] <= self.room_rt60[1]:
            raise ValueError(f"room_rt60 must be [low, high] in seconds, above 0, not {list(self.room_rt60)}")
        if self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise ValueError(f"noise_snr_db must be [low, high] in dB, not {list(self.noise_snr_db)}")
        if self.codec and not self.codecs:
            raise ValueError("codec is on, but codecs names none")


@section
class Optimisation:
    steps: int
    batch_seconds: float = 120.0
    learning_rate: float = 0.001
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    checkpoint_every: int = 200  # steps; a killed training goes on from the last one
    validate_every: int = 200  # steps


@section
class Pretraining:
    """Stage 1: masked-spectrogram prediction."""

    optimisation: Optimisation
    # The specification starts a 10-frame mask at 15 % of the frames and calls it "about 50 %" masked; that masks 80 %.
    # 0.067 gives the intended half: 1 - (1 - 0.067)^10 = 0.50.
    mask_start: float = 0.067
    mask_span: int = 10  # feature frames
    band_probability: float = 0.3  # of also masking a band of frequencies
    band_bins: tuple[int, int] = (5, 10)


@section
class Finetuning:
    """Stage 2: CTC with INT8 quantisation-aware training."""

    optimisation: Optimisation
    use_pretrained: bool = True
    qat: bool = True
    qat_start: float = 0.6  # share of the steps trained in floating point first
    augmentation: Augmentation = field(default_factory=Augmentation)


@section
class Calibration:
    """Stage 3: where the activation ranges of the INT8 model come from."""

    ranges: Literal["trained", "minmax", "percentile"] = "trained"
    utterances: int = 200
    percentile: float = 99.99


@section
class Evaluation:
    bootstrap: int = 1000  # resamples for the 95 % interval
    worst: int = 30  # utterances listed in the error report


@section
class Benchmarking:
    repeats: int = 7
    lengths: tuple[float, ...] = (1.0, 5.0, 10.0, 30.0, 60.0)  # seconds


@section
class Params:
    seed: int
    threads: int
    corpora: dict[str, Corpus]
    validate: Validation
    prepare: Preparation
    model: ModelConfig
    pretrain: Pretraining
    finetune: Finetuning
    calibrate: Calibration
    evaluate: Evaluation
    benchmark: Benchmarking


def load_params(path: str | Path = PARAMS_FILE) -> Params:
    """Read and check ``params.yaml`` (YAML 1.2, as DVC reads it).

    Raises VelocityError, on one line, for a missing file, a syntax error, an unknown or missing key, a wrong type or
    an impossible combination; the message names the key.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        with open(path, encoding="utf-8") as file:
            document = YAML(typ="safe").load(file)
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}; run this in the project's folder") from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise VelocityError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    return parse_params(document, str(path))


def parse_params(document: Any, source: str = "params") -> Params:
    """A plain dictionary → Params. Raises VelocityError naming the first faulty key of ``source``."""
    try:
        return TypeAdapter(Params).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        parts = list(first["loc"])
        if len(parts) > 2 and parts[0] == "corpora":
            del parts[2]  # pydantic's name of the corpus kind, not a key of the file
        key = ".".join(map(str, parts))
        what = {
            "unexpected_keyword_argument": "unknown key",
            "missing": "missing key",
            "dataclass_type": "must be a section of keys",
        }.get(first["type"], first["msg"].removeprefix("Value error, "))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise VelocityError(f"{source}: {key}: {what}{more}") from error
