"""Finding an order by its number as people write it, and never by a guess (docs/decisions/0012).

What the eye does not tell apart has one key. The key is a function of the database, so that the index, the lock and
every look-up agree on it.
"""

# Most numbers are their own key, which is seen at once. `[[:alnum:]…]` stands for a letter or a digit of any script,
# its opposite for punctuation and blanks. Invisible characters (soft hyphen, joiners, direction marks, variation
# selectors, a byte order mark) go first; then dashes and blanks are one each, ASCII letters capital, and what stands
# around the number is taken away. Words in front of it need a blank or one of `.:#°` behind them, for NO12 and ORD-12
# are numbers themselves.
ORDER_KEY = r"""
CREATE FUNCTION order_key(number text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN number COLLATE "C" ~ '^[A-Z0-9]+(-[A-Z0-9]+)*$' THEN number
    ELSE regexp_replace(regexp_replace(upper(regexp_replace(regexp_replace(regexp_replace(
        normalize(translate(number, '№º', '#°'), NFKC) COLLATE "C",
        '[\u00AD\u034F\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFE00-\uFE0F\uFEFF]', '', 'g'),
        '[\u2010-\u2015\u2043\u2212]', '-', 'g'),
        '[ \t\n\r\f\v\u0085\u00A0\u1680\u2028\u2029]+', ' ', 'g')),
        '(?x)^(?:
            [^[:alnum:]\u00C0-\u2015\u2070-\U0010FFFF]
          | (?: ORDER | ORD | ORDER-?NUMBER | NUMBER | NUM | NO | NR | N | ID
              | BESTELLUNG | BESTELLNUMMER | BESTELL-?NR | AUFTRAG | AUFTRAGSNUMMER | AUFTRAGS-?NR | NUMMER
              | ORDINE | NUMERO | COMMANDE | NUM[\u00C9\u00E9]RO | PEDIDO | N[\u00DA\u00FA]MERO | ENCOMENDA
              | BESTELLING | BESTELNUMMER | ORDERNUMMER | ORDRE | ORDRENUMMER | BEST[\u00C4\u00E4]LLNING
              | ZAM[\u00D3\u00F3]WIENIE | NUMER )(?=[ .:\u0023\u00B0])
        )+(?=[[:alnum:]\u00C0-\u2015\u2070-\U0010FFFF])', ''),
        '(?<=[[:alnum:]\u00C0-\u2015\u2070-\U0010FFFF])[^[:alnum:]\u00C0-\u2015\u2070-\U0010FFFF]+$', '') END
$$
"""


def order_meant(written: str) -> str:
    """Returns the SQL expression for the number of the order that is meant by `written`, itself an SQL expression.

    That is the order of exactly this number; else the only one with its key; else what was written. The caller holds
    the lock on the number (`database.locks`), or the order may be loaded in between.
    """
    return f"""coalesce(
        (SELECT known.number FROM orders AS known WHERE known.number = {written}),
        (SELECT min(known.number) FROM orders AS known WHERE order_key(known.number) = order_key({written})
         HAVING count(*) = 1),
        {written})"""  # noqa: S608  # our own expressions
