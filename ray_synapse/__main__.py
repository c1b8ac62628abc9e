"""``python -m ray_synapse`` is the command ``ray-synapse``."""

import sys

from ray_synapse.cli import main

if __name__ == "__main__":
    sys.exit(main())
