"""What reads bytes of strangers: each parser with right inputs to begin from, and the errors that it may end in.

Whatever else a target raises is a finding. Beyond "no other error" each target says what must hold of what was taken.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd

from churn.artifact import make_artifact
from churn.bundle import MANIFEST, Bundle, load_bundle
from churn.contract import CONTRACTS_FOLDER, parse_contract
from churn.encoder import Encoder
from churn.errors import BundleRefused, ContractError, DataError, EvidentlyFailed, InvalidInput, WatchError
from churn.evidently_remote import GIVEN, MADE, answer
from churn.prediction import Prediction, to_json
from churn.raw_records import Refusal
from churn.scoring import Scorer
from churn.store import open_store
from churn.uniform import read_uniform
from monitoring.truth import read_labels
from orchestration.cleaning import Cleaner
from orchestration.env_file import EnvFileError, value_in, write_run_id
from orchestration.source import open_source
from serverless.door import Door
from serverless.score import Artifact, ArtifactError, InvalidRecord
from serverless.warm import Warm, from_file
from stream_service.answers import read_answer
from stream_service.dead_letters import Origin, collect, letters
from stream_service.pipeline import score_batch
from stream_service.records import StreamRecord
from tests.fakes import make_bundle, pseudonym_key, random_customers, records
from web_service.feedback import labels_of
from web_service.keys import KeyFile, KeyFileError
from web_service.problems import Problem
from web_service.strict_json import NotJson, parse

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TELLING = {200, 204, 400, 404, 405, 413, 422}


@dataclass(frozen=True)
class Target:
    """`run` returns, or raises a finding. Seeds are right inputs, or nearly."""

    name: str
    seeds: list[bytes]
    run: Callable[[bytes], None]


def make_targets(folder: Path) -> dict[str, Target]:
    """All of them, over one small real bundle each of two contracts."""
    cards, bank = make_bundle(folder / "cards"), make_bundle(folder / "bank", "bank")
    made = [
        _http_body(cards), _feedback(cards), _stream_record(cards), _answer(cards), _dead_letter(cards),
        _contract(), _artifact(cards, bank), _api_event(cards, bank, folder), _bundle(cards, folder),
        _table(cards, folder), _workbook(bank, folder), _label_file(cards, folder), _env_file(folder),
        _key_file(folder), _evidently_job(),
    ]  # fmt: skip
    return {target.name: target for target in made}


def _customers(bundle: Bundle, count: int = 5) -> list[dict[str, Any]]:
    return records(random_customers(bundle.contract, count, seed=3), bundle.contract)


def _http_body(bundle: Bundle) -> Target:
    scorer = Scorer(bundle, key=pseudonym_key)
    one = _customers(bundle)
    bodies = (one[0], one, one[1] | {"customer_id": 4, "event_time": "2026-01-31"})
    seeds = [json.dumps(body).encode() for body in bodies]

    def run(data: bytes) -> None:
        try:
            body = parse(data)
        except NotJson:
            return
        uniform = read_uniform(data)
        assert uniform is None or list(uniform) == body
        fields = [item for item in (body if isinstance(body, list) else [body]) if isinstance(item, dict)]
        for outcome in scorer.score(fields[:200], "http"):
            if isinstance(outcome, Prediction):
                assert 0.0 <= outcome.churn_probability <= 1.0
                assert read_answer(to_json(outcome)) == outcome

    return Target("http-body", seeds, run)


def _feedback(bundle: Bundle) -> Target:
    by_customer = {"customer_id": 7, "churned": False, "observed_at": "2026-01-30"}
    labels = [{"prediction_id": "a" * 32, "churned": True}, by_customer]

    def run(data: bytes) -> None:
        try:
            labels_of(parse(data), bundle.contract.name, NOW, 100, str)
        except (NotJson, Problem):
            return

    return Target("feedback", [json.dumps(body).encode() for body in (labels[0], labels)], run)


def _stream_record(bundle: Bundle) -> Target:
    scorer = Scorer(bundle, key=pseudonym_key)
    users = b"".join(_packed(body) for body in (b"{}", b'{"a":1}'))
    message = b"\x0a\x01k" + users
    packed = b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message, usedforsecurity=False).digest()
    seeds = [json.dumps(one | {"event_id": i}).encode() for i, one in enumerate(_customers(bundle))]

    def run(data: bytes) -> None:
        if data.startswith(b"\xf3\x89\x9a\xc2"):  # with a digest that fits, else nothing behind it is read
            data = data[:-16] + hashlib.md5(data[4:-16], usedforsecurity=False).digest()
        for _, outcome in score_batch(scorer, "in", [_record(data)], 262_144):
            assert not isinstance(outcome, Refusal) or outcome.reason != "scoring_failed", outcome.detail

    return Target("stream-record", [*seeds, packed], run)


def _answer(bundle: Bundle) -> Target:
    answered = Scorer(bundle, key=pseudonym_key).score(_customers(bundle), "lambda")
    store = open_store("sqlite:///" + str(Path(tempfile.mkdtemp(dir=bundle.folder.parent)) / "answers.db"))
    store.check()

    def run(data: bytes) -> None:
        found = read_answer(data)
        if isinstance(found, Prediction):
            try:
                store.save([found])
            except InvalidInput:  # told as a record that the store can never hold
                return
            assert store.get(found.prediction_id) is not None

    return Target("answer", [to_json(one) for one in answered if isinstance(one, Prediction)], run)


def _dead_letter(bundle: Bundle) -> Target:
    origin = Origin("in", bundle.contract.name, bundle.contract.hash, bundle.run_id)
    seeds = [entry.data for entry in letters(origin, _record(b"x" * 700), Refusal("not_json", "no"), NOW)]

    def run(data: bytes) -> None:
        list(collect([_record(data), _record(seeds[0])]))

    return Target("dead-letter", seeds, run)


def _contract() -> Target:
    def run(data: bytes) -> None:
        try:
            contract = parse_contract(data.decode("utf-8", "replace"))
        except ContractError:
            return
        encoder = Encoder(contract)
        try:
            encoder.clean(dict.fromkeys(contract.feature_names, "1"))
        except InvalidInput:
            return

    return Target("contract", [path.read_bytes() for path in sorted(CONTRACTS_FOLDER.glob("*.toml"))], run)


def _artifact(cards: Bundle, bank: Bundle) -> Target:
    seeds = [make_artifact(bundle).split(b"\n", 1)[1] for bundle in (cards, bank)]
    record = _customers(cards)[0]

    def run(data: bytes) -> None:
        data = data.removeprefix(b"{")
        head = {"format": "churnwatch-artifact", "version": 1, "sha256": hashlib.sha256(data).hexdigest()}
        try:
            artifact = Artifact(json.dumps(head)[:-1].encode() + b",\n" + data)
        except ArtifactError:
            return
        try:
            answer = artifact.answer(record)
        except InvalidRecord:
            return
        assert 0.0 <= answer["churn_probability"] <= 1.0

    return Target("artifact", [b"{" + seed for seed in seeds], run)


def _api_event(cards: Bundle, bank: Bundle, folder: Path) -> Target:
    named = json.dumps(_customers(cards)[0] | {"event_id": "e", "customer_id": 5})
    events: list[dict[str, Any]] = []
    for body in (named, '{"data": [670, 1, 38, 7, 0.0, 2, 1, 1, 7, 1, 0, 0]}'):
        rest = {"httpMethod": "POST", "path": "/predict", "isBase64Encoded": False, "headers": {"Origin": "x"}}
        http = {"version": "2.0", "rawPath": "/predict", "requestContext": {"http": {"method": "POST"}}}
        packed = base64.b64encode(body.encode()).decode()
        events += [rest | {"body": body}, http | {"body": packed, "isBase64Encoded": True}]
    doors = []
    for bundle in (cards, bank):
        path = folder / f"{bundle.contract.name}.json"
        path.write_bytes(make_artifact(bundle))
        kept: list[Any] = []
        doors.append((Door(Warm(from_file(path)), kept.append, lambda: pseudonym_key().decode(), ["https://a"]), kept))

    def run(data: bytes) -> None:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = events[0] | {"body": data.decode("utf-8", "surrogateescape")}
        if not isinstance(event, dict):  # what Lambda hands over is always an object
            return
        for door, kept in doors:
            kept.clear()
            with redirect_stdout(io.StringIO()) as told:
                answer = door.respond(event)
            assert answer["statusCode"] in TELLING, answer
            json.dumps(answer).encode()
            assert "\n" not in "".join(answer["headers"].values())
            assert all(json.loads(line) for line in told.getvalue().splitlines())
            assert len(kept) == (answer["statusCode"] == 200)
            for record in kept:  # what is answered can be logged
                assert isinstance(read_answer(json.dumps(record).encode()), Prediction), record

    return Target("api-event", [json.dumps(event).encode() for event in events], run)


def _bundle(bundle: Bundle, folder: Path) -> Target:
    names = ("contract.toml", "encoder.json", "calibration.json", "golden.json", MANIFEST)
    copy = Path(shutil.copytree(bundle.folder, folder / "altered"))
    seeds = [name.encode() + b"\n" + (copy / name).read_bytes() for name in names]

    def run(data: bytes) -> None:
        head, _, content = data.partition(b"\n")
        name = next((one for one in names if one.encode() == head), names[len(data) % len(names)])
        right = (copy / name).read_bytes()
        manifest = (copy / MANIFEST).read_bytes()
        try:
            (copy / name).write_bytes(content)
            if name != MANIFEST:  # by a manifest that vouches for it, else nothing in it is read
                told = json.loads(manifest)
                told["files"][name] = hashlib.sha256(content).hexdigest()
                (copy / MANIFEST).write_text(json.dumps(told))
            load_bundle(copy)
        except BundleRefused:
            return
        finally:
            (copy / name).write_bytes(right)
            (copy / MANIFEST).write_bytes(manifest)

    return Target("bundle", seeds, run)


def _raw_table(bundle: Bundle) -> pd.DataFrame:
    contract = bundle.contract
    frame = random_customers(contract, 6, seed=2)
    table = frame.rename(columns=contract.raw_columns)
    words = {True: contract.target.positive, False: contract.target.negative}
    table[contract.target.column] = [words[bool(left)] for left in frame["churned"]]
    table[contract.id_column] = range(6)
    for name in contract.drop:
        table[name] = "1"
    return table.drop(columns="churned")


def _reads_table(bundle: Bundle, path: Path) -> Callable[[bytes], None]:
    cleaner = Cleaner(bundle.contract)

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            with open_source(path, bundle.contract) as chunks:
                for chunk in chunks:
                    cleaner.clean(chunk.texts)
        except DataError:
            return

    return run


def _table(bundle: Bundle, folder: Path) -> Target:
    text = _raw_table(bundle).to_csv(index=False)
    return Target("table", [text.encode(), text.replace(",", ";").encode()], _reads_table(bundle, folder / "t.csv"))


def _workbook(bundle: Bundle, folder: Path) -> Target:
    book = openpyxl.Workbook()
    table = _raw_table(bundle).astype(object).where(lambda frame: frame.notna(), None)
    for row in [list(table.columns), *table.to_numpy().tolist()]:
        book.active.append(row)
    book.save(folder / "seed.xlsx")
    return Target("workbook", [(folder / "seed.xlsx").read_bytes()], _reads_table(bundle, folder / "t.xlsx"))


def _label_file(bundle: Bundle, folder: Path) -> Target:
    store = open_store(f"sqlite:///{folder / 'labels.db'}")
    store.check()
    text = f"prediction_id,churned,observed_at\n{'a' * 32},true,2026-01-30T00:00:00Z\n{'b' * 32},0,\n"
    other = f"customer_id,contract,churned\n7,{bundle.contract.name},yes\n"
    path = folder / "labels.csv"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read_labels(path, store, NOW, lambda contract: str)
        except WatchError:
            return

    return Target("label-file", [text.encode(), other.encode()], run)


def _evidently_job() -> Target:
    def run(data: bytes) -> None:
        def job(folder: Path, seconds: float) -> None:
            for name in MADE:
                (folder / name).write_bytes(b"{}")

        try:
            answer(data, job, 1.0)
        except EvidentlyFailed:
            return

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in GIVEN:
            archive.writestr(name, b'{"columns": []}' * 20)
    return Target("evidently-job", [packed.getvalue()], run)


def _env_file(folder: Path) -> Target:
    seeds = [b"# which model\nRUN_ID=champion # the best\nSTORE_URL='x'\n", b'export RUN_ID = "abc"\r\nA=1\r\n']
    path = folder / "env"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            value_in(path, "RUN_ID")
            write_run_id(path, "f" * 32)
        except EnvFileError:
            return
        assert value_in(path, "RUN_ID") == "f" * 32
        assert len(path.read_bytes()) <= len(data) + 60 + 40 * data.count(b"RUN_ID")

    return Target("env-file", seeds, run)


def _key_file(folder: Path) -> Target:
    path = folder / "keys.json"
    keys = KeyFile(path)
    keys.add("shop", NOW, 5.0)

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            keys.all()
        except KeyFileError:
            return

    return Target("key-file", [path.read_bytes()], run)


def _packed(body: bytes) -> bytes:
    """A user record as the Kinesis Producer Library frames it."""
    return b"\x1a" + bytes([len(body) + 4]) + b"\x08\x00\x1a" + bytes([len(body)]) + body


def _record(data: bytes) -> StreamRecord:
    return StreamRecord("shard-0", "1", "k", data, NOW)
