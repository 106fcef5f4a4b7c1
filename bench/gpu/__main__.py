"""Run the GPU bench: ``python -m mbert.bench.gpu``, with a checkout's sources."""

from .cli import main

if __name__ == "__main__":
    main()
