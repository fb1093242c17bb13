"""Golden vectors and the numpy twin that computes them: numpy alone, no torch.

The twin is written from the paper (arXiv 2106.12566) and the texts of model/weights, independently
of our C++ code and of the torch modules beside it. How goldens are made: tests/golden/README.md.
"""
