"""Verify an exported model, as users run it, against PyTorch.

PyTorch in float64 is the judge. Each output of the export may err at most
:attr:`~mbert.export.precisions.Precision.factor` times as much as PyTorch computing in the
precision of the export.
"""
