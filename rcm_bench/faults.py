"""What records say of an exception."""


def out_of_memory(fault: BaseException) -> bool:
    """Say whether memory of the machine or of a device did not suffice."""
    return isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError"


def first_line(fault: BaseException) -> str:
    """Return the first line of an exception's message, or its kind where it has none."""
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]


def message_of(fault: BaseException) -> str:
    """Return kind and message of an exception."""
    return f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
