"""Encode texts by PyLate, as a program in an environment with PyLate's releases.

Standard input is JSON: ``texts``, and ``folders`` by name. The argument names an output file of
arrays: ``{folder}/{role}/{i}``, the vectors of text i; ``{folder}/scores``, MaxSim of the first
text as a query with each as a document.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from pylate import models, scores


def main(target: str) -> None:
    request = json.load(sys.stdin)
    texts, arrays = request["texts"], {}
    for name, folder in request["folders"].items():
        model = models.ColBERT(folder, device="cpu")
        queries = model.encode(texts, is_query=True)
        documents = model.encode(texts, is_query=False)
        for role, vectors in (("query", queries), ("document", documents)):
            arrays.update({f"{name}/{role}/{i}": array for i, array in enumerate(vectors)})
        # One by one: a batch is padded with zeros, which would count where all products are less.
        found = [scores.colbert_scores(queries[:1], document[None]) for document in documents]
        arrays[f"{name}/scores"] = np.array([float(score) for score in found])
    np.savez(target, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
