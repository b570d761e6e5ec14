"""``python -m rcm_bench``."""

from rcm_bench.cli import main

if __name__ == "__main__":
    main()
