"""The data that come with the samples, and how they are read."""

from __future__ import annotations

import csv

import pytest

import vellum_nb as vnb
from vellum_nb.local.samples import cases, names
from vellum_nb.local.samples.text import sentences
from vellum_nb.local.samples.triage import labelled_texts


def rows_of(name: str) -> list[dict[str, str]]:
    with cases(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_sentences_keep_their_quotes_and_abbreviations():
    assert sentences('He said "go." Then Dr. Vega left.') == [
        'He said "go."',
        "Then Dr. Vega left.",
    ]


def test_an_unknown_sample_is_answered_with_the_known_ones():
    with pytest.raises(KeyError, match="ticket-triage, docs-qa, summarise"):
        cases("triage")


def test_no_test_ticket_was_learned():
    learned = {
        text for _, text in labelled_texts(cases("ticket-triage").parent / "triage-training.csv")
    }
    assert learned.isdisjoint(row["ticket"] for row in rows_of("ticket-triage"))


@pytest.mark.parametrize("name", names())
def test_a_case_file_has_forty_different_labelled_rows(name):
    rows = rows_of(name)
    assert len(rows) >= 40
    assert len({tuple(row.values()) for row in rows}) == len(rows)
    assert all(row["label"] for row in rows)


def test_a_sample_release_is_the_same_release_in_every_process():
    def ids() -> dict[str, str | None]:
        with vnb.connect(vnb.LocalServer(samples=True), history=":memory:") as ws:
            ids = dict(ws.releases("ticket-triage")[["release_tags", "release_id"]].to_numpy())
            ws.server.stop()
        return ids

    assert ids() == ids()
