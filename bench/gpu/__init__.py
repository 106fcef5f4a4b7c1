"""Check and time the CUDA kernels on a real GPU.

``python bench/gpu/run.py`` in a checkout needs PyTorch with CUDA and nvcc; mbert need not be
installed. Each step runs in a separate process, since an illegal memory access makes the GPU
unusable for the process that caused it.
"""
