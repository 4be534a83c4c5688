"""Collect a sample of the vectors that a network hands to its readout on a text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError, answered, demand
from geom.files.opening import read_regular
from geom.files.replacing import replacing
from geom.loading import load, unedited
from geom.machine.memory import check_memory
from geom.model.in_memory import Live
from geom.model.readout import Readout
from geom.model.source import Source, without_user
from geom.numbers.arrays import Floats, Ids
from geom.plugins.naming import explained
from geom.plugins.options import Given
from geom.plugins.registry import installed
from geom.plugins.results import Network
from geom.progress import Watcher, track_progress, watched
from geom.reprs import short_repr

COUNT = 4096
"""How many vectors a sample has unless told otherwise."""

WINDOW = 2048
"""The most ids that a network gets at once unless told otherwise."""

_LARGEST_TEXT = 1 << 28
"""The most bytes that a text may have."""

_COMPARED = 16
"""At how many places the readout's logits are compared with the network's own."""

_ALIKE = 1e-3
"""How far the network's logits may fall where the readout's rise, as a share of their range."""


@dataclass(frozen=True, eq=False)
class ActivationSample:
    """A sample of the vectors that a network hands to its readout.

    Attributes
    ----------
    points : ndarray of shape (n, d), float32
        The vectors after the final norm, before its scale and shift, in the order of the text.
    positions : ndarray of shape (n,), int64
        The places of the text, counted in tokens, that they were emitted at.
    header : mapping
        How they were made, in JSON values.
    """

    points: NDArray[np.float32]
    positions: Ids
    header: Mapping[str, Any]

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.points)

    def write(self, path: str | Path) -> Path:
        """Write the vectors to a ``.npy`` file, and the header beside it, as ``.json``.

        Parameters
        ----------
        path : str or Path
            The ``.npy`` file.

        Returns
        -------
        Path
            The header's file.

        Raises
        ------
        InputError
            If one of the files exists, or cannot be written.
        """
        out = Path(path)
        header = header_of(out)
        with replacing(out) as file:
            np.save(file, self.points, allow_pickle=False)
        with replacing(header) as file:
            file.write(_lines(self.header).encode())
        return header


def activations(
    model: str | Source | Live,
    text: str | Path,
    *,
    count: int = COUNT,
    seed: int = 0,
    window: int | None = None,
    readout: Readout | None = None,
    tokenizer: object = None,
    given: Given | None = None,
    progress: Watcher | None = None,
) -> ActivationSample:
    """Run a network on a text, and sample what its final norm emits, before scale and shift.

    The text is cut into windows, each of which the network reads on its own. The places are drawn
    uniformly from all of the text. Before that, at a few places, the logits that the readout
    computes from the vectors are compared with the network's own.

    Parameters
    ----------
    model : str, Source or object
        The name of a model, as `geom.load` takes it, or a model of transformers or TransformerLens
        in memory.
    text : str or Path
        The text, or the file that holds it, in UTF-8.
    count : int, optional
        How many vectors.
    seed : int, optional
        The seed of the places.
    window : int, optional
        The most tokens that are read at once; if None, what the network takes, up to 2048.
    readout : Readout, optional
        The network's readout; if None, it is loaded from the model, or for a model of transformers
        in memory from the checkpoint that its ``name_or_path`` names.
    tokenizer : object, optional
        For a model in memory, its tokenizer; if None, the one it carries, or that of the checkpoint
        that its ``name_or_path`` names.
    given : mapping of (str, str) to mapping, optional
        Further options of the source, under ``("source", NAME)``.
    progress : callable, optional
        A function called with the stage, the amount done, the total and their unit.

    Returns
    -------
    ActivationSample
        The sample.

    Raises
    ------
    InputError
        If the model cannot be run or has no tokenizer, if the readout does not give the network's
        own logits, or if the text is shorter than ``count`` tokens or is not UTF-8.
    PluginError
        If the source breaks.
    """
    if count < 1 or (window is not None and window < 2) or seed < 0:
        raise InputError("give a count of 1 or more, a window of 2 or more and a seed of 0 or more")
    content, named = _read(text)
    with watched(progress):
        network, name = _network(model, given, tokenizer)
        if readout is None:
            readout = network.readout() if network.readout is not None else load(model, given)
        check_memory(8 * count * readout.d, f"a sample of {count} x {readout.d}")
        ids = [int(id) for id in demand(name, lambda: network.encode(content))]
        if len(ids) < count:
            raise InputError(
                f"{named} has {len(ids)} tokens, and {count} vectors are asked for: give a longer "
                f"text, or a count of {len(ids)}"
            )
        width = min(network.window, WINDOW if window is None else window) - len(network.start)
        if width < 1:
            raise InputError(f"a window of {window} has no room for text: give a larger one")
        remedy = f"see what geom check {name} says"
        if not isinstance(model, str | Source):
            remedy = "give readout=..., the readout of the model as it is in memory"
        _compare(network, readout, ids[: min(_COMPARED, width)], name, remedy)
        chosen = np.sort(np.random.default_rng(seed).choice(len(ids), count, replace=False))
        points = np.empty((count, readout.d), dtype=np.float32)
        windows = list(_windows(chosen, width))
        for start, places in track_progress(windows, "activations", len(windows), "windows"):
            read = [*network.start, *ids[start : start + width]]
            at = chosen[places] - start + len(network.start)
            points[places] = _states(network, read, at.tolist(), readout.d, name)
    if not np.isfinite(points).all():
        raise InputError(f"{name} emits NaN or infinity on this text: nothing is sampled")
    header = {
        "model": name,
        "digest": readout.digest,
        "network": network.name,
        "layer": network.layer,
        "text_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "text_tokens": len(ids),
        "window": width + len(network.start),
        "count": count,
        "seed": seed,
        "versions": dict(network.versions),
        "positions": chosen.tolist(),
    }
    return ActivationSample(points, chosen, header)


def _lines(header: Mapping[str, Any]) -> str:
    """Return the header as JSON, an entry a line."""
    entries = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in header.items())
    return "{\n" + ",\n".join(entries) + "\n}\n"


def header_of(path: Path) -> Path:
    """Return the file of a sample's header. Raises InputError if it or the sample exists."""
    if path.suffix != ".npy":
        raise InputError(f"{path} does not end in .npy: give the name of a NumPy file")
    header = path.with_suffix(".json")
    for file in (path, header):
        if file.exists():
            raise InputError(f"{file} exists, and is not overwritten: give another --out")
    return header


def _read(text: str | Path) -> tuple[str, str]:
    """Return a text and its name for messages. Raises InputError if its file is not UTF-8."""
    if isinstance(text, str):
        return text, "the text"
    content = read_regular(text, _LARGEST_TEXT, "give a file of text")
    try:
        return content.decode(), str(text)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{text} is not UTF-8, at byte {error.start}: give a text in UTF-8"
        ) from error


def _network(
    model: str | Source | Live, given: Given | None, tokenizer: object
) -> tuple[Network, str]:
    """Return the network of a model, and the model's name."""
    if not isinstance(model, str | Source):
        return _live(model, tokenizer), type(model).__name__
    source, asked = unedited(model, given)
    make = source.record.network
    if make is None:
        known = [item.record.name for item in installed().listed() if _runs(item.record)]
        raise InputError(
            f"{source} reads numbers without a network to run; sources that have one: "
            f"{', '.join(known)}"
        )
    with explained(model, asked):
        found = source.call(
            lambda record, options: answered(make(asked.location, options), Network), "network"
        )
    return found, without_user(str(asked))


def _runs(record: Any) -> bool:
    return getattr(record, "network", None) is not None


def _live(model: object, tokenizer: object) -> Network:
    """Return the network of a model in memory, from the source of its library."""
    for item in installed().listed():
        live = getattr(item.record, "live", None)
        if live is None:
            continue
        found = demand(f"source {item.record.name}", partial(live, model, tokenizer))
        if isinstance(found, Network):
            return found
    raise InputError(
        f"{type(model).__name__} cannot be run: give a model's name, or a model of transformers "
        "or TransformerLens"
    )


def _windows(chosen: Ids, width: int) -> Iterator[tuple[int, slice]]:
    """Yield the start of each window with places in it, and which of the places these are."""
    starts, first = np.unique(chosen // width, return_index=True)
    ends = [*first[1:].tolist(), len(chosen)]
    for start, low, high in zip(starts.tolist(), first.tolist(), ends, strict=True):
        yield start * width, slice(low, high)


def _states(
    network: Network, ids: Sequence[int], places: Sequence[int], d: int, name: str
) -> NDArray[np.float32]:
    """Return the vectors at places of a window. Raises InputError if they have another width."""
    found = np.asarray(demand(name, lambda: network.states(ids, places)), dtype=np.float32)
    if found.shape != (len(places), d):
        raise InputError(
            f"{name} emits vectors of shape {found.shape} from {network.layer}, and the readout "
            f"takes {(len(places), d)}"
        )
    return found


def _compare(
    network: Network, readout: Readout, ids: Sequence[int], name: str, remedy: str
) -> None:
    """Raise InputError unless the readout gives the network's logits, up to a rising function.

    A soft cap, a positive scale and a shift of all logits change neither the argmax nor the order
    of the tokens, and a readout leaves them out. So in the order in which the readout's logits
    rise, the network's must not fall, up to rounding.
    """
    start = len(network.start)
    read = [*network.start, *ids]
    places = list(range(start, len(read)))
    x = _states(network, read, places, readout.d, name)
    theirs = np.asarray(demand(name, lambda: network.logits(read)), dtype=np.float64)[start:]
    if theirs.shape[1:] < (readout.V,):
        raise InputError(f"{name} has {theirs.shape[-1]} logits, and the readout {readout.V} rows")
    fall = _fall(readout.logits(x), theirs[:, : readout.V])
    if not fall <= max(_ALIKE, 8 * network.unit):
        raise InputError(
            f"the readout does not give the logits of {network.name}: they fall by {fall:.1g} of "
            f"their range where the readout's rise; {remedy}"
        )


def _fall(ours: Floats, theirs: Floats) -> float:
    """Return the furthest that ``theirs`` (n, V) fall as ``ours`` rise, over their range."""
    order = np.argsort(ours, axis=1, kind="stable")
    rising = np.take_along_axis(theirs, order, axis=1)
    fallen = (np.maximum.accumulate(rising, axis=1) - rising).max(axis=1)
    return float((fallen / np.maximum(np.ptp(theirs, axis=1), 1e-300)).max())
