"""A program without an event loop: the download runs in a thread, and the program goes on.

pip install modelfetch
python thread_program.py unsloth/Qwen3-0.6B-GGUF Q4_K_M
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import modelfetch


def main(model: str, quantization: str) -> None:
    seen: list[modelfetch.JobStatus] = []
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(modelfetch.fetch, model, quantization, on_status=seen.append)
        while not fetching.done():
            # Whatever the program does meanwhile; here it draws a line of progress.
            if seen:
                share = seen[-1].downloaded_bytes / max(1, seen[-1].total_size_bytes)
                print(f"\r{share:7.1%}", end="", file=sys.stderr)
            time.sleep(0.1)
        try:
            print("\n", fetching.result().path, sep="")
        except modelfetch.QuantizationNotFound as error:
            sys.exit("There is: " + ", ".join(variant.label for variant in error.available))
        except modelfetch.ModelFetchError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:3])
