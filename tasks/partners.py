"""The configured EDI partners of this process."""

import os
from functools import cache
from pathlib import Path

from edi.config import open_partners
from edi.partners import Partner, default_partner
from tasks.settings import settings


def partners() -> list[Partner]:
    """Returns the partners that COUNTERMAND_PARTNERS configures; without it one, WAREHOUSE, for every order.

    Raises ConfigurationError.
    """
    file = settings().partners
    return [default_partner(settings().home.resolve())] if file is None else _configured(file)


@cache
def _configured(file: Path) -> list[Partner]:
    return open_partners(file, os.environ)
