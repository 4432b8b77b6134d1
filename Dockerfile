# One image for every process of Countermand; the command of a container says which process it is.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /venv
COPY requirements.lock requirements-dev.lock ./
RUN /venv/bin/pip install --require-hashes -r requirements.lock
# What builds the package is locked as well, and stays out of the image.
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.lock > build.lock \
    && pip install --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY rules rules/
COPY configuration configuration/
COPY delivery delivery/
COPY database database/
COPY desks desks/
COPY orders orders/
COPY edi edi/
COPY tasks tasks/
COPY workers workers/
COPY web web/
COPY cli cli/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /venv/bin/pip install --no-deps --no-index dist/*.whl

FROM python:3.13-slim
# Fixed ids, so that a program that collects the interchanges (files 0640, folders 0750) can be given the group.
RUN groupadd --gid 10001 countermand \
    && useradd --uid 10001 --gid countermand --no-create-home --home-dir /var/lib/countermand countermand \
    # A named volume takes over owner and mode of the folder it is first mounted on.
    && install --directory --owner=countermand --group=countermand --mode=0750 \
       /var/lib/countermand /var/lib/countermand/edi
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    COUNTERMAND_HOME=/var/lib/countermand
# Python and Celery import from where they are started: not from the home, whose `edi` has the name of a package of ours.
WORKDIR /
USER countermand
CMD ["countermand", "--help"]
