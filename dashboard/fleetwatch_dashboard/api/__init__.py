"""The HTTP API that the pages and other programs use."""
