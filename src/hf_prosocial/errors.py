"""The errors that this package raises itself."""


class ProsocialError(ValueError):
    """Something that the caller can mend: the message says what was found, what was expected and what to do.

    Every error of this package is one, but for those of the operating system (`OSError`) and missing extras
    (`ImportError`).
    """
