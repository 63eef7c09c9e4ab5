"""The model card (Mitchell et al., "Model Cards for Model Reporting", 2019): what the model is, is for, and is not."""

from __future__ import annotations

from velocity.evaluation.report import MODEL, Results, accuracy, corpora, headline, parity, table


def model_card(results: Results) -> str:
    """``reports/MODEL_CARD.md``."""
    return (
        "\n\n".join(
            [
                f"# {MODEL}: model card",
                results.trained_on,
                headline(results),
                "## The model",
                _dimensions(results),
                "Log-mel features (80 bins, 25 ms windows, 10 ms hop, 16 kHz) go through a strided convolution with a "
                "two-dimensional positional encoding, selective state-space blocks (Mamba-2's structured state-space "
                "duality), a pooled global context with attention, a gated fusion, and a CTC layer. The INT8 artefact "
                "has 8-bit weights, a scale an output channel, and 8-bit activations in its linear layers; the scan "
                "and its state stay in 32 bits.",
                "## What it is for",
                "English speech to text on a phone, in a browser or on one processor core, offline, in the kind of "
                "speech it was trained on: lower-case words without punctuation.",
                "Not for: other languages, several people at once, telling who speaks, or any use in which a wrong "
                "word does harm and nobody checks.",
                "## What it was trained on",
                corpora(results),
                "## How well it does",
                accuracy(results),
                "The error rates hold for speech like that of the test set. Accents, ages, microphones and noise that "
                "it did not hear in training make them worse; measure on your own speech before relying on them: "
                "`velocity-asr evaluate --test-set path/to/speech`.",
                "## How close the artefacts are to the trained network",
                parity(results),
                "## Licence",
                "Code and weights: Apache-2.0. What is trained on other speech is bound by its licence.",
            ]
        )
        + "\n"
    )


def _dimensions(results: Results) -> str:
    model = results.params.model
    rows = {
        "parameters": f"{results.metrics['params']:,}",
        "width": str(model.dim),
        "blocks": f"{model.blocks}, state {model.state}, expansion {model.expand}",
        "frame": f"{10 * model.stride} ms",
        "direction": model.direction,
        "context": f"{model.context_layers} layers, state {model.context_state}",
        "attention": f"{model.attention_heads} heads of {model.attention_head_dim}",
        "classes": str(results.data["vocabulary"]),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()])
