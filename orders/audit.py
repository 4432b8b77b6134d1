"""The nine promises of the contract, checked on the live database: one query a promise, returning what breaks it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, TextClause, text

from database.server import server_warnings
from orders.fingerprint import ORDER_SHA256

_OF_NUMBERS = 9
# How many violations of a check are spelled out.
EXAMPLES = 5
# A request that is due and still undecided this long after its patience has been forgotten by the workers.
_FORGOTTEN_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: how many things were looked at, and a query whose every row is a violation, in words."""

    promise: int
    name: str
    checked: str
    violations: str


CHECKS = (
    Check(
        1,
        "accepted requests end decided or parked, visibly",
        "SELECT count(*) FROM change_request",
        """
        SELECT format('request %s of %s is %s, but %s', external_id, source, request.state, CASE request.state
            WHEN 'received' THEN 'was forgotten: it is due since ' || not_before
            WHEN 'decided' THEN 'has no outcome or no reason'
            ELSE 'has no reason that can be shown' END)
        FROM change_request AS request LEFT JOIN orders ON orders.number = order_number
        LEFT JOIN interchange ON interchange.id = interchange_id AND edi_state = 'claimed'
        WHERE (request.state = 'received'
               -- One that waits for an interchange is forgotten when that does not come to its end either.
               AND (claimed_at IS NULL OR claimed_at < now() - :patience - :forgotten_after)
               AND not_before < now() - :forgotten_after
               AND undecided_since < now() - :patience - :forgotten_after
               -- One that waited for an interchange is due only since the outcome of that.
               AND NOT EXISTS (SELECT FROM changelog WHERE order_id = orders.id
                               AND action IN ('edi_sent', 'edi_released') AND at > now() - :forgotten_after))
           OR (request.state = 'decided' AND (outcome IS NULL OR decided_at IS NULL OR cardinality(reasons) = 0))
           OR (request.state = 'parked' AND NOT reasons && ARRAY['unknown_order', 'failed_repeatedly'])
        """,
    ),
    Check(
        2,
        "one decision a request, one set of changes and effects",
        "SELECT count(*) FROM change_request WHERE state = 'decided'",
        """
        WITH meaning (reason, action) AS (VALUES
            ('pre_order_abandoned', 'abandoned'), ('order_cancelled', 'cancelled'),
            ('shipping_address_changed', 'shipping_address_changed'),
            ('billing_address_changed', 'billing_address_changed')
        ), found AS (
            SELECT request.*,
                ARRAY(SELECT action FROM meaning WHERE reason = ANY(reasons) AND state = 'decided' ORDER BY action)
                    AS expected_actions,
                ARRAY(SELECT action FROM changelog WHERE change_request_id = request.id ORDER BY action)
                    AS actions,
                CASE WHEN state <> 'decided' THEN '{}'
                     WHEN 'order_cancelled' = ANY(reasons) THEN ARRAY['notify', 'restock']
                     ELSE ARRAY['notify'] END AS expected_effects,
                ARRAY(SELECT kind FROM effect WHERE change_request_id = request.id ORDER BY kind) AS effects
            FROM change_request AS request
        )
        SELECT format('request %s of %s is %s (%s): changes %s, expected %s; effects %s, expected %s', external_id,
            source, state, array_to_string(reasons, ', '), actions, expected_actions, effects, expected_effects)
        FROM found WHERE actions <> expected_actions OR effects <> expected_effects
        """,
    ),
    Check(
        3,
        "no order is both closed and in an interchange",
        "SELECT count(*) FROM orders WHERE status IN ('abandoned', 'cancelled')",
        """
        SELECT format('order %s is %s and %s to the warehouse', number, status,
            CASE WHEN edi_state = 'not_sent' THEN 'was claimed and never released' ELSE edi_state END)
        FROM orders
        WHERE status IN ('abandoned', 'cancelled') AND (
            edi_state <> 'not_sent' OR interchange_id IS NOT NULL OR
            (SELECT count(*) FILTER (WHERE action = 'edi_claimed') - count(*) FILTER (WHERE action = 'edi_released')
             FROM changelog WHERE order_id = orders.id AND action IN ('edi_claimed', 'edi_released')) <> 0)
        """,
    ),
    Check(
        4,
        "interchanges say what was claimed, and nothing changed",
        "SELECT count(*) FROM orders WHERE interchange_id IS NOT NULL",
        f"""
        SELECT format('interchange %s of %s: its bytes are not those that were claimed', control_number, partner)
        FROM interchange WHERE encode(sha256(content), 'hex') <> sha256
        UNION ALL
        SELECT format('interchange %s of %s was made of %s orders and holds %s', control_number, partner,
            interchange.orders, held.n)
        FROM interchange
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM orders WHERE interchange_id = interchange.id) AS held
        WHERE held.n <> CASE WHEN state = 'released' THEN 0 ELSE interchange.orders END
        UNION ALL
        SELECT format('order %s is not what interchange %s of %s says of it', number, control_number, partner)
        FROM orders JOIN interchange ON interchange.id = interchange_id
        WHERE {ORDER_SHA256} IS DISTINCT FROM (
            SELECT after ->> 'order_sha256' FROM changelog
            WHERE order_id = orders.id AND action = 'edi_claimed' ORDER BY changelog.id DESC LIMIT 1)
        """,  # noqa: S608  # our own constant
    ),
    Check(
        5,
        "lines of cancelled orders are restocked exactly once",
        "SELECT count(*) FROM order_line JOIN orders ON orders.id = order_id WHERE status = 'cancelled'",
        """
        WITH due AS (
            SELECT number, line.order_id, line.line_no, line.sku, line.quantity,
                CASE WHEN effect.state = 'pending' AND not_before < now() - :forgotten_after THEN 'forgotten'
                     ELSE effect.state END AS state
            FROM orders JOIN order_line AS line ON line.order_id = orders.id
            LEFT JOIN changelog ON changelog.order_id = orders.id AND action = 'cancelled'
            LEFT JOIN effect ON effect.change_request_id = changelog.change_request_id AND kind = 'restock'
            WHERE status = 'cancelled'
        ), moved AS (
            SELECT order_id, line_no, sku, sum(quantity) AS quantity, count(*) AS times
            FROM stock_movement WHERE cause = 'order_cancelled' GROUP BY order_id, line_no, sku
        )
        SELECT format('order %s line %s (%s × %s): restock is %s, moved %s times, %s pieces',
            coalesce(number, moved.order_id::text), coalesce(due.line_no, moved.line_no), coalesce(due.quantity, 0),
            coalesce(due.sku, moved.sku), coalesce(state, 'not asked for'), coalesce(times, 0),
            coalesce(moved.quantity, 0))
        FROM due FULL JOIN moved USING (order_id, line_no, sku)
        WHERE (CASE state WHEN 'done' THEN 1 WHEN 'pending' THEN 0 ELSE -1 END)
                  <> coalesce(times, 0)
           OR coalesce(moved.quantity, due.quantity) <> due.quantity
        UNION ALL
        SELECT format('stock of %s is %s, its movements add up to %s', sku, coalesce(stock.quantity, 0),
            coalesce(ledger.quantity, 0))
        FROM stock FULL JOIN (SELECT sku, sum(quantity) AS quantity FROM stock_movement GROUP BY sku) AS ledger
            USING (sku)
        WHERE coalesce(stock.quantity, 0) <> coalesce(ledger.quantity, 0)
        """,
    ),
    Check(
        6,
        "every decision is told, once",
        "SELECT count(*) FROM change_request WHERE state = 'decided'",
        """
        SELECT format('request %s of %s is %s, its notify effect %s, told %s times', external_id, source,
            request.state, coalesce(effect.state, 'missing'), told.n)
        FROM change_request AS request
        LEFT JOIN effect ON effect.change_request_id = request.id AND effect.kind = 'notify'
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE state = 'sent') AS n FROM notification WHERE change_request_id = request.id
        ) AS told
        WHERE told.n <> (CASE WHEN effect.state = 'done' THEN 1 ELSE 0 END)
           OR (request.state = 'decided') <> (effect.id IS NOT NULL)
           OR effect.state = 'dead'
           OR (effect.state = 'pending' AND effect.not_before < now() - :forgotten_after
               -- One that waits for its desk or the mail server is not forgotten.
               AND NOT EXISTS (SELECT FROM notification JOIN destination ON not_before > now()
                                   AND name = CASE channel WHEN 'ticket' THEN source ELSE channel END
                               WHERE change_request_id = request.id))
        """,
    ),
    Check(
        7,
        "requests for one order are decided as accepted",
        "SELECT count(*) FROM change_request WHERE state = 'decided'",
        """
        SELECT format('request %s of %s for order %s was decided before an earlier one', external_id, source,
            order_number)
        FROM (
            SELECT *,
                max(coalesce(decided_at, parked_at, 'infinity')) OVER earlier AS earlier_settled,
                -- By state: of one that was parked both are NULL, which is greater than any.
                lag((decided_at, decided_place)) OVER (PARTITION BY order_number, state ORDER BY id) AS earlier_decided
            FROM change_request
            -- One that was reprocessed has lost its place.
            WHERE undecided_since = received_at
            WINDOW earlier AS (PARTITION BY order_number ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ) AS sequence
        WHERE state = 'decided'
          AND (decided_at < earlier_settled OR (decided_at, decided_place) < earlier_decided)
        """,
    ),
    Check(
        8,
        "requests accepted before the claim win, escalations hold",
        "SELECT count(*) FROM changelog WHERE action = 'edi_claimed'",
        """
        WITH claim AS NOT MATERIALIZED (
            SELECT order_id, number, control_number, interchange.partner, claimed_at, patience_since
            FROM changelog
            JOIN orders ON orders.id = order_id
            -- A number that was taken back has several bearers, one after the other.
            JOIN (SELECT partner, control_number, claimed_at, patience_since,
                      lead(claimed_at, 1, 'infinity') OVER (PARTITION BY partner, control_number ORDER BY id)
                          AS followed_at
                  FROM interchange) AS interchange
                ON interchange.partner = after ->> 'partner' AND control_number = (after ->> 'control_number')::bigint
                AND at >= claimed_at AND at < followed_at
            WHERE action = 'edi_claimed'
        )
        SELECT format('order %s was claimed by interchange %s of %s while request %s of %s was undecided',
            number, control_number, partner, external_id, source)
        FROM claim JOIN change_request ON order_number = number
        WHERE undecided_since < claimed_at AND undecided_since > patience_since
          AND coalesce(decided_at, parked_at, 'infinity') > claimed_at
        UNION ALL
        SELECT format('order %s was claimed by interchange %s of %s while request %s of %s (%s) held it until %s',
            number, control_number, partner, external_id, source, reason,
            to_char(held_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'))
        FROM claim JOIN escalation_hold USING (order_id)
        JOIN change_request ON change_request.id = change_request_id
        WHERE held_at < claimed_at AND held_until > claimed_at
        """,
    ),
    Check(
        9,
        "control numbers without gap or repeat, same bytes",
        "SELECT count(*) FROM interchange",
        """
        WITH used AS (
            SELECT partner, control_number AS number FROM interchange WHERE NOT number_is_free
            UNION ALL SELECT name, first_control_number - 1 FROM partner
        ), sequence AS (
            SELECT *, lead(number) OVER (PARTITION BY partner ORDER BY number) AS following FROM used
        ), skipped AS (
            -- By an operator, after the last number that was used then; what was set back counts against it.
            SELECT partner, last_used AS number, sum(next_after - next_before) AS numbers FROM renumbering GROUP BY 1, 2
        ), broken AS (
            SELECT sequence.partner FROM sequence JOIN partner ON name = sequence.partner
            LEFT JOIN skipped USING (partner, number)
            WHERE coalesce(following, last_control_number + 1) <> number + 1 + coalesce(numbers, 0)
               OR number < first_control_number - 1
        )
        SELECT format('partner %s: %s interchanges with control numbers %s to %s, the counter stands at %s', name,
            count(interchange.id), coalesce(min(control_number), 0), coalesce(max(control_number), 0),
            last_control_number)
        FROM partner LEFT JOIN interchange ON interchange.partner = name AND NOT number_is_free
        WHERE name IN (SELECT partner FROM broken)
        GROUP BY name
        UNION ALL
        SELECT format('partner %s: file name %s was used %s times', partner, filename, count(*))
        FROM interchange WHERE NOT number_is_free GROUP BY partner, filename HAVING count(*) > 1
        """,
    ),
)


# These break no promise, but an operator should look.
WARNINGS = (
    """
    SELECT format('interchange %s of %s is on its way since %s: %s', control_number, partner,
        to_char(claimed_at, 'YYYY-MM-DD HH24:MI'), CASE WHEN partner <> ALL (CAST(:configured AS text[]))
            THEN 'no partner of this name is configured, so nobody sends or releases it: put it back into the file'
            ELSE coalesce(error, 'whether it has arrived is not known') END)
    FROM interchange WHERE state = 'claimed' AND claimed_at < now() - :forgotten_after ORDER BY id
    """,
    """
    SELECT format('interchange %s of %s was sent at %s and is not acknowledged', control_number, partner,
        to_char(sent_at, 'YYYY-MM-DD HH24:MI'))
    FROM interchange WHERE state = 'sent' AND sent_at + acknowledge_within < now() ORDER BY id DESC
    """,
    """
    SELECT format('interchange %s of %s was rejected: %s', control_number, partner,
        coalesce(nullif(array_to_string(answer_reasons, '; '), ''), 'no reason was given'))
    FROM interchange WHERE state = 'rejected' ORDER BY id DESC
    """,
    """
    SELECT format('%s answers interchange %s, which was released: ask it, its orders may have been sent twice', partner,
        control_number)
    FROM (SELECT DISTINCT partner, interchange.control_number
          FROM acknowledgement JOIN partner_file ON partner_file.id = partner_file_id
          JOIN interchange USING (partner)
          WHERE acknowledgement.state = 'unmatched' AND interchange.state = 'released'
            AND interchange.control_number = acknowledgement.control_number) AS contradicted
    ORDER BY partner, control_number
    """,
    """
    SELECT format('%s answers interchange %s, and its counter stands at %s: if an older backup was restored, see '
        '`countermand partners next-number`', partner.name, max(control_number), last_control_number)
    FROM acknowledgement JOIN partner_file ON partner_file.id = partner_file_id
    JOIN partner ON partner.name = partner_file.partner
    WHERE state = 'unmatched' AND control_number > last_control_number GROUP BY partner.name ORDER BY partner.name
    """,
    """
    SELECT format('interchange %s of %s was delivered after its release, by a sender that had stalled: ask the '
        'partner, its orders may have been sent twice', control_number, partner)
    FROM interchange WHERE delivered_late_at IS NOT NULL ORDER BY id DESC
    """,
    """
    SELECT format('%s held back, as no document can be made of %s: `countermand orders list` says why',
        CASE count(*) WHEN 1 THEN '1 order is' ELSE count(*) || ' orders are' END,
        CASE count(*) WHEN 1 THEN 'it' ELSE 'them' END)
    FROM orders WHERE export_error IS NOT NULL AND status = 'validated' AND edi_state = 'not_sent' HAVING count(*) > 0
    """,
    """
    SELECT format('%s for warehouse %s, which no partner serves',
        CASE count(*) WHEN 1 THEN '1 order is' ELSE count(*) || ' orders are' END, warehouse)
    FROM orders
    WHERE status = 'validated' AND edi_state = 'not_sent' AND warehouse <> ALL (CAST(:served AS text[]))
    GROUP BY warehouse ORDER BY warehouse
    """,
    """
    SELECT format('a note for colleagues is not on ticket %s of %s (%s): %s', ticket, source, cause, error)
    FROM ticket_note WHERE state = 'dead' ORDER BY id DESC
    """,
    """
    SELECT format('nothing reaches %s since %s: %s', name, to_char(failing_since, 'YYYY-MM-DD HH24:MI'), error)
    FROM partner
    WHERE failures >= 3
      AND (CAST(:configured AS text[]) IS NULL OR name = ANY (CAST(:configured AS text[]))) ORDER BY name
    """,
    """
    SELECT format('the inbox of %s could not be read %s times in a row: %s', name, inbox_failures, inbox_error)
    FROM partner
    WHERE inbox_failures >= 3
      AND (CAST(:configured AS text[]) IS NULL OR name = ANY (CAST(:configured AS text[]))) ORDER BY name
    """,
)


def with_contradictions(found: dict[str, Any], contradictions: Sequence[str], unseen: Sequence[str]) -> dict[str, Any]:
    """Adds to an audit what contradicts the database outside of it, which breaks promise 9, and what was not seen."""
    checks = [
        {
            **check,
            "violations": check["violations"] + len(contradictions),
            "examples": [*check["examples"], *contradictions][:EXAMPLES],
        }
        if check["promise"] == _OF_NUMBERS
        else check
        for check in found["checks"]
    ]
    warnings = [*found.get("warnings", []), *unseen]
    result = {**found, "ok": found["ok"] and not contradictions, "checks": checks}
    return {**result, "warnings": warnings} if warnings else result


def audit(
    connection: Connection,
    *,
    patience: timedelta,
    served: Collection[str] | None = None,
    configured: Collection[str] | None = None,
) -> dict[str, Any]:
    """Checks all promises in one snapshot and returns the contract's shape: {"ok", "checks": […]}; "warnings" if any.

    The connection's transaction must not have begun yet: live traffic may go on beside it. `served` are the warehouses
    that some partner serves, `configured` the names of all partners; None: all.
    """
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    # It reads everything there is, and holds no lock that anyone waits for.
    connection.execute(text("SET LOCAL statement_timeout = '1h'"))
    parameters: dict[str, Any] = {"patience": patience, "forgotten_after": _FORGOTTEN_AFTER}
    checks = [_run(connection, check, parameters) for check in CHECKS]
    parameters["served"] = None if served is None else list(served)
    parameters["configured"] = None if configured is None else list(configured)
    warnings = server_warnings(connection)
    warnings += [line for warning in WARNINGS for line in _warn(connection, warning, parameters)]
    result = {"ok": not any(check["violations"] for check in checks), "checks": checks}
    return {**result, "warnings": warnings} if warnings else result


def _warn(connection: Connection, warning: str, parameters: Mapping[str, Any]) -> list[str]:
    query = text(warning)
    lines: list[str] = list(connection.scalars(query, _used(query, parameters)))
    more = [f"… and {len(lines) - EXAMPLES} more like the last"] if len(lines) > EXAMPLES else []
    return lines[:EXAMPLES] + more


def _run(connection: Connection, check: Check, parameters: Mapping[str, Any]) -> dict[str, Any]:
    # Counted and quoted in one pass: a broken promise may be broken a million times.
    violations = text(
        f"""
        WITH violation (example) AS MATERIALIZED ({check.violations})
        SELECT (SELECT count(*) FROM violation) AS n, ARRAY(SELECT example FROM violation LIMIT {EXAMPLES}) AS examples
        """  # noqa: S608  # our own queries
    )
    found = connection.execute(violations, _used(violations, parameters)).one()
    return {
        "promise": check.promise,
        "name": check.name,
        "checked": connection.execute(text(check.checked)).scalar_one(),
        "violations": found.n,
        "examples": found.examples,
    }


def _used(query: TextClause, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name in query.compile().params}
