"""Independent implementation of the documented PyTorch Lightning API."""
