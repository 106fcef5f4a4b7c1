"""Every error that mbert raises on purpose.

Each message says what was found, what was expected and what to do about it.
"""

from __future__ import annotations


class MbertError(Exception):
    """The base of all errors raised by mbert."""


class CheckpointError(MbertError):
    """A checkpoint cannot be read, or is not a ModernBERT encoder that mbert supports."""


class ExportError(MbertError):
    """An export could not be completed, or missed its tolerance; nothing was left behind."""


class BundleError(MbertError):
    """A bundle is missing, damaged, or of a format this version does not read."""


class BackendError(MbertError):
    """A backend (ONNX Runtime, its operator library, a device) is missing or refused to run."""


class InputError(MbertError, ValueError):
    """What was passed in cannot be computed: token ids out of range, too long, a wrong shape."""
