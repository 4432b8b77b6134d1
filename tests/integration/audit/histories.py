"""A history with something for every promise to check."""

from tests.audits import export, fail_to_export, moving, park
from tests.builders import a_request, an_order, deliver, load, settle


def make_history() -> None:
    """Commits what a store has after a day: every kind of order, request and interchange, each named for what it is."""
    load(an_order("sent"))
    fail_to_export()
    export()
    load(an_order("abandoned", status="pre_order"), an_order("cancelled"), an_order("open"), an_order("moved"))
    load(an_order("pre_order", status="pre_order"))
    deliver(
        a_request("sent", id="late"),
        a_request("abandoned", id="abandon"),
        a_request("cancelled", id="cancel"),
        a_request("cancelled", id="again"),
        a_request("open", id="items", kind="change_items"),
        a_request("open", id="payment", kind="change_payment"),
        a_request("open", id="part", kind="partial_cancel"),
        moving("moved", "Bonn", id="first"),
        moving("moved", "Aachen", id="second"),
        moving("pre_order", "Bonn", role="billing", id="billing"),
        a_request("unknown", id="lost"),
    )
    settle()
    park()
    deliver(a_request("open", id="waiting", kind="change_items"))
