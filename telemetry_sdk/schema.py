"""The outbox's tables, as SQL.

A record is counted by a trigger, so that storing it takes one statement.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SCHEMA", "VERSION"]

VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE envelopes (id INTEGER PRIMARY KEY, data BLOB NOT NULL UNIQUE);
CREATE TABLE records (
  seq INTEGER PRIMARY KEY, uid TEXT NOT NULL, layer TEXT NOT NULL, name TEXT NOT NULL, made_ns INTEGER NOT NULL,
  derived INTEGER NOT NULL, grant_id TEXT, not_before REAL NOT NULL DEFAULT 0, envelope INTEGER NOT NULL,
  body BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE UNIQUE INDEX derived_uid ON records (uid) WHERE derived;
CREATE TABLE done (uid TEXT PRIMARY KEY, at_ns INTEGER NOT NULL);
CREATE TABLE totals (
  id INTEGER PRIMARY KEY CHECK (id = 1), accepted INTEGER NOT NULL, pending INTEGER NOT NULL, bytes INTEGER NOT NULL,
  delivered INTEGER NOT NULL, rejected INTEGER NOT NULL);
CREATE TRIGGER counted AFTER INSERT ON records BEGIN
  UPDATE totals SET accepted = new.seq, pending = pending + 1, bytes = bytes + length(new.body); END;
CREATE TABLE dropped (reason TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE circuit (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);
CREATE TABLE lease (id INTEGER PRIMARY KEY CHECK (id = 1), owner TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE sent (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_ns INTEGER NOT NULL, sink TEXT NOT NULL, body BLOB NOT NULL,
  records INTEGER NOT NULL, status INTEGER, verdict TEXT NOT NULL, reason TEXT NOT NULL);
INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0);
INSERT INTO circuit VALUES (1, '{}');
INSERT INTO lease VALUES (1, '', 0);
"""
