"""Parts of `python -m longwave_torch.evaluate`: tasks, competitors, metrics, report."""
