"""The CUDA kernels on a real GPU: whether they are right, and how fast.

``python bench/gpu/run.py`` in a checkout needs PyTorch with CUDA and nvcc, and nothing installed of
mbert. Every step runs in a process of its own, since a kernel that touches what it must not leaves
the process without a GPU.
"""
