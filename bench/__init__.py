"""Latency, throughput and memory of a bundle, beside other programs that compute the same."""
