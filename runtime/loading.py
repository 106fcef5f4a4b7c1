"""Load a bundle as the model of its task."""

from __future__ import annotations

import os
from functools import partial

from mbert.errors import InputError

from .backends import open_session
from .bundle import open_bundle
from .engine import Engine
from .inputs import check_choice, check_count
from .model import Model
from .tasks import TASKS
from .tasks.base import TaskContext
from .tokenization import Tokenizer
from .windows import OVERFLOWS


def load(
    bundle: str | os.PathLike[str],
    *,
    threads: int | None = None,
    device: str | None = None,
    overflow: str | None = None,
    kernels: bool = True,
) -> Model:
    """Load a bundle.

    Args:
        bundle: a folder written by ``mbert-export``.
        threads: threads of one call of the graph; None: one for each core that this process may
            use, a container's quota included. (Tokenizing has threads too: see the ``tokenizers``
            library's ``RAYON_NUM_THREADS``.)
        device: "cpu" for a bundle for the CPU; "cuda" or "cuda:1" (the second GPU) for a bundle
            for a GPU; None: the bundle's target.
        overflow: default of every call for texts that are too long: "error", "truncate" or,
            where the task has windows, "window"; None: the task's default.
        kernels: run mbert's kernels. False runs the standard operators that the bundle carries for
            each of them: slower, for debugging.

    A bundle for a GPU never runs on a CPU instead. The first load on a machine can take long if an
    engine is built then (the log says so).

    Returns:
        The model of the bundle's task: an Embedder, a SparseEmbedder, a MultiVectorEmbedder, a
        Classifier or (with one label) Reranker, a TokenClassifier, a QuestionAnswerer or a
        MaskFiller.

    Raises:
        BundleError: not a bundle, a newer format, or files that changed since the export.
        BackendError: the backend or the GPU is missing or refuses the bundle.
        InputError: an invalid option.
    """
    check_options(threads, overflow)
    opened = open_bundle(bundle)
    manifest = opened.manifest
    model = TASKS[manifest.task].model(manifest)
    if overflow is not None and overflow not in model.overflows:
        raise InputError(
            f"overflow is {overflow!r}; {opened.folder} is a {manifest.task} bundle, which offers "
            f"{' or '.join(model.overflows)}."
        )
    tokenizer = None
    if opened.tokenizer is not None:
        tokenizer = Tokenizer(opened.tokenizer, manifest.limits, manifest.vocab_size)
    engine = Engine(
        manifest,
        partial(open_session, opened, threads=threads, device=device, kernels=kernels),
    )
    return model(
        TaskContext(opened.folder, manifest, tokenizer, overflow),
        engine,
        partial(
            load,
            opened.folder,
            threads=threads,
            device=device,
            overflow=overflow,
            kernels=kernels,
        ),
    )


def check_options(threads: int | None, overflow: str | None) -> None:
    """Raise InputError unless these options of :func:`load` are valid."""
    if threads is not None:
        check_count("threads", threads, ", or None")
    if overflow is not None:
        check_choice("overflow", overflow, OVERFLOWS)
