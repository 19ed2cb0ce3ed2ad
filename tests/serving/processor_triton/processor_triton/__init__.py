"""A backend of Triton's that is there in name alone: with TRITON_INTERPRET=1 kernels run in Python, on a processor."""
