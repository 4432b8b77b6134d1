"""The configured EDI partners of this process, and what their documents can say of an address."""

import os
from functools import cache, partial
from pathlib import Path

from configuration.settings import settings
from edi.config import open_partners, read_limits
from edi.limits import Limits, faults_for
from edi.partners import Partner, default_partner
from orders.changes import AddressCheck


def partners() -> list[Partner]:
    """Returns the partners that COUNTERMAND_PARTNERS configures; without it one, WAREHOUSE, for every order.

    Raises ConfigurationError.
    """
    file = settings().partners
    return [default_partner(settings().home.resolve())] if file is None else _configured(file)


@cache
def _configured(file: Path) -> list[Partner]:
    return open_partners(file, os.environ)


def address_check() -> AddressCheck:
    """Returns what asks the documents of a warehouse's partner whether they can say an address.

    It needs no secret of the partners: a process that decides need not be able to export. Raises ConfigurationError.
    """
    return _check_by(settings().partners)


@cache
def _check_by(file: Path | None) -> AddressCheck:
    limits = [Limits.of(default_partner(Path()))] if file is None else read_limits(file)
    return partial(faults_for, limits)
