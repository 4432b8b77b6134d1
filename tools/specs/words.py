"""What the schemas say in words: of the fields of messages, and of the texts that many fields are made of."""

from orders.messages import MAX_MESSAGE_BYTES, Unreadable

TEXTS = {
    "Number": "An order's number as people write it: `#700498`, `Order no. 700498`. Not blank, no control characters.",
    "Key": "A key, compared character by character. No white space at its ends, no control characters.",
    "Line": "One line of text, or nothing. White space at its ends is dropped; then it has at most 256 characters, "
    "none of them a control character.",
    "RequiredLine": "One line of text. White space at its ends is dropped; then it has 1 to 256 characters, none of "
    "them a control character.",
    "FreeText": "Any text, of any number of lines, without the character NUL.",
    "Moment": "A moment of the years 2000 to 2099 with its zone, as in RFC 3339. The day must exist.",
    "Quantity": "A whole number, written without a fraction: 1.0 is refused.",
    "TemplateText": "A text. A whole number is taken for its digits; null and the empty text for nothing filled in.",
    "RequiredTemplateText": "A text that is not blank. A whole number is taken for its digits.",
}

FIELDS = {
    "ChangeMessage.source": "Who asks, for example a helpdesk's account. The first half of the idempotency key.",
    "ChangeMessage.id": "New for each request of this source, the same for its repeats. The second half of the key.",
    "ChangeMessage.time": "When the customer asked. Not part of `data`: a repeat may carry another one. More than five "
    "minutes ahead of the receipt it counts as the moment of the receipt.",
    "ChangeData.order": "The number of the order. It need not be known yet: the request waits for it. An order of "
    "exactly this number is meant, else the only one whose number looks the same.",
    "ChangeData.ticket": "The helpdesk's ticket, which receives the answer.",
    "ChangeData.note": "Why. A validated order is not cancelled without one.",
    "ChangeData.requester": "The requester's e-mail address. If it is not the customer's, a person decides; left "
    "out, it is not compared.",
    "ChangeData.language": "What the customer reads, as a BCP 47 tag. What is none or has no texts gets English.",
    "ChangeData.addresses": "What the addresses shall be; needed by `change_address`, and used for nothing else.",
    "ChangeData.lines": "What shall be left out, of a `partial_cancel`; for the person who decides it.",
    "Addresses.shipping": "null and the empty object are the same as leaving it out.",
    "Addresses.billing": "null and the empty object are the same as leaving it out.",
    "Address.country": "ISO 3166-1 alpha-2, in either case. Whether it exists is decided later: `invalid_address`.",
    "NamedTicket.ticket": "The ticket's id.",
    "TicketPayload.ticket": "The ticket's id.",
    "TicketPayload.order": "The order's number; it must fit Number.",
    "TicketPayload.kind": "One of Kind in any case, with or without `countermand_` before it.",
    "TicketPayload.requester": "The e-mail address of the ticket's requester; if it is empty a person decides.",
    "TicketPayload.time": "When the customer asked, ISO 8601, UTC if it says no zone; else when it arrived. Gorgias "
    "cannot tell: there it is passed over.",
    "TicketPayload.id": "A key of this asking, where the desk has one; else it is made of the content.",
    "TicketPayload.author": "Who wrote what set the webhook off: what we wrote ourselves is passed over.",
    "TicketPayload.addresses": "Used for `change_address`, and must then fit Addresses.",
}

# When a message becomes a dead letter.
DEAD_LETTERS = {
    Unreadable.NOT_JSON: "The bytes are no JSON in UTF-8: broken, with a byte order mark, with a lone surrogate.",
    Unreadable.INVALID_MESSAGE: "JSON that is no change request; the error names the fields and quotes no value. Also "
    "what RabbitMQ has given up.",
    Unreadable.TOO_LARGE: f"More than {MAX_MESSAGE_BYTES:,} bytes; it is not parsed.",
    Unreadable.CONFLICTING_DUPLICATE: "A key that is known, with other `data`. The first request stays as it is.",
}
