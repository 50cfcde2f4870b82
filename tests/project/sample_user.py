"""What a user writes, for type checkers: public names alone, each value of the type that is said. It is not run."""

from __future__ import annotations

import pandas as pd

from pieces_nb import Download, Downloads, Model, ModelClient, PiecesError, WaitTimeout


def biggest_that_fits(client: ModelClient, limit_bytes: int) -> Model | None:
    """Choose among typed models."""
    fitting = [model for model in client.models() if not model.cloud and (model.ram_bytes or 0) <= limit_bytes]
    return max(fitting, key=lambda model: model.ram_bytes or 0, default=None)


def fetched(client: ModelClient, name: str) -> Model:
    """Wait for a download, and go on waiting once."""
    download: Download = client.download(name)
    try:
        return download.wait(timeout=60)
    except WaitTimeout:
        print(f"{download.status} at {download.percentage or 0.0:.0f} %, stalled since {download.stalled_since}")
        return download.wait()


async def fetched_without_blocking(client: ModelClient, name: str) -> str:
    """`await` gives the model too."""
    model = await client.download(name)
    return model.name


def names_of(downloads: Downloads) -> list[str]:
    """Several downloads are a sequence."""
    return [download.model.name for download in downloads]


def gigabytes(client: ModelClient) -> float:
    """Tables are pandas DataFrames."""
    table: pd.DataFrame = client.table()
    return float(table["size_gb"].sum())


def main() -> int:
    """Use a model for a while."""
    with ModelClient.emulator() as client:
        try:
            with client.loaded("phi-2") as model:
                print(model.name, model.state, client.snapshot(model))
        except PiecesError as error:
            print(error)
            return 1
    return 0
