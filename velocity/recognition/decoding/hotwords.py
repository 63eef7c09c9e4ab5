"""Hot words: phrases whose letters are rewarded while they are spelled; an incomplete phrase loses its reward again.

The phrases, each between two spaces, form an Aho–Corasick automaton over characters (Aho & Corasick 1975), so a phrase
is found wherever it begins and whatever pieces the tokenizer has. The reward of a complete phrase stays; that of a part
is only lent, as in the context graph of icefall (k2-fsa), here for CTC prefixes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping


class Node:
    """A state of the automaton: the longest suffix of the text so far that is a prefix of a phrase."""

    __slots__ = ("fail", "lent", "letters", "next", "reward")

    def __init__(self, letters: int = 0) -> None:
        self.next: dict[str, Node] = {}
        self.fail: Node = self
        self.letters = letters  # of the phrase so far
        self.lent = 0.0  # nats for the incomplete phrase
        self.reward = 0.0  # nats for the phrases that end with this character


class HotWords:
    """``phrases``: normalised text → nats per letter. ``words`` are all their words.

    >>> node, earned = hot.start, 0.0
    >>> for character in "to ann ": node, reward = hot.step(node, character); earned += reward
    >>> earned + node.lent
    """

    def __init__(self, phrases: Mapping[str, float]) -> None:
        self.words = frozenset(word for phrase in phrases for word in phrase.split())
        self._sorted = sorted(self.words)
        self._root = Node()
        for phrase, weight in phrases.items():
            node = self._root
            for character in f" {phrase} ":
                node = node.next.setdefault(character, Node(node.letters + (character != " ")))
                node.lent = max(node.lent, weight * node.letters)
            node.reward += weight * node.letters
            node.lent = 0.0
        self._link()
        self.start = self.step(self._root, " ")[0]

    def _link(self) -> None:
        pending = deque()
        for node in self._root.next.values():
            node.fail = self._root
            pending.append(node)
        while pending:
            node = pending.popleft()
            for character, child in node.next.items():
                child.fail = self._follow(node.fail, character)
                child.reward += child.fail.reward  # of shorter phrases that end here
                pending.append(child)
            node.lent = max(node.lent, node.fail.lent)

    def _follow(self, node: Node, character: str) -> Node:
        while character not in node.next and node is not self._root:
            node = node.fail
        return node.next.get(character, self._root)

    def begins(self, letters: str) -> bool:
        """Whether a word of them begins with ``letters``."""
        place = bisect_left(self._sorted, letters)
        return place < len(self._sorted) and self._sorted[place].startswith(letters)

    def continuations(self, node: Node) -> set[str]:
        """The words by which a phrase that was begun goes on; ``node`` stands behind a space."""
        found = set()
        while node not in (self.start, self._root):
            pending = [("", node)]
            while pending:
                letters, at = pending.pop()
                for character, child in at.next.items():
                    if character == " ":
                        found.add(letters)
                    else:
                        pending.append((letters + character, child))
            node = node.fail
        return found

    def step(self, node: Node, character: str) -> tuple[Node, float]:
        """(the next node, the nats earned for good). ``node.lent`` counts only while the text is at that node."""
        node = self._follow(node, character)
        return node, node.reward
