"""What the rows of a readout stand for, and the words for it: tokens, classes or items."""

from __future__ import annotations

from enum import StrEnum

from geom.errors import unknown


class Noun(StrEnum):
    """What a row of a readout stands for. Each member is the word for one of them.

    Attributes
    ----------
    TOKEN : str
        A token of a language model, which can be said.
    CLASS : str
        A class of a classifier, which can be predicted.
    ITEM : str
        An item of a recommender or of a search by inner products, which can be recommended.
    """

    TOKEN = "token"
    CLASS = "class"
    ITEM = "item"

    @classmethod
    def named(cls, name: str) -> Noun:
        """Return the noun of that name.

        Parameters
        ----------
        name : str
            ``token``, ``class`` or ``item``.

        Returns
        -------
        Noun
            The noun.

        Raises
        ------
        InputError
            For another name.
        """
        known = [noun.value for noun in cls]
        if name not in known:
            raise unknown("noun", name, known)
        return cls(name)

    @property
    def plural(self) -> str:
        """The word for several of them."""
        return "classes" if self is Noun.CLASS else f"{self}s"

    @property
    def every(self) -> str:
        """What all of them are: the vocabulary, the classes or the items."""
        return "the vocabulary" if self is Noun.TOKEN else f"the {self.plural}"

    @property
    def chosen(self) -> str:
        """What the argmax does with it, as a participle: said, predicted or recommended."""
        return {Noun.TOKEN: "said", Noun.CLASS: "predicted", Noun.ITEM: "recommended"}[self]

    def counted(self, count: int) -> str:
        """Write a number of them.

        Parameters
        ----------
        count : int
            How many.

        Returns
        -------
        str
            Such as ``1 class`` or ``3 classes``.
        """
        return f"{count} {self if count == 1 else self.plural}"

    @classmethod
    def shared(cls, *nouns: Noun) -> Noun:
        """Return the noun that several readouts share, ``token`` if they differ.

        Parameters
        ----------
        *nouns : Noun
            The noun of each.

        Returns
        -------
        Noun
            The noun.
        """
        return nouns[0] if len(set(nouns)) == 1 else cls.TOKEN
