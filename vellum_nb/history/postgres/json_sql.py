"""Members of JSON as Python writes it, in PostgreSQL: a step of `schema`, never changed.

PostgreSQL's JSON has neither NaN nor infinities, NUL nor halves of surrogate pairs, and refuses the
whole of a document with one of them. Only such a document is mended before it is looked into.
"""

from __future__ import annotations

__all__ = ["JSON_OF_PYTHON"]

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
