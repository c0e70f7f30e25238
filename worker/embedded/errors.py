"""What can go wrong before an embedded piece answers."""


class EmbeddedUnavailable(RuntimeError):
    """An embedded piece cannot be started here.

    Raised when a program or package is missing, and when the child ended or stayed silent
    while it was waited for (the message then ends with the tail of its log).
    `hint` tells a person what to do.
    """

    retryable = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message
