"""Collects what starts nemo-toolkit only where PDAPT_NEMO_TOOLKIT names its environment's Python: `make test-nemo`.

The tests themselves run in pdapt's environment, which makes tokens and weights, and NeMo 2 in processes of its own.
"""

import os

if "PDAPT_NEMO_TOOLKIT" not in os.environ:
    collect_ignore_glob = ["test_*.py"]
