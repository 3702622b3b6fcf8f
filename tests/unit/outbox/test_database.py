"""The SQLite file: what was committed survives, what is damaged is set aside, and nobody waits for ever."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sqlite3
import threading
import time
import weakref
from pathlib import Path

import pytest
from process_tools import Program

from telemetry_sdk.outbox import StoreError
from telemetry_sdk.outbox import database as module
from telemetry_sdk.outbox.database import DamagedError, Database

GUARD = 20.0  # seconds; only against hanging
SCHEMA = "CREATE TABLE words (word TEXT NOT NULL); CREATE TABLE totals (n INTEGER NOT NULL);"

PROGRAM = f"""
import sqlite3
from telemetry_sdk.outbox.database import Database
from telemetry_sdk.outbox import StoreError
SCHEMA = {SCHEMA!r}
database = Database(Path(SETTINGS["state_dir"]) / "outbox.sqlite3", SCHEMA, 1)
def add(word):
    database.run(lambda db: db.execute("INSERT INTO words VALUES (?)", (word,)))
def words():
    return database.run(lambda db: [row[0] for row in db.execute("SELECT word FROM words")], write=False)
"""


@pytest.fixture
def path(state_dir: Path) -> Path:
    return state_dir / "outbox.sqlite3"


@pytest.fixture
def database(path):
    return Database(path, SCHEMA, 1)


def program(source: str, tmp_path: Path, state_dir: Path, **settings: object) -> Program:
    return Program(PROGRAM + source, tmp_path, state_dir=state_dir, **settings)


def add(database: Database, word: str) -> None:
    database.run(lambda db: db.execute("INSERT INTO words VALUES (?)", (word,)))


def words(database: Database) -> list[str]:
    return database.run(lambda db: [row[0] for row in db.execute("SELECT word FROM words ORDER BY rowid")], write=False)


def set_aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.corrupt-*"))


# -- transactions


def test_nothing_is_made_before_the_first_use(database, state_dir):
    """Making the object opens no file."""
    assert (database.durable, database.problem, database.generation) == (True, "", 0)
    assert not state_dir.exists()


def test_what_run_returned_from_is_seen_by_others(database, path):
    """One object's commit is another's next read, and `run` returns what the work returns."""
    add(database, "one")

    assert words(Database(path, SCHEMA, 1)) == ["one"]
    assert database.run(lambda _: 42) == 42


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, StoreError])
def test_work_that_raises_changes_nothing(database, error):
    """A transaction whose work raises, for whatever reason, is undone, and the next one works."""
    add(database, "one")

    def fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO words VALUES ('two')")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        database.run(fail)

    add(database, "three")
    assert words(database) == ["one", "three"]


def test_a_bug_of_ours_is_neither_hidden_nor_taken_for_damage(database, path):
    """A statement with the wrong number of values raises as it is, and the file stays."""
    add(database, "one")

    with pytest.raises(sqlite3.ProgrammingError):
        database.run(lambda db: db.execute("INSERT INTO words VALUES (?)", ()))

    assert words(database) == ["one"]
    assert set_aside(path) == []


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_what_was_committed_survives_the_end_of_the_process(tmp_path, state_dir, database, end):
    """Every `run` that returned before the process ended without a word is there; the one it died in is not."""
    source = f"""
for n in range(20):
    add(str(n))
def die(db):
    db.execute("INSERT INTO words VALUES ('dying')")
    {end}
database.run(die)
"""
    program(source, tmp_path, state_dir).finish(code=None)

    assert words(database) == [str(n) for n in range(20)]
    assert database.problem == ""


def test_a_deleted_record_leaves_no_bytes(database, path):
    """After `shrink` what was deleted is in none of the files."""
    for word in ("one", "unmistakable", "two"):
        add(database, word)
    database.run(lambda db: db.execute("DELETE FROM words WHERE word = 'unmistakable'"))
    database.shrink()

    assert words(database) == ["one", "two"]
    assert all(b"unmistakable" not in file.read_bytes() for file in path.parent.iterdir())


def test_a_commit_reaches_the_operating_system(database):
    """The file is in WAL mode and synced at checkpoints: a kill undoes no commit, a power cut tears no file."""
    pragmas = [
        database.run(lambda db, name=name: db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("journal_mode", "synchronous", "secure_delete")
    ]

    assert pragmas == ["wal", 1, 1]


def test_folding_the_log_into_the_file_keeps_the_connection(database, path):
    """However much is written, the log stays within its bounds and the connection that was opened first serves all of it."""
    log = 0
    for number in range(5000):
        add(database, f"{number:04d}" * 700)
        log = max(log, Path(f"{path}-wal").stat().st_size)

    assert database.generation == 1
    assert 23 * 1024 * 1024 < log < 27 * 1024 * 1024


# -- files


def test_files_are_private(database, path):
    """The file and its companions are 0600 in a directory of 0700, whatever the umask."""
    before = os.umask(0)
    try:
        add(database, "one")
        found = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert found == dict.fromkeys((path.name, f"{path.name}-wal", f"{path.name}-shm", "outbox.lock"), 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("target", ["there", "missing"])
@pytest.mark.parametrize("beside", ["nothing", "a file"])
def test_a_planted_link_is_not_followed(database, path, tmp_path, suffix, target, beside):
    """Nothing is written through a symbolic link planted in place of the file or a companion of it."""
    precious = tmp_path / "precious"
    if target == "there":
        precious.write_bytes(b"do not touch")
    if beside == "a file":
        add(Database(path, SCHEMA, 1), "old")
    link = Path(f"{path}{suffix}")
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(precious)

    add(database, "one")

    assert words(database)[-1] == "one"
    assert precious.exists() is (target == "there")
    assert target == "missing" or precious.read_bytes() == b"do not touch"


def test_a_link_in_place_of_the_file_means_memory(database, path, tmp_path):
    """Where the file itself is a planted link records live in memory, and `problem` says so."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "precious")

    add(database, "one")

    assert (database.durable, database.problem) == (False, "outbox.sqlite3 is not a regular file")


def test_racing_objects_make_the_tables_once(path):
    """Sixteen objects that open a missing file at one moment all use it, and none falls back to memory."""
    databases = [Database(path, SCHEMA, 1) for _ in range(16)]
    barrier = threading.Barrier(16)

    def work(database: Database) -> None:
        barrier.wait(GUARD)
        add(database, "x")

    threads = [threading.Thread(target=work, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)

    assert [database.problem for database in databases] == [""] * 16
    assert len(words(databases[0])) == 16


def test_threads_share_one_object(database):
    """Threads take turns on one object, and none of their work is lost."""
    threads = [threading.Thread(target=lambda: [add(database, "x") for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)

    assert len(words(database)) == 100


def test_closing_closes_and_the_next_use_opens(database, path):
    """After `close` no descriptor is held, and the next `run` goes on where the last one ended."""
    add(database, "one")
    database.close()

    assert not Path(f"{path}-wal").exists()
    assert words(database) == ["one"]
    assert database.generation == 2


def test_a_forgotten_object_closes_its_file(path):
    """An object that nobody holds any more takes its connection along, without a warning."""
    database = Database(path, SCHEMA, 1)
    add(database, "one")
    gone = weakref.ref(database)
    del database
    gc.collect()

    assert gone() is None
    assert not Path(f"{path}-wal").exists()


# -- damage


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def execute(statement: str):
    def damage(path: Path) -> None:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute(statement)
        db.close()

    return damage


DAMAGE = {
    "text": lambda path: path.write_bytes(b"this is no database" * 1000),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "header": lambda path: overwrite(path, 0, b"\xff" * 100),
    "pages": lambda path: overwrite(path, 100, os.urandom(path.stat().st_size - 100)),
    "truncated": lambda path: os.truncate(path, 4096),
    "table gone": execute("DROP TABLE words"),
    "column gone": execute("ALTER TABLE words RENAME COLUMN word TO sword"),
    "version gone": execute("PRAGMA user_version=0"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(database, path, damage):
    """A file that is damaged when it is opened is kept aside with its bytes, and work goes on in a new one."""
    add(database, "one")
    database.close()
    damage(path)
    damaged = path.read_bytes()

    later = Database(path, SCHEMA, 1)
    found = words(later)
    add(later, "two")

    assert (found, words(later)) == ([], ["two"])
    assert (later.durable, later.problem) == (True, "")
    (aside,) = set_aside(path)
    assert aside.read_bytes() == damaged
    assert words(Database(path, SCHEMA, 1)) == ["two"]


def test_an_emptied_file_is_begun_anew(database, path):
    """A file cut to nothing is no damage to keep; tables are made in it again."""
    add(database, "one")
    database.close()
    path.write_bytes(b"")

    add(Database(path, SCHEMA, 1), "two")

    assert words(Database(path, SCHEMA, 1)) == ["two"]
    assert set_aside(path) == []


@pytest.mark.parametrize("sign", [DamagedError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")], ids=repr)
def test_damage_found_while_open_is_set_aside_and_the_work_done_again(database, path, sign):
    """Work that finds the file's content impossible is executed again on a new file."""
    add(database, "one")

    def work(db: sqlite3.Connection) -> str:
        if db.execute("SELECT 1 FROM words").fetchone():
            raise sign
        db.execute("INSERT INTO words VALUES ('anew')")
        return "done"

    assert database.run(work) == "done"
    assert words(database) == ["anew"]
    assert any(file.name.startswith(f"{path.name}.corrupt-") for file in set_aside(path))


def test_text_that_is_not_utf8_is_damage(database, path):
    """A text column with bytes that are no text makes the file damaged, not the program."""
    add(database, "one")
    database.run(lambda db: db.execute("UPDATE words SET word = CAST(x'ff' AS TEXT)"))

    assert words(database) == []
    assert set_aside(path)


def test_damage_that_does_not_go_away_is_a_store_error(database):
    """Work that finds even a new file damaged fails in plain words."""

    def work(_: sqlite3.Connection) -> None:
        raise DamagedError

    with pytest.raises(StoreError, match="damaged"):
        database.run(work)


def test_two_objects_set_a_damaged_file_aside_once(path):
    """An object that finds the damage after another one began a new file uses the new one."""
    one, other = Database(path, SCHEMA, 1), Database(path, SCHEMA, 1)
    add(one, "old")
    add(other, "old")
    one.run(lambda db: db.execute("DROP TABLE words"))

    add(one, "new")
    add(other, "newer")

    assert words(one) == words(other) == ["new", "newer"]
    assert len([file for file in set_aside(path) if "-wal" not in file.name and "-shm" not in file.name]) == 1


def test_a_file_another_one_has_replaced_is_not_set_aside(path):
    """Who found damage after the file was replaced leaves the new file where it is."""
    one, other = Database(path, SCHEMA, 1), Database(path, SCHEMA, 1)
    add(other, "old")
    runs = []

    def work(db: sqlite3.Connection) -> list[str]:
        runs.append(1)
        if len(runs) == 1:
            path.rename(path.with_name("elsewhere"))
            add(one, "new")
            raise DamagedError
        return [row[0] for row in db.execute("SELECT word FROM words")]

    assert other.run(work, write=False) == ["new"]
    assert set_aside(path) == []


@pytest.mark.parametrize("what", ["file", "all files", "directory"])
def test_deleted_while_open_is_begun_anew(database, path, what):
    """A file deleted under an open object is noticed at the next call, which begins a new one."""
    add(database, "one")
    if what == "directory":
        shutil.rmtree(path.parent)
    else:
        for file in [path] if what == "file" else list(path.parent.iterdir()):
            file.unlink()

    add(database, "two")

    assert words(database) == words(Database(path, SCHEMA, 1)) == ["two"]
    assert (database.durable, database.problem) == (True, "")


def test_a_newer_version_is_left_alone(database, path):
    """A file of a newer version is not touched; records live in memory, and `problem` says why."""
    add(database, "one")
    database.run(lambda db: db.execute("PRAGMA user_version=2"))
    database.close()
    before = path.read_bytes()

    older = Database(path, SCHEMA, 1)
    add(older, "mine")

    assert words(older) == ["mine"]
    assert older.durable is False
    assert "newer version" in older.problem
    older.close(for_good=True)
    assert path.read_bytes() == before
    assert set_aside(path) == []


# -- what the world does


@pytest.fixture
def impatient(impatient, monkeypatch):
    """Waits are short, that for the lock of the file too."""
    monkeypatch.setattr(module, "_LOCK_WAIT", 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("opened", [True, False], ids=["open", "opening"])
def test_a_file_locked_by_another_program_is_a_store_error_in_time(database, path, opened):
    """While another program holds the file a call fails within its bound; afterwards the next one succeeds."""
    add(database, "one")
    if not opened:
        database.close()
    other = sqlite3.connect(path, isolation_level=None)
    if not opened:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    with pytest.raises(StoreError, match="locked by another program"):
        add(database, "two")
    waited = time.monotonic() - begun
    other.execute("ROLLBACK")
    other.close()

    add(database, "three")

    assert 0.2 <= waited < GUARD
    assert words(database) == ["one", "three"]
    assert (database.durable, set_aside(path)) == (True, [])


def test_the_bound_for_a_locked_file_is_two_seconds():
    """The documented bound is what is asked of SQLite."""
    assert module.BUSY_WAIT == 2.0


@pytest.mark.usefixtures("impatient")
def test_a_thread_that_holds_the_outbox_long_is_a_store_error_in_time(database):
    """While another thread is inside, a call waits no longer than its bound."""
    inside, leave = threading.Event(), threading.Event()

    def linger(_: sqlite3.Connection) -> None:
        inside.set()
        leave.wait(GUARD)

    thread = threading.Thread(target=database.run, args=(linger,))
    thread.start()
    assert inside.wait(GUARD)
    with pytest.raises(StoreError, match="busy in another thread"):
        add(database, "two")
    leave.set()
    thread.join(GUARD)

    add(database, "three")
    assert words(database) == ["three"]


def test_a_full_disk_is_a_store_error_that_changes_nothing(database, path):
    """When there is no room a call fails in plain words, what is there stays, and later there may be room."""
    add(database, "one")
    pages = database.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    database.run(lambda db: db.execute(f"PRAGMA max_page_count={pages}").fetchall())
    with pytest.raises(StoreError, match="the disk is full"):
        add(database, "x" * 20_000)

    database.run(lambda db: db.execute("PRAGMA max_page_count=1000000").fetchall())
    add(database, "two")

    assert words(database) == ["one", "two"]
    assert set_aside(path) == []


def test_no_directory_means_memory(tmp_path):
    """Without a directory, or where none can be made, the same tables live in memory and `problem` says why."""
    (tmp_path / "file").write_text("")
    homeless = Database(None, SCHEMA, 1)
    blocked = Database(tmp_path / "file" / "state" / "outbox.sqlite3", SCHEMA, 1)
    for database in (homeless, blocked):
        add(database, "one")
        database.close()

        assert words(database) == ["one"]
        assert database.durable is False
        database.close(for_good=True)
        assert words(database) == []
    assert homeless.problem == "there is no directory to keep the outbox in"
    assert blocked.problem.startswith("the state directory cannot be created")


def test_memory_is_used_by_all_threads(tmp_path):
    """What lives in memory is the same for every thread."""
    database = Database(None, SCHEMA, 1)
    thread = threading.Thread(target=add, args=(database, "one"))
    thread.start()
    thread.join(GUARD)

    assert words(database) == ["one"]


# -- calls from inside


def inside(database: Database, *calls) -> list[str]:
    """Make *calls* from within a transaction that adds a word, and return what they raised."""
    raised = []

    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO words VALUES ('outer')")
        for call in calls:
            try:
                call()
            except StoreError as error:
                raised.append(str(error))

    database.run(work)
    return raised


def test_a_call_from_inside_is_refused_each_time(database, path):
    """Calls from inside a transaction fail in plain words, however many, and the transaction is not harmed."""
    raised = inside(database, *[lambda: words(database)] * 3)

    assert len(raised) == 3
    assert all("from inside the outbox itself" in text for text in raised)
    assert words(database) == ["outer"]
    assert set_aside(path) == []


def test_a_call_from_a_signal_handler_is_refused(database):
    """A signal handler that interrupts a transaction gets a StoreError, not a deadlock."""
    raised = []

    def handler(*_: object) -> None:
        try:
            words(database)
        except StoreError as error:
            raised.append(str(error))

    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert inside(database, *[lambda: signal.raise_signal(signal.SIGTERM)] * 2) == []
    finally:
        signal.signal(signal.SIGTERM, before)

    assert len(raised) == 2
    assert words(database) == ["outer"]


def test_closing_from_inside_does_not_harm_the_transaction(database):
    """Close, shrink and the fork hooks may be called from inside; the transaction ends as if they had not been."""
    calls = [
        database.close,
        database.shrink,
        lambda: database.close(for_good=True),
        lambda: database.after_fork_in_parent(held=database.before_fork()),
    ]

    assert inside(database, *calls) == []
    assert words(database) == ["outer"]


def test_discarding_from_inside_is_refused(database, path):
    """The file is not deleted under a transaction."""
    assert len(inside(database, database.discard)) == 1

    assert words(database) == ["outer"]


def test_discard_deletes_everything_and_work_goes_on(database, path):
    """After `discard` no byte of what was stored is left; this object and others begin a new file."""
    other = Database(path, SCHEMA, 1)
    add(database, "unmistakable")
    add(other, "unmistakable")

    database.discard()

    assert [file.name for file in path.parent.iterdir()] == ["outbox.lock"]
    add(other, "two")
    assert words(database) == words(other) == ["two"]


def test_what_cannot_be_discarded_is_said_so(database, path):
    """Where the file cannot be deleted, `discard` says so."""
    add(database, "one")
    database.close()
    path.unlink()
    (path / "inside").mkdir(parents=True)

    with pytest.raises(StoreError, match="cannot be opened"):
        database.discard()


# -- fork

FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork beside threads
def fork(work):
    held = database.before_fork()
    pid = os.fork()
    if pid:
        database.after_fork_in_parent(held=held)
        return pid
    code = 1
    try:
        database.after_fork_in_child()
        work()
        code = 0
    finally:
        os._exit(code)
def reap(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
def test_parent_and_child_use_the_file_each_with_a_connection_of_its_own(tmp_path, state_dir, database):
    """After a fork parent and child both go on; nothing is lost, and nothing is twice."""
    source = """
add("before")
def child():
    for n in range(20):
        add(f"child {n}")
pids = [fork(child) for _ in range(3)]
for n in range(20):
    add(f"parent {n}")
for pid in pids:
    reap(pid)
"""
    program(FORK + source, tmp_path, state_dir).finish()

    found = words(database)
    assert len(found) == 81
    assert sorted(set(found)) == sorted(
        ["before", *(f"child {n}" for n in range(20)), *(f"parent {n}" for n in range(20))]
    )


@needs_fork
def test_a_fork_waits_for_a_transaction_of_another_thread(tmp_path, state_dir, database):
    """A fork while threads are inside neither deadlocks the child nor tears a transaction."""
    source = """
stop = threading.Event()
def busy():
    while not stop.is_set():
        add("thread")
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(10):
    reap(fork(lambda: add("child")))
stop.set()
for thread in threads:
    thread.join()
say(words().count("child"))
"""
    assert program(FORK + source, tmp_path, state_dir).finish() == "10\n"
    assert words(database).count("child") == 10


@needs_fork
def test_a_child_forked_in_the_middle_of_a_transaction_does_not_hang(tmp_path, state_dir, database):
    """A child forked although the lock could not be had in time gets a StoreError at once, and harms nothing."""
    source = """
from telemetry_sdk.outbox import database as module
module._LOCK_WAIT = 0.05
inside, leave = threading.Event(), threading.Event()
def linger(db):
    db.execute("INSERT INTO words VALUES ('lingering')")
    inside.set()
    leave.wait(20)
thread = threading.Thread(target=database.run, args=(linger,))
thread.start()
inside.wait(20)
module.BUSY_WAIT = 0.1
def child():
    try:
        add("child")
    except StoreError as error:
        say(error)
pid = fork(child)
reap(pid)
leave.set()
thread.join()
add("parent")
"""
    found = program(FORK + source, tmp_path, state_dir).finish()

    assert found == "the program closed the outbox's file descriptors, or forked unseen while it was open\n"
    assert words(database) == ["lingering", "parent"]


@needs_fork
def test_memory_is_not_shared_with_a_child(tmp_path, state_dir):
    """What lives in memory stays with the parent, for a child that had it too would send it twice."""
    source = """
database = Database(None, SCHEMA, 1)
add("parent")
def child():
    assert words() == []
    add("child")
reap(fork(child))
say(words())
"""
    assert program(FORK + source, tmp_path, state_dir).finish() == "['parent']\n"
