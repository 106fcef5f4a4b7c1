"""``python -m mbert.bench.gpu``: the installed package, on the sources of a checkout."""

from .cli import main

if __name__ == "__main__":
    main()
