"""What a recogniser gets wrong: the worst utterances with their alignment, confusions, and errors by speaker, length
and confidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from velocity.evaluation.breakdown import aligned, by_confidence, by_length, by_speaker
from velocity.evaluation.hypotheses import Recognition
from velocity.evaluation.page import page
from velocity.evaluation.testset import Utterance
from velocity.evaluation.wer import score, summarize
from velocity.files import write_json, write_text

LISTED = 50  # confusions of each kind


def error_report(utterances: Sequence[Utterance], recognition: Recognition) -> dict[str, Any]:
    """The figures of ``summarize`` as ``overall``, the tables of ``breakdown`` as ``speakers``, ``lengths`` and
    ``confidences``, counts of the confusions, and in ``errors`` every utterance with an error, worst first (errors a
    reference word, then id).

    ``alignment`` is a list of [reference word, hypothesis word], "" where one has no counterpart.
    Raises VelocityError when there is no reference word.
    """
    references = [utterance.text for utterance in utterances]
    scored = score(references, recognition.hypotheses)
    listed, substituted, deleted, inserted = [], Counter(), Counter(), Counter()
    for index, (utterance, hypothesis) in enumerate(zip(utterances, recognition.hypotheses, strict=True)):
        if not scored.word_errors[index]:
            continue
        pairs = aligned(utterance.text, hypothesis)
        for word, recognised in pairs:
            if not recognised:
                deleted[word] += 1
            elif not word:
                inserted[recognised] += 1
            elif word != recognised:
                substituted[word, recognised] += 1
        listed.append(
            {
                "id": utterance.id,
                "audio": str(utterance.path),
                "start": utterance.start,
                "seconds": round(recognition.lengths[index], 3),
                "speaker": utterance.speaker,
                "reference": utterance.text,
                "hypothesis": hypothesis,
                "errors": int(scored.word_errors[index]),
                "words": int(scored.words[index]),
                "alignment": pairs,
                "confidences": [round(value, 3) for value in recognition.confidences[index]],
            }
        )
    listed.sort(key=lambda entry: (-entry["errors"] / max(entry["words"], 1), -entry["errors"], entry["id"]))
    return {
        "overall": summarize(scored),
        "utterances": len(utterances),
        "with_errors": len(listed),
        "substitutions": [[*words, count] for words, count in _most_common(substituted)],
        "deletions": [[word, count] for word, count in _most_common(deleted)],
        "insertions": [[word, count] for word, count in _most_common(inserted)],
        "speakers": by_speaker(utterances, scored),
        "lengths": by_length(recognition.lengths, scored),
        "confidences": by_confidence(references, recognition.hypotheses, recognition.confidences),
        "errors": listed,
    }


def _most_common(counter: Counter) -> list[tuple[Any, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:LISTED]


def write_error_report(report: dict[str, Any], title: str, path: Path, worst: int) -> None:
    """Write ``path``.json with everything and ``path``.html with the ``worst`` utterances."""
    write_json(path.with_name(f"{path.name}.json"), report)
    write_text(path.with_name(f"{path.name}.html"), page(report, title, worst, path.parent))
