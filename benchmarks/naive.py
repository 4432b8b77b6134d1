"""The same work as one would write it first, with Celery and the ORM: a task a request, `.delay` for what follows.

It is what we are measured against, and is written as well as such code is: short transactions, a lock on the order,
atomic stock updates, retries. Of Countermand's promises it keeps those that come by themselves: a message may get lost
or be done twice, and what follows a decision is lost when the process dies between the commit and `.delay`.
"""

import os
from datetime import datetime
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from celery.utils.log import get_task_logger
from sqlalchemy import ForeignKey, create_engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, sessionmaker

app = Celery("naive", broker=os.environ.get("NAIVE_BROKER_URL"))
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True

engine = create_engine(os.environ.get("NAIVE_DATABASE_URL", "postgresql://"))
new_session = sessionmaker(engine)
logger = get_task_logger(__name__)
task = app.task(autoretry_for=(OperationalError,), retry_backoff=True)


class Base(DeclarativeBase):
    """Tables of its own, in a database of its own."""


class Order(Base):
    """An order with its lines."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str]
    edi_sent: Mapped[bool] = mapped_column(default=False)
    customer_email: Mapped[str]
    lines: Mapped[list["OrderLine"]] = relationship(order_by="OrderLine.sku")


class OrderLine(Base):
    """One article of an order."""

    __tablename__ = "order_lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    sku: Mapped[str]
    quantity: Mapped[int]


class ChangeRequest(Base):
    """A request with its decision."""

    __tablename__ = "change_requests"

    id: Mapped[int] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(unique=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    outcome: Mapped[str]
    reason: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ChangelogEntry(Base):
    """What happened to an order."""

    __tablename__ = "changelog"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    action: Mapped[str]
    note: Mapped[str | None]


class Stock(Base):
    """How much there is of an article."""

    __tablename__ = "stock"

    sku: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[int]


class StockMovement(Base):
    """One line that came back into stock."""

    __tablename__ = "stock_movements"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_line_id: Mapped[int] = mapped_column(ForeignKey("order_lines.id"), unique=True)
    quantity: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Notification(Base):
    """The answer to a request."""

    __tablename__ = "notifications"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("change_requests.id"), unique=True)
    body: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _leave_the_parents_connections(**_: Any) -> None:
    engine.dispose(close=False)


@task  # type: ignore[untyped-decorator]
def cancel_order(external_id: str, number: str, requester: str, note: str | None) -> None:
    """Decides one request to cancel an order."""
    with new_session.begin() as session:
        order = session.scalars(select(Order).where(Order.number == number).with_for_update()).one()
        outcome, reason = _decide(order, requester, note)
        request = ChangeRequest(external_id=external_id, order_id=order.id, outcome=outcome, reason=reason)
        session.add(request)
        if outcome == "applied":
            order.status = "cancelled"
            session.add(ChangelogEntry(order_id=order.id, action="cancelled", note=note))
        session.flush()
        order_id, request_id = order.id, request.id
    if outcome == "applied":
        restock.delay(order_id)
    notify.delay(request_id)


def _decide(order: Order, requester: str, note: str | None) -> tuple[str, str]:
    if requester.strip().lower() != order.customer_email.lower():
        return "escalated", "requester_is_not_the_customer"
    if order.status == "cancelled":
        return "unchanged", "already_closed"
    if order.edi_sent:
        return "refused", "edi_already_sent"
    if not (note or "").strip():
        return "refused", "note_required"
    return "applied", "order_cancelled"


@task  # type: ignore[untyped-decorator]
def restock(order_id: int) -> None:
    """Puts the lines of a cancelled order back into stock."""
    with new_session.begin() as session:
        order = session.get_one(Order, order_id)
        for line in order.lines:
            session.add(StockMovement(order_line_id=line.id, quantity=line.quantity))
            stock = session.get_one(Stock, line.sku, with_for_update=True)
            stock.quantity += line.quantity


@task  # type: ignore[untyped-decorator]
def notify(request_id: int) -> None:
    """Stores the answer and logs it."""
    with new_session.begin() as session:
        request = session.get_one(ChangeRequest, request_id)
        order = session.get_one(Order, request.order_id)
        body = f"Your request for order {order.number}: {request.outcome} ({request.reason})."
        session.add(Notification(request_id=request.id, body=body))
    logger.info("notified: %s", body)


def create_tables(session: Session) -> None:
    """Creates the empty tables."""
    Base.metadata.create_all(session.connection())
