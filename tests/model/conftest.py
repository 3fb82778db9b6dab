"""Opens what the parity tests compare with, before any of them imports transformers."""

from tests.oracle import open_oracle

open_oracle()
