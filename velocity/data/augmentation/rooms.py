"""Speech as a microphone in a room records it: convolution with impulse responses, simulated or recorded.

Simulated rooms are boxes whose echoes come from mirror images of the talker (Allen & Berkley 1979), by pyroomacoustics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from velocity.audio import SAMPLE_RATE
from velocity.config.section import Share, section
from velocity.data.augmentation import Apply, Effect, in_share
from velocity.data.sounds import find_sounds
from velocity.progress import track

SMALLEST, LARGEST = (3.0, 2.5, 2.4), (8.0, 6.0, 3.5)  # m: length, width, height
FROM_WALL = 0.4  # m that talker and microphone keep from walls
DISTANCE = (0.3, 3.0)  # m between them
SPEED_OF_SOUND = 343.0  # m/s
DECAY = 3 * np.log(10)  # in RT60 seconds an amplitude falls by this many e-foldings: 60 dB


@dataclass(frozen=True)
class Room:
    """An impulse response, (taps,) float32 at 16 kHz, and the tap at which the direct sound arrives."""

    response: np.ndarray
    direct: int


DrawRoom = Callable[[np.random.Generator], Room]


@section
class Rooms(Effect):
    order, off = 20, {"rooms": 0.0}

    rooms: Share  # share of the utterances moved into a room
    room_source: str | None  # a folder of impulse responses; without one, rooms are simulated
    simulated_rooms: Annotated[int, Field(ge=1)]
    room_rt60: tuple[float, float]  # seconds in which the sound of a simulated room falls by 60 dB

    def check(self) -> None:
        if not 0 < self.room_rt60[0] <= self.room_rt60[1]:
            raise ValueError(f"room_rt60 must be [low, high] in seconds, above 0, not {list(self.room_rt60)}")

    def prepare(self, seed: int) -> Apply | None:
        draw = rooms_from(self, seed) if self.rooms else None
        return in_share(self.rooms, lambda samples, random: reverberate(samples, draw(random)))


def rooms_from(settings: Rooms, seed: int) -> DrawRoom:
    """A function that draws a room: from the responses below ``room_source``, or else of those simulated here.

    Raises VelocityError when the folder is missing or holds no audio.
    """
    if settings.room_source is None:
        seeds = [[seed, index] for index in range(settings.simulated_rooms)]
        rooms = [simulate_room(settings.room_rt60, seed) for seed in track(seeds, "simulate rooms", len(seeds))]
        return lambda random: rooms[random.integers(len(rooms))]
    sounds = find_sounds("finetune.augmentation.room_source", settings.room_source)

    def draw(random: np.random.Generator) -> Room:
        response = sounds[random.integers(len(sounds))].read()
        return Room(response, int(np.abs(response).argmax()))

    return draw


def simulate_room(rt60: tuple[float, float], seed: list[int]) -> Room:
    """A box, a talker and a microphone in it, all drawn, with a reverberation time drawn from ``rt60`` seconds.

    Walls absorb what Eyring's formula asks for. Boxes with flat walls ring longer than it says, so air takes the rest:
    the response is damped until its measured reverberation time is the one that was drawn.
    """
    import pyroomacoustics

    random = np.random.default_rng(seed)
    asked = random.uniform(*rt60)
    size = random.uniform(SMALLEST, LARGEST)
    microphone = random.uniform(FROM_WALL, size - FROM_WALL)
    talker = np.clip(microphone + _direction(random) * random.uniform(*DISTANCE), FROM_WALL, size - FROM_WALL)
    length, width, height = size
    surface = 2 * (length * width + width * height + height * length)
    absorbed = 1 - np.exp(-8 * DECAY * size.prod() / (SPEED_OF_SOUND * surface * asked))
    pyroomacoustics.constants.set("num_threads", 1)  # sums of several threads would depend on how many there are
    box = pyroomacoustics.ShoeBox(
        size,
        fs=SAMPLE_RATE,
        materials=pyroomacoustics.Material(absorbed),
        max_order=int(np.ceil(SPEED_OF_SOUND * asked / size.min())),
    )
    box.add_source(talker)
    box.add_microphone(microphone)
    box.compute_rir()
    spread = pyroomacoustics.constants.get("frac_delay_length") // 2  # taps on either side of an echo
    direct = round(np.linalg.norm(talker - microphone) / SPEED_OF_SOUND * SAMPLE_RATE) + spread
    response = box.rir[0][0][: direct + round(asked * SAMPLE_RATE)]
    seconds = np.maximum(0, np.arange(len(response)) - direct) / SAMPLE_RATE
    for _ in range(3):  # the decay is no straight line, so once is not enough
        measured = reverberation_time(response[direct + spread :])
        response = response * np.exp(-DECAY * seconds * (1 / asked - 1 / measured))
    return Room(response.astype(np.float32), direct)


def _direction(random: np.random.Generator) -> np.ndarray:
    vector = random.standard_normal(3)
    return vector / np.linalg.norm(vector)


def reverberation_time(response: np.ndarray) -> float:
    """Seconds in which echoes fall by 60 dB, from their fall from -5 to -25 dB (T20 of ISO 3382; Schroeder 1965).

    ``response`` begins after the direct sound, which would be a fall of its own when the talker is near.
    """
    left = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]  # energy still to come
    level = 10 * np.log10(left / left[0] + 1e-12)
    fall = np.flatnonzero((level < -5) & (level > -25))
    slope, _ = np.polyfit(fall / SAMPLE_RATE, level[fall], 1)
    return float(-60 / slope)


def reverberate(samples: np.ndarray, room: Room) -> np.ndarray:
    """(samples,) → (samples,) float32 of the same power; the direct sound stays where it was, so labels do too."""
    from scipy.signal import oaconvolve

    wet = oaconvolve(samples, room.response)[room.direct : room.direct + len(samples)].astype(np.float32, copy=False)
    before, after = (float(np.square(signal, dtype=np.float64).sum()) for signal in (samples, wet))
    return wet * np.float32(np.sqrt(before / after)) if after else wet


EFFECT = Rooms
