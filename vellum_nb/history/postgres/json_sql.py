"""Members of JSON as Python writes it, in PostgreSQL: steps of `schema`, never changed.

PostgreSQL's JSON has neither NaN nor infinities, NUL nor halves of surrogate pairs, and refuses the
whole of a document with one of them. Only such a document is mended before it is looked into.
"""

from __future__ import annotations

__all__ = ["JSON_OF_PYTHON", "KEY_OF_JSON", "START_OF_KEY"]

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

# The first letters of that key, in a third of the time: what stands behind the name in a JSON text
# without spaces, as ours are, unless an object may begin before it. Within a text each quote has a
# backslash before it, so what looks like a name is one. `mark` is the name as JSON has it, "" where
# that is not sure. Half a document is left to the other function, which refuses it. What is given
# is unpacked once, not by each function that looks into it.
START_OF_KEY = (
    r"""
    CREATE FUNCTION vnb_key_start(document TEXT, name TEXT, mark TEXT, letters INT) RETURNS TEXT
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    DECLARE before text; rest text; figure double precision;
    BEGIN
        document := document || '';
        before := split_part(document, mark, 1);
        IF before = document THEN
            IF mark <> '' AND strpos(document, rtrim(mark, ':')) = 0 THEN RETURN NULL; END IF;
        ELSIF ascii(document) = 123
                AND get_byte(convert_to(document, 'UTF8'), octet_length(document) - 1) = 125
                AND (before = '{'
                    OR get_byte(convert_to(before, 'UTF8'), octet_length(before) - 1) = 44)
                AND before NOT LIKE '_%{"%' THEN
            rest := split_part(document, mark, 2);
            IF ascii(rest) = 34 THEN
                before := split_part(left(rest, letters + 2), '"', 2);
                IF strpos(before, '\') = 0 THEN RETURN 't' || left(before, letters); END IF;
                rest := substring(left(rest, 2 * letters + 2) from '^"(?:[^"\\]|\\.)*');
                IF strpos(rest, '\u') = 0 THEN
                    RETURN 't' || left((rest || '"')::json #>> '{}', letters);
                END IF;
            ELSE
                rest := split_part(split_part(rest, ',', 1), '}', 1);
                IF rest BETWEEN '-' AND ':' AND length(rest) < 300
                        AND translate(rest, 'IeE', '') = rest THEN
                    figure := rest::double precision + 0.0;
                    rest := encode(float8send(figure), 'hex');
                    RETURN CASE WHEN figure < 0
                        THEN 'm' || translate(rest, '0123456789abcdef', 'fedcba9876543210')
                        ELSE 'n' || rest END;
                END IF;
                CASE rest
                    WHEN 'true' THEN RETURN 'n3ff0000000000000';
                    WHEN 'false' THEN RETURN 'n0000000000000000';
                    WHEN 'null' THEN RETURN NULL;
                    ELSE NULL;
                END CASE;
            END IF;
        END IF;
        RETURN left(vnb_key(document, name), letters + 1);
    END $$
    """,
    """
    CREATE FUNCTION vnb_key_start_or_null(document TEXT, name TEXT, mark TEXT, letters INT)
    RETURNS TEXT LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE AS $$
    BEGIN
        RETURN vnb_key_start(document, name, mark, letters);
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END $$
    """,
    # where the server has it, and nobody is in the way: texts of a few kB are unpacked in a
    # fraction of the time; as a text, since older servers do not know the words
    """
    DO $$
    DECLARE patience text := current_setting('lock_timeout');
    BEGIN
        PERFORM set_config('lock_timeout', '1s', true);
        EXECUTE 'ALTER TABLE payloads ALTER COLUMN inputs SET COMPRESSION lz4, '
            'ALTER COLUMN outputs SET COMPRESSION lz4';
        PERFORM set_config('lock_timeout', patience, true);
    EXCEPTION WHEN syntax_error OR feature_not_supported OR invalid_parameter_value
        OR insufficient_privilege OR lock_not_available THEN NULL;
    END $$
    """,
)
