"""What a check of a dataset has found: faults, which refuse it, and notices, which are counted and said."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from experiments.errors import UserError

Entry = TypeVar("Entry")
# Faults of a kind that are told one by one.
TOLD = 20
# COCO 2017 itself has some objects that loaders leave out, two boxes without height among them, and copies of it in circulation
# have photos that libjpeg complains about and still shows. So few, of all, are a notice.
FEW = 1 / 1000
# Share that must disagree before another format is suspected.
MOST = 0.5


class DatasetError(UserError):
    """Data that would give wrong numbers, or none.

    Attributes
    ----------
    lines : list of str
        All that was found.
    """

    def __init__(self, findings: Sequence["Findings"]) -> None:
        super().__init__(next(found.first for found in findings if not found.is_right))
        self.lines = [line for found in findings for line in found.lines()]

    def read_from(self, places: Mapping[Path, Sequence[str]]) -> "DatasetError":
        """The same error with the places that its annotations were converted from.

        Parameters
        ----------
        places : dict
            By annotation file, the place of each annotation in the order of their ids, which count from 1.
        """

        def replaced(sentence: str) -> str:
            for file, of_file in places.items():
                if found := re.match(rf"{re.escape(str(file))}: annotation (\d+)(?=:)", sentence):
                    return of_file[int(found[1]) - 1] + sentence[found.end() :]
            return sentence

        self.args = (replaced(str(self)),)
        self.lines = [replaced(line) for line in self.lines]
        return self


def raise_if_wrong(findings: Sequence["Findings"]) -> None:
    """Refuse a dataset.

    Parameters
    ----------
    findings : sequence of Findings
        What was found in its files.

    Raises
    ------
    DatasetError
        With the first fault, if there is one.
    """
    if not all(found.is_right for found in findings):
        raise DatasetError(findings)


@dataclass(frozen=True)
class Kind:
    """Faults of one kind.

    Attributes
    ----------
    count : int
        How many there are.
    sentences : tuple of str
        What is wrong with the first of them, and what is allowed.
    """

    count: int
    sentences: tuple[str, ...]


@dataclass
class Findings:
    """Faults and notices about a file.

    Attributes
    ----------
    file : Path
        The file, which begins each sentence.
    kinds : list of Kind
        The faults, by kind, in the order of the checks.
    notices : list of str
        What harms no training and no number, or is the reader's to judge.
    """

    file: Path
    kinds: list[Kind] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def refuse(self, wrong: Sequence[Entry], sentence: Callable[[Entry], str]) -> None:
        """Record faults of one kind.

        Parameters
        ----------
        wrong : sequence
            The entries that are wrong; none: no fault.
        sentence : callable
            From an entry to its place, what was found and what is allowed.
        """
        if wrong:
            self.kinds.append(Kind(len(wrong), tuple(f"{self.file}: {sentence(entry)}" for entry in wrong[:TOLD])))

    def refuse_above(
        self, share: float, of: int, wrong: Sequence[Entry], sentence: Callable[[Entry], str], notice: str
    ) -> None:
        """Record faults of one kind where they are more than a share of what was checked, else a notice.

        Parameters
        ----------
        share : float
            `FEW` or `MOST`.
        of : int
            How many were checked.
        wrong, sentence, notice
            As for `refuse` and for `notice`.
        """
        if len(wrong) > share * of:
            self.refuse(wrong, sentence)
        else:
            self.notice(len(wrong), notice)

    def notice(self, count: int, sentence: str) -> None:
        """Record a notice, if there is something to say.

        Parameters
        ----------
        count : int
            How often it was found.
        sentence : str
            The rest of the sentence that begins with the number.
        """
        if count:
            self.notices.append(f"{count:,} {sentence}")

    @property
    def is_right(self) -> bool:
        """Whether there is no fault."""
        return not self.kinds

    @property
    def first(self) -> str:
        """The first fault, and how many there are beside it."""
        first, total = self.kinds[0], sum(kind.count for kind in self.kinds)
        others = f" ({total - 1:,} more: python -m experiments check-data --all)" if total > 1 else ""
        return first.sentences[0] + others

    def lines(self) -> Iterator[str]:
        """All that was found: up to `TOLD` faults of each kind, their numbers, and the notices."""
        for kind in self.kinds:
            yield from kind.sentences
            if kind.count > len(kind.sentences):
                yield f"{self.file}: {kind.count - len(kind.sentences):,} more of this kind"
        for notice in self.notices:
            yield f"{self.file}: notice: {notice}"
