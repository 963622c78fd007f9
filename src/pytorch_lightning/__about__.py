"""What this distribution says of itself."""

__version__ = "2.6.6+own.0.1.0"
__license__ = "Apache-2.0"
__docs__ = (
    "Independent implementation of the documented PyTorch Lightning API: research code in a "
    "module, engineering in a trainer."
)
