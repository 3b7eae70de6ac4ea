"""TinyLLaVA Pipelines: the core, which knows neither flows nor tasks."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Give `__version__`, of what is installed; looked up when it is asked for, since that takes a while."""
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("tinyllava-pipelines")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
