"""Names as people write them -> the catalogue's own; and what to say of those that it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from srcli.catalog.entries import Alias
from srcli.catalog.load import Catalogue, squeezed
from srcli.errors import UsageError

MOST_TYPOS = 2
MOST_SUGGESTIONS = 3


def canonical(name: str, catalogue: Catalogue) -> str:
    """The catalogue's spelling of a model, an architecture or a purpose.

    Case, hyphens, underscores, dots and spaces do not count; titles (``BSRN-S``) and other names
    that the catalogue knows (``anime``) are understood.

    Raises:
        UsageError: there is no such name, or it can mean several; the hint names them.
    """
    if name in catalogue.models or name in catalogue.architectures or name in catalogue.purposes:
        return name
    wanted = squeezed(name)
    if not wanted:
        raise unknown(name, catalogue)
    meant = dict.fromkeys(own for known, own in _spellings(catalogue) if squeezed(known) == wanted)
    if not meant:
        meant = dict.fromkeys(
            arch.name for arch in catalogue.architectures.values() if squeezed(arch.title) == wanted
        )
    if len(meant) == 1:
        return next(iter(meant))
    if meant:
        raise _several(name, meant, catalogue)
    for alias in catalogue.aliases.values():
        if squeezed(alias.name) == wanted:
            return _of_alias(name, alias, catalogue)
    raise unknown(name, catalogue)


def unknown(name: str, catalogue: Catalogue) -> UsageError:
    """What is said of a name that is none; it names those that are written nearly alike."""
    absent = [(alias.name, alias.name) for alias in catalogue.aliases.values() if alias.nearest]
    near = suggestions(name, _all_spellings(catalogue)) or suggestions(name, absent)
    hint = "`srcli models` lists the models."
    if near:
        hint = f"Did you mean {_listed(near)}? " + hint
    return UsageError(f"There is no model {name!r}.", hint)


def suggestions(name: str, known: Iterable[tuple[str, str]]) -> list[str]:
    """What was probably meant: what a typo apart is, what begins so, what two typos apart is.

    Args:
        known: (a way to write it, what to suggest), the more likely ones first.
    """
    import difflib  # only a mistake pays for it

    wanted = squeezed(name)
    if not wanted:
        return []
    spelled = [(squeezed(written), meant) for written, meant in known]
    apart = sorted(((_typos(wanted, w), meant) for w, meant in spelled), key=lambda pair: pair[0])
    tagged = "." in name
    close = difflib.get_close_matches(wanted, [w for w, _ in spelled], n=3, cutoff=0.6)
    found = [
        *(meant for typos, meant in apart if typos <= 1),
        *(meant for w, meant in spelled if w.startswith(wanted) and ("." not in meant or tagged)),
        *(meant for typos, meant in apart if typos <= MOST_TYPOS),
        *(meant for match in close for w, meant in spelled if w == match),
    ]
    return list(dict.fromkeys(found))[:MOST_SUGGESTIONS]


def _spellings(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """(a way to write it, the name itself), purposes by their words, too."""
    for purpose in catalogue.purposes.values():
        yield purpose.name, purpose.name
        yield purpose.title, purpose.name
    for name in [*catalogue.architectures, *catalogue.models]:
        yield name, name


def _all_spellings(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Also by other names, each with what it means here."""
    yield from ((name, name) for name in catalogue.architectures)
    yield from _spellings(catalogue)
    for alias in catalogue.aliases.values():
        yield from ((alias.name, target) for target in alias.models)


def _of_alias(name: str, alias: Alias, catalogue: Catalogue) -> str:
    if len(alias.models) == 1:
        return alias.models[0]
    if alias.models:
        raise _several(name, alias.models, catalogue)
    because = f": {alias.because}" if alias.because else ""
    raise UsageError(
        f"srcli has no {name}{because}.",
        f"The nearest that it has: {_choice(alias.nearest, catalogue)}. `srcli models` lists all.",
    )


def _several(name: str, meant: Iterable[str], catalogue: Catalogue) -> UsageError:
    return UsageError(
        f"{name} can mean several models.",
        f"Write the one you mean: {_choice(meant, catalogue)}.",
    )


def _choice(names: Iterable[str], catalogue: Catalogue) -> str:
    """Names of which one is to be written; those that need a file of weights are told apart."""

    def usable(name: str) -> bool:
        of_architecture = catalogue.of_architecture(name)
        return name not in catalogue.architectures or any(m.trained for m in of_architecture)

    here = [name for name in names if usable(name)]
    bare = [name for name in names if not usable(name)]
    parts = [_listed(here)] if here else []
    parts += [f"with a file of weights (--weights FILE) {_listed(bare)}"] if bare else []
    return "; or ".join(parts)


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _typos(a: str, b: str) -> int:
    """Letters put in, left out, changed or swapped with their neighbours that make a into b.

    Damerau's distance: two letters may be swapped also where something between them was left out.
    """
    most = len(a) + len(b)
    seen: dict[str, int] = {}  # where in a a letter was last met
    # one row and one column before each word's beginning
    rows: list[list[int]] = [[most] * (len(b) + 2), [most, *range(len(b) + 1)]]
    for i, letter in enumerate(a, 1):
        row, matched = [most, i], 0  # matched: where in b the letter was last met
        for j, other in enumerate(b, 1):
            same = letter == other
            swapped = rows[seen.get(other, 0)][matched] + (i - seen.get(other, 0) - 1)
            swapped += 1 + (j - matched - 1)
            row.append(min(rows[i][j] + (not same), row[j] + 1, rows[i][j + 1] + 1, swapped))
            matched = j if same else matched
        rows.append(row)
        seen[letter] = i
    return rows[-1][-1]
