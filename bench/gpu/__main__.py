"""Run the GPU bench as ``python -m mbert.bench.gpu``, on the sources of a checkout."""

from .cli import main

if __name__ == "__main__":
    main()
