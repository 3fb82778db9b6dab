"""The networks: promptable segmentation and tracking with a memory of fixed size. Torch only."""
