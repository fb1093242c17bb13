"""Text to train on: documents out of Debian packages, kept as bytes in one file."""
