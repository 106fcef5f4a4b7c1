"""Checkpoint to bundle: trace, write, verify."""

from .pipeline import convert, plan_export
from .plan import ExportPlan

__all__ = ["ExportPlan", "convert", "plan_export"]
