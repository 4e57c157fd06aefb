"""Members of JSON as Python writes it, in PostgreSQL: steps of `schema`, never changed.

PostgreSQL's JSON has neither NaN nor infinities, NUL nor halves of surrogate pairs, and refuses the
whole of a document with one of them. Only such a document is mended before it is looked into.
"""

from __future__ import annotations

__all__ = ["JSON_OF_PYTHON", "KEY_OF_JSON"]

JSON_OF_PYTHON = (
    r"""
    CREATE FUNCTION vnb_found(document TEXT, name TEXT) RETURNS JSON
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
        RETURN document::json -> name;
    EXCEPTION WHEN data_exception THEN
        document := regexp_replace(document, '([:\[,])NaN(?=[],}])', '\1null', 'g');
        document := regexp_replace(
            document, '([:\[,]-?)Infinity(?=[],}])', '\11.7976931348623157e308', 'g');
        document := replace(document, '\u0001', '\u0001\u0002');
        document := replace(document, '\u0000', '\u0001\u0001');
        document := regexp_replace(document, '\\ud[89a-f][0-9a-f]{2}', '\\ufffd', 'gi');
        RETURN document::json -> name;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION vnb_member(document TEXT, name TEXT) RETURNS TEXT
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
        RETURN vnb_found(document, name) #>> '{}';
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION vnb_number(document TEXT, name TEXT) RETURNS DOUBLE PRECISION
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    DECLARE found json;
    BEGIN
        found := vnb_found(document, name);
        RETURN CASE json_typeof(found)
            WHEN 'number' THEN found::text::double precision
            WHEN 'boolean' THEN (found::text = 'true')::int END;
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END $$
    """,
)

# A text that sorts as the value does: numbers, then texts. Without a block that catches errors, as
# which it would be refused where PostgreSQL sorts in several processes; the second one has it, and
# is none for a row that holds no JSON.
KEY_OF_JSON = (
    r"""
    CREATE FUNCTION vnb_key(document TEXT, name TEXT) RETURNS TEXT
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    DECLARE found json; number text; figure double precision;
    BEGIN
        IF strpos(document, '\u') > 0 OR strpos(document, 'NaN') > 0
                OR strpos(document, 'Infinity') > 0 THEN
            document := regexp_replace(document, '([:\[,])NaN(?=[],}])', '\1null', 'g');
            document := regexp_replace(
                document, '([:\[,]-?)Infinity(?=[],}])', '\11' || repeat('0', 310), 'g');
            document := replace(document, '\u0001', '\u0001\u0002');
            document := replace(document, '\u0000', '\u0001\u0001');
            document := regexp_replace(document, '\\ud[89a-f][0-9a-f]{2}', '\\ufffd', 'gi');
        END IF;
        found := document::json -> name;
        CASE json_typeof(found)
            WHEN 'number' THEN number := found #>> '{}';
            WHEN 'boolean' THEN number := CASE found #>> '{}' WHEN 'true' THEN '1' ELSE '0' END;
            WHEN 'null' THEN RETURN NULL;
            ELSE RETURN 't' || (found #>> '{}');
        END CASE;
        figure := CASE WHEN length(number) < 300 THEN number::double precision
            WHEN abs(number::numeric) < 1.7976931348623158e308 THEN number::double precision
            WHEN number LIKE '-%' THEN '-Infinity' ELSE 'Infinity' END;
        number := encode(float8send(figure + 0.0), 'hex');
        RETURN CASE WHEN figure < 0
            THEN 'm' || translate(number, '0123456789abcdef', 'fedcba9876543210')
            ELSE 'n' || number END;
    END $$
    """,
    """
    CREATE FUNCTION vnb_key_or_null(document TEXT, name TEXT) RETURNS TEXT
    LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $$
    BEGIN
        RETURN vnb_key(document, name);
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END $$
    """,
    "DROP FUNCTION IF EXISTS vnb_number(TEXT, TEXT)",
    "DROP FUNCTION IF EXISTS vnb_member(TEXT, TEXT)",
    "DROP FUNCTION IF EXISTS vnb_found(TEXT, TEXT)",
    "DROP FUNCTION IF EXISTS vnb_plain(TEXT)",
)
