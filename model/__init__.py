"""Encoders and heads in PyTorch on packed tokens: the source of every export and its reference."""
