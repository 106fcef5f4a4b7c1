"""Print how similar the lines of a file are: cosines of their embeddings.

Usage: similarity.py BUNDLE FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import mbert


def main() -> None:
    bundle, file = sys.argv[1:]
    texts = Path(file).read_text(encoding="utf-8").splitlines()
    with mbert.load(bundle) as model:
        vectors = model.embed(texts)
    cosines = vectors @ vectors.T
    for i, text in enumerate(texts):
        print(f"{i}  {' '.join(f'{cosine:5.2f}' for cosine in cosines[i])}  {text}")


if __name__ == "__main__":
    main()
