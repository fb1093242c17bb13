"""Does it train? Error curves, training from scratch and conversion: README.md has the protocol."""
