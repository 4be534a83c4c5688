"""From ``SOURCE:LOCATION?key=value`` to a readout, and from a run back to its readout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from geom.errors import GeomError, InputError, PluginError, UnaskedError, answered, demand
from geom.files.addresses import parse_address
from geom.model.edits import Edits, named_file
from geom.model.in_memory import Live, read_live, tokenizer_of
from geom.model.readout import Readout
from geom.model.source import PYTHON, Source, without_user
from geom.plugins.chosen import Chosen
from geom.plugins.naming import explained, named_source
from geom.plugins.options import Given, option_names
from geom.plugins.records import ModelSource
from geom.plugins.registry import installed
from geom.plugins.selection import choose
from geom.store import Run, open_file

DEFAULT_MODEL = "demo"


def load(
    model: str | Source | Live | Readout = DEFAULT_MODEL, given: Given | None = None
) -> Readout:
    """Load the readout of a model.

    A name is ``SOURCE:LOCATION[?key=value&...]``. The source may be left out for a file with a
    known suffix (``.gguf``, ``.npz``, ``.npy``, ``.safetensors``), for a folder with a
    ``config.json``, and for an id of the Hugging Face Hub: ``x.gguf?cast=q4_0``. Of any source,
    ``new=N`` with ``init=I`` appends rows, ``rows=FILE`` replaces rows, ``cast=F`` rounds the
    head, and ``bias=no`` drops the bias, in this order; an option that the source declares itself
    is the source's.

    Parameters
    ----------
    model : str, Readout or object, optional
        The name of a model; or the model itself, an object in memory: with ``W_U`` of shape
        (d, V) and ``b_U`` of shape (V,), such as a TransformerLens model; a fitted linear
        classifier of scikit-learn's form, whose classes become texts; or a linear layer such as
        ``torch.nn.Linear``. A readout is returned unchanged. The default is the demo.
    given : mapping of (str, str) to mapping, optional
        Further options of a named source, under ``("source", NAME)``. Options in the name take
        precedence.

    Returns
    -------
    Readout
        The weights in float64, with the final norm's scale and shift folded in. Its ``source``
        is the name that loads it again, without the user and password of a URL.

    Raises
    ------
    InputError
        If the source is unknown or refuses the location or an option, or if an object is not a
        model.
    PluginError
        If a source breaks.
    """
    if isinstance(model, Readout):
        return model
    if not isinstance(model, str | Source):
        return _tokenized(read_live(model), tokenizer_of(model))
    asked = named_source(model) if isinstance(model, str) else model
    name, location = asked.name, asked.location
    values = {**(given or {}).get(("source", name), {}), **asked.query}
    shown = Source(name, without_user(location), dict(values))
    edits = Edits.taken(values, option_names(installed().get("source", name)))
    (source,) = choose("source", [name], {("source", name): values})
    with explained(model, asked):
        readout = source.call(
            lambda record, settings: answered(record.load(location, settings), Readout), "load"
        )
    made = edits.made(readout)
    return made.described(shown, made.notes)


def _tokenized(readout: Readout, tokenizer: object) -> Readout:
    """Return the readout with the texts and kinds of its tokens, if a source knows the tokenizer.

    Texts that the readout has stay.
    """
    if tokenizer is None or readout.tokens is not None:
        return readout
    for item in installed().listed():
        tokenized = getattr(item.record, "tokenized", None)
        if tokenized is None:
            continue
        name = f"source {item.record.name}"
        found = demand(name, partial(tokenized, readout, tokenizer))
        if isinstance(found, Readout):
            return found
        if found is not None:
            raise PluginError(f"{name} returned {type(found).__name__}, not a Readout")
    return readout


def unedited(model: str | Source, given: Given | None) -> tuple[Chosen[ModelSource[Any]], Source]:
    """Return a model's source with its options, for what is asked of the model itself.

    Raises InputError for an option that changes the readout: the model knows nothing of it.
    """
    asked = named_source(model) if isinstance(model, str) else model
    values = {**(given or {}).get(("source", asked.name), {}), **asked.query}
    before = dict(values)
    Edits.taken(values, option_names(installed().get("source", asked.name)))
    edits = [f"{name}={value}" for name, value in before.items() if name not in values]
    if edits:
        raise InputError(
            f"model {without_user(str(asked))}: {edits[0]} changes the readout, so the model "
            "cannot agree with it; leave it out"
        )
    (source,) = choose("source", [asked.name], {("source", asked.name): values})
    return source, asked


def open_run(path: str | Path, readout: Readout | None = None, *, allow_fetch: bool = False) -> Run:
    """Open a stored run, read-only.

    Parameters
    ----------
    path : str or Path
        The run's file.
    readout : Readout, optional
        The weights of the run, needed only for witnesses that are not stored. If None, they are
        loaded when first needed, by the name stored in the run.
    allow_fetch : bool, optional
        Whether weights may be loaded from outside the run's own folder.

    Returns
    -------
    Run
        The run, a context manager.

    Raises
    ------
    StoreError
        If the file is missing or is not a run.
    """
    if readout is not None:
        return open_file(path, lambda run: readout)
    return open_file(path, partial(weights_of, allow_fetch=allow_fetch))


def weights_of(run: Run, allow_fetch: bool = False) -> Readout:
    """Load the readout that a run was made from, by the name stored in the run.

    Raises InputError if the run was made from arrays in Python or its file names weights that need
    ``allow_fetch``, and the errors of `load`.
    """
    if run.model == str(PYTHON):
        raise InputError("the run was made from arrays in Python: name its weights")
    distrust = None if allow_fetch else unasked(run)
    if distrust is not None:
        raise UnaskedError(distrust, run.model)
    named = Source.parse(run.model)
    _refuse_other_shape(run, named)
    return load(named)  # as it stands: a stranger may have written it


def _refuse_other_shape(run: Run, source: Source) -> None:
    """Raise InputError if the weights that a run names are larger or smaller than the run says.

    The options of a source may ask for any amount of memory, so they are read before it is taken.
    """
    V, d = run.settings["V"], run.settings["d"]
    chosen, edits = _chosen(source)
    new = edits.new or 0
    found = None
    if (shape := chosen.record.shape) is not None:
        rows, width = chosen.call(lambda _, options: shape(source.location, options), "shape")
        found = f"{rows + new} x {width}" if (rows + new, width) != (V, d) else None
    elif new >= V:
        found = f"more than {new} rows"
    if found is not None:
        raise InputError(
            f"{run.path or 'the run'} has W of {V} x {d}, and names weights of {found}, "
            f"{without_user(run.model)}: it was edited; name its weights with --model"
        )


def unasked(run: Run) -> str | None:
    """Return why the weights that a run's file names need permission to load, or None if not.

    The author of the file chose that name, and may be a stranger. So without permission from the
    user geom loads only weights that come with it or lie in the run's own folder. Raises InputError
    if the name is not valid.
    """
    if run.path is None:  # made in this process
        return None
    source = Source.parse(run.model)
    folder = run.path.resolve().parent
    record = installed().get("source", source.name)
    rows = named_file(source.query, option_names(record))
    if rows is not None and not parse_address(rows).is_within(folder):
        return (
            f"{run.path} names rows of its weights in {rows}, outside the run's own folder: name "
            "the weights with --model, or give --allow-fetch if you trust the file "
            "(allow_fetch=True in Python)"
        )
    reads = record.reads
    if reads == "nothing":
        return None
    why: str | None = f"and source {source.name} may open anything"
    if reads != "anything":
        why = _distrusted(source.location, reads, folder)
        for place in _places(source) if why is None else ():
            why = _distrusted(place, reads, folder)
            if why is not None:
                why = f"and with them {without_user(place)}, {why}"
                break
    if why is None:
        return None
    return (
        f"{run.path} names its weights as {without_user(run.model)}, {why}: name them with "
        "--model, or give --allow-fetch if you trust the file (allow_fetch=True in Python)"
    )


def weights_option(run: Run) -> list[str]:
    """Return the words by which a command names the weights of a run; none if it needs no word.

    There are none either for a run of arrays in Python, and for a name that no source reads.
    """
    try:
        asked = run.model != str(PYTHON) and unasked(run) is not None
    except GeomError:
        asked = False
    return ["--model", run.model] if asked else []


def _distrusted(location: str, reads: str, folder: Path) -> str | None:
    """Return what is to be feared of a location, or None if it lies in the run's own folder."""
    place = parse_address(location)
    if place.path is None:
        return "which would be fetched"
    if not place.is_within(folder):
        return "outside the run's own folder"
    if reads == "checkpoint" and not place.path.exists():
        return "which would be fetched from the Hugging Face Hub"
    return None


def _places(source: Source) -> list[str]:
    """Return the further places that a source opens for a location that is trusted."""
    chosen, _ = _chosen(source)
    return chosen.call(
        lambda record, options: (
            [] if record.places is None else list(record.places(source.location, options))
        ),
        "places",
    )


def _chosen(source: Source) -> tuple[Chosen[ModelSource[Any]], Edits]:
    """Return a named source with its options, and the changes that the others make."""
    values = dict(source.query)
    edits = Edits.taken(values, option_names(installed().get("source", source.name)))
    (chosen,) = choose("source", [source.name], {("source", source.name): values})
    return chosen, edits
