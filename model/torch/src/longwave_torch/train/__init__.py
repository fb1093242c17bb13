"""Training of encoders: `python -m longwave_torch.train --help`."""
