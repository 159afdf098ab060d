"""RUN_ID -> bundle through the cache: fetched once, verified always, there when MLflow is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from churn.bundle import Bundle
from churn.errors import BundleRefused, FolderUnusable, RegistryUnavailable, RunNotFound
from churn.model_cache import open_model
from churn.registry import RegisteredModel, Registry


class FolderRegistry(Registry):
    """A registry of one bundle on disk, which counts downloads and can be switched off."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__("http://127.0.0.1:9")
        self.bundle, self.up, self.downloads = bundle, True, 0

    def resolve(self, run_or_alias: str, contract: str) -> RegisteredModel:
        if not self.up:
            raise RegistryUnavailable("MLflow is down")
        if run_or_alias not in (self.bundle.run_id, "champion"):
            raise RunNotFound(run_or_alias, self.tracking_uri)
        digest = self.bundle.digest
        return RegisteredModel(
            self.bundle.run_id, "m-1", digest, self.bundle.contract.name, self.bundle.contract.sha256
        )

    def download(self, model: RegisteredModel, folder: Path) -> None:
        self.downloads += 1
        shutil.copytree(self.bundle.folder, folder, dirs_exist_ok=True)


@pytest.fixture
def registry(bundle: Bundle) -> FolderRegistry:
    return FolderRegistry(bundle)


def test_a_bundle_is_fetched_once(registry: FolderRegistry, tmp_path: Path) -> None:
    first = open_model(registry.bundle.run_id, "credit_card", registry, tmp_path)
    again = open_model("champion", "credit_card", registry, tmp_path)

    assert registry.downloads == 1
    assert first.digest == again.digest == registry.bundle.digest
    assert first.folder == tmp_path / "bundles" / first.digest


@pytest.mark.parametrize("name", ["a" * 32, "champion"])
def test_a_service_starts_from_the_cache_while_mlflow_is_down(
    registry: FolderRegistry, tmp_path: Path, name: str
) -> None:
    open_model(name, "credit_card", registry, tmp_path)
    registry.up = False

    assert open_model(name, "credit_card", registry, tmp_path).run_id == registry.bundle.run_id


def test_an_outage_without_a_cached_bundle_says_both(registry: FolderRegistry, tmp_path: Path) -> None:
    registry.up = False

    with pytest.raises(RegistryUnavailable, match="MLflow is down; nothing is cached for RUN_ID=champion"):
        open_model("champion", "credit_card", registry, tmp_path)


def test_an_alias_of_another_contract_is_not_taken_from_the_cache(registry: FolderRegistry, tmp_path: Path) -> None:
    open_model("champion", "credit_card", registry, tmp_path)
    registry.up = False

    with pytest.raises(RegistryUnavailable):
        open_model("champion", "telco", registry, tmp_path)


def test_an_altered_cached_bundle_is_fetched_anew(registry: FolderRegistry, tmp_path: Path) -> None:
    folder = open_model("champion", "credit_card", registry, tmp_path).folder
    (folder / "calibration.json").write_text("{}")

    open_model("champion", "credit_card", registry, tmp_path)
    assert registry.downloads == 2


def test_an_altered_cached_bundle_is_refused_while_mlflow_is_down(registry: FolderRegistry, tmp_path: Path) -> None:
    folder = open_model("champion", "credit_card", registry, tmp_path).folder
    (folder / "calibration.json").write_text("{}")
    registry.up = False

    with pytest.raises(RegistryUnavailable, match=r"calibration.json has sha256 .* it was altered"):
        open_model("champion", "credit_card", registry, tmp_path)


def test_a_bundle_that_arrives_altered_is_refused_and_not_kept(registry: FolderRegistry, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(registry.bundle.folder, altered)
    (altered / "model.ubj").write_bytes(b"not a model")

    def download(model: RegisteredModel, folder: Path) -> None:
        shutil.copytree(altered, folder, dirs_exist_ok=True)

    registry.download = download  # type: ignore[method-assign]  # the fault of this test
    with pytest.raises(BundleRefused, match=r"model.ubj has sha256"):
        open_model("champion", "credit_card", registry, tmp_path / "cache")
    assert list((tmp_path / "cache" / "bundles").iterdir()) == []


def test_an_unknown_run_is_not_looked_for_in_the_cache(registry: FolderRegistry, tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="RUN_ID=" + "b" * 32):
        open_model("b" * 32, "credit_card", registry, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(registry: FolderRegistry, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder should be")

    with pytest.raises(FolderUnusable, match="cache cannot be used"):
        open_model("champion", "credit_card", registry, tmp_path / "cache")


def test_a_link_in_the_cache_is_taken_away_and_not_followed(registry: FolderRegistry, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "bundle.json").write_text("{}")
    (tmp_path / "cache" / "bundles").mkdir(parents=True)
    (tmp_path / "cache" / "bundles" / registry.bundle.digest).symlink_to(precious)

    bundle = open_model("champion", "credit_card", registry, tmp_path / "cache")

    assert bundle.digest == registry.bundle.digest
    assert not bundle.folder.is_symlink()
    assert (precious / "bundle.json").read_text() == "{}"


@pytest.mark.parametrize("content", ["", "[]", '{"digest": "../../x"}', '{"digest": 7}', "\udcff"])
def test_a_damaged_pointer_is_told(content: str, registry: FolderRegistry, tmp_path: Path) -> None:
    open_model("champion", "credit_card", registry, tmp_path)
    registry.up = False
    (tmp_path / "pointers" / "credit_card@champion").write_bytes(content.encode("utf-8", "surrogateescape"))

    with pytest.raises(RegistryUnavailable, match=r"MLflow is down; and .*champion is damaged"):
        open_model("champion", "credit_card", registry, tmp_path)
