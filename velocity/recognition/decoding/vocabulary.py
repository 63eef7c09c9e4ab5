"""What a search for words in phones knows: how words sound, and what each is worth after those before. It lies in the
memory of a WebAssembly module, of which ``wasm/`` has the source."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np

from velocity.recognition.decoding.hotwords import HotWords
from velocity.recognition.language_model.ngram import NGram

if TYPE_CHECKING:
    import wasmtime

MODULE = Path(__file__).with_name("phone_search.wasm")
NO_WORD = -1  # in place of a word's id: phones that are no word's


class Vocabulary:
    """A word is worth ``lm_weight`` · ln P_LM + ``word_bonus`` + rewards of hot words, as ``TextFusion``'s, but P_LM is
    a mixture if the language model has a recurrent network. What is no word costs as much as an unknown word. A
    beginning is worth the unigram of the most probable word that begins so (Ortmanns et al. 1996, "Language-model
    look-ahead")."""

    def __init__(
        self,
        lm: NGram,
        hotwords: HotWords | None,
        lm_weight: float,
        word_bonus: float,
        added: Mapping[str, bytes] | None = None,
    ) -> None:
        """``lm`` has pronunciations; ``added`` has those of the hot words that it lacks."""
        import wasmtime

        engine, module = _compiled()
        self._store = wasmtime.Store(engine)
        self._functions = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._lock = RLock()  # a store is for one thread at a time
        self.call("_initialize")
        for level in lm.levels:
            contexts = self._stored(level.contexts.astype("<u4"))
            words, first = self._stored(level.words.astype("<u4")), self._stored(level.first.astype("<u4"))
            log_probs, backoffs = self._stored(level.log_probs.decoded()), self._stored(level.backoffs.decoded())
            self.call("add_level", len(level.words), words, log_probs, len(level.contexts), contexts, first, backoffs)
            self.call("release", contexts)

        added = added or {}
        self._words = [*lm.words, *added]
        numbers = np.array([*range(len(lm.words)), *map(lm.id, added)], dtype="<u4")
        sounds = [*lm.pronunciations, *added.values()]
        lengths = np.array([len(sound) for sound in sounds], dtype="<u2")
        phones = np.frombuffer(b"".join(sounds), dtype=np.uint8)
        places = [self._stored(array) for array in (numbers, phones, lengths)]
        self.call("set_words", len(sounds), *places, lm_weight, word_bonus)
        self.call("release", places[2])
        if (network := lm.recurrent) is not None:
            data = self._stored(np.frombuffer(network.packed(), dtype=np.uint8))
            self.call("set_network", data, len(network.biases), network.share, network.step)
        if hotwords:
            ids = {word: len(lm.words) + index for index, word in enumerate(added)}
            self._add(hotwords, {word: ids.get(word) or lm.id(word) for word in hotwords.words})

    def _add(self, hotwords: HotWords, ids: Mapping[str, int]) -> None:
        """All places in their phrases, and how words lead from one to another."""
        places = {hotwords.start: 0}
        pending = [hotwords.start]
        while pending:
            place = pending.pop()
            self.call("lend", places[place], place.lent)
            for word in sorted(hotwords.words if place is hotwords.start else hotwords.continuations(place)):
                after, earned = place, 0.0
                for letter in f"{word} ":
                    after, reward = hotwords.step(after, letter)
                    earned += reward
                if after not in places:
                    places[after] = len(places)
                    pending.append(after)
                whole = earned + after.lent
                self.call("spell", places[place], ids[word], places[after], earned, place.lent, whole)

    def text(self, word: int) -> str:
        """Nothing for NO_WORD."""
        return self._words[word] if word != NO_WORD else ""

    def call(self, name: str, *arguments: float) -> int | None:
        """A function of the module."""
        with self._lock:
            return self._functions[name](self._store, *arguments)

    def numbers(self, name: str, *arguments: float) -> np.ndarray:
        """What a function of the module gives that returns a place in memory: (numbers,) int32."""
        with self._lock:
            place = self.call(name, *arguments)
            (count,) = np.frombuffer(self._memory.read(self._store, place, place + 4), dtype="<i4")
            return np.frombuffer(self._memory.read(self._store, place + 4, place + 4 + 4 * count), dtype="<i4")

    def accept(self, search: int, log_probs: np.ndarray) -> None:
        with self._lock:
            place = self._stored(log_probs.astype("<f8"))
            self.call("accept", search, place, len(log_probs))
            self.call("release", place)

    def _stored(self, array: np.ndarray) -> int:
        """The place of a copy."""
        place = self.call("allocate", array.nbytes)
        self._memory.write(self._store, array.tobytes(), place)
        return place

    @property
    def _memory(self) -> wasmtime.Memory:
        return self._functions["memory"]


@cache
def _compiled() -> tuple[wasmtime.Engine, wasmtime.Module]:
    import wasmtime

    config = wasmtime.Config()
    config.parallel_compilation = False  # its threads do not survive a fork
    engine = wasmtime.Engine(config)
    atexit.register(_compiled.cache_clear)  # wasmtime cannot free them when Python has ended
    return engine, wasmtime.Module.from_file(engine, str(MODULE))
