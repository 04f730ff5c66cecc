"""See why a vision-and-language model gave its answer."""


class XaiError(ValueError):
    """An input cannot be used. The message is one line that names the input, what is wrong and what to do."""
