from __future__ import annotations

import pytest

from modelfetch.core.adoption import PlaceKind, downloads_folder, known_places


def folders(environ: dict[str, str], platform: str = "linux") -> dict[PlaceKind, list[str]]:
    found: dict[PlaceKind, list[str]] = {}
    home = "C:\\Users\\me" if platform == "win32" else "/home/me"
    for place in known_places(environ, home, "/lms/models", platform):
        found.setdefault(place.kind, []).append(place.folder)
    return found


def test_where_programs_keep_models_on_linux() -> None:
    assert folders({}) == {
        PlaceKind.HUB: ["/home/me/.cache/huggingface/hub", "/home/me/.cache/llama.cpp"],
        PlaceKind.OLLAMA: ["/home/me/.ollama/models", "/usr/share/ollama/.ollama/models"],
        PlaceKind.FOLDER: ["/lms/models", "/home/me/.cache/llama.cpp"],
    }


@pytest.mark.parametrize(
    ("environ", "hub"),
    [
        ({"HF_HUB_CACHE": "/a", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/b"),
        ({"HF_HOME": "/c", "XDG_CACHE_HOME": "/x"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
    ],
)
def test_the_rules_of_huggingface_hub(environ: dict[str, str], hub: str) -> None:
    assert folders(environ)[PlaceKind.HUB][0] == hub


def test_variables_of_the_others() -> None:
    found = folders({"LLAMA_CACHE": "/l", "OLLAMA_MODELS": "/o"})
    assert found[PlaceKind.HUB][1] == found[PlaceKind.FOLDER][1] == "/l"
    assert found[PlaceKind.OLLAMA][0] == "/o"


def test_other_systems() -> None:
    assert "/home/me/Library/Caches/llama.cpp" in folders({}, "darwin")[PlaceKind.FOLDER]
    windows = folders({"LOCALAPPDATA": "D:\\Local"}, "win32")
    assert windows[PlaceKind.OLLAMA] == ["C:\\Users\\me\\.ollama\\models"]
    assert windows[PlaceKind.FOLDER][1] == "D:\\Local\\llama.cpp"
    assert windows[PlaceKind.HUB][0] == "C:\\Users\\me\\.cache\\huggingface\\hub"


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        (None, None), ("", None), ("{", None), ("[]", None), ("[" * 100_000, None),
        ('{"downloadsFolder": 5}', None), ('{"downloadsFolder": ""}', None),
        ('{"downloadsFolder": "/big"}', "/big"),
    ],
)  # fmt: skip
def test_the_folder_that_lm_studio_s_settings_name(
    settings: str | None, folder: str | None
) -> None:
    assert downloads_folder(settings) == folder
