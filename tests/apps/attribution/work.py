"""What the Python servers do for a request: fresh pages, in a section that says whose they are."""

import os

# More than a thread's heap begins with, so that malloc maps it anew each time.
BYTES = 192 * 1024
MARK = os.open("/dev/null", os.O_WRONLY)


def work(number, part):
    """Takes fresh pages for this request. One part of a request is told from its others by the ID."""
    os.write(MARK, b"memtrace:begin %d %d.%d" % (number, number, part))
    pages = b"\1" * BYTES
    # Freed, and so unmapped, within the section.
    del pages
    os.write(MARK, b"memtrace:end %d.%d" % (number, part))


def target(path):
    """The shape and the number of /SHAPE/NUMBER."""
    _, shape, number = path.split("/")
    return shape, int(number)
