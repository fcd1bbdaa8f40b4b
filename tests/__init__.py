"""The tests; Triton's kernels run in its interpreter, which it must know before anything, torch included, imports it."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
