"""Every variable: name, type, default, reason. Read once, in a room's `__main__`; values travel as arguments.

One small class a concern, so that the web service never demands a Kinesis name. A variable's name is its field's
in capitals: `store_url` is STORE_URL. boto3 reads its own (AWS_ENDPOINT_URL, AWS_REGION, keys) and needs no class.
In a container a variable may also be a file, /run/secrets/store_url: a password then is in no environment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from churn.errors import SettingError

HOME = Path(os.environ.get("CHURNWATCH_HOME", ".churnwatch"))
"""Where the embedded defaults keep their data; every path below starts here unless set otherwise."""


SECRETS = Path("/run/secrets")
"""Where Docker and others mount secrets, a file each. A variable of the environment wins over its file."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", secrets_dir=SECRETS if SECRETS.is_dir() else None)


class LogSettings(Settings):
    """Log lines."""

    log_format: Literal["console", "json"] = Field("console", description="Lines for people, or JSON for machines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lines below it are left out.")
    log_requests: bool = Field(False, description="A line for each HTTP request: its id, status, time, predictions.")


class TracingSettings(Settings):
    """OpenTelemetry traces, with the extra `otel`. The SDK's other variables hold as well."""

    otel_exporter_otlp_endpoint: str = Field(
        "", description="A collector's OTLP/HTTP address, such as http://127.0.0.1:4318; none: no traces."
    )


class ModelSettings(Settings):
    """Which model answers."""

    run_id: str = Field("", description="The MLflow run whose model is served, or an alias such as champion.")
    contract: str = Field("credit_card", description="The contract an alias belongs to; a run id knows its own.")
    mlflow_tracking_uri: str = Field("http://127.0.0.1:5051", description="The MLflow server.")
    bundle_cache: Path = Field(HOME / "cache", description="Verified bundles by digest; services start from it.")
    alias_poll_seconds: float = Field(5.0, gt=0, description="How often an alias in RUN_ID is looked up again.")


class StoreSettings(Settings):
    """The prediction log."""

    store_url: str = Field(
        f"sqlite:///{HOME / 'store.db'}", description="sqlite:///PATH or mongodb://HOST:PORT/DATABASE."
    )
    store_timeout_seconds: float = Field(5.0, gt=0, description="How long one call to the store may take.")


class PseudonymSettings(Settings):
    """Pseudonyms of customers."""

    pseudonym_key: str = Field(
        "", repr=False, description="The secret behind pseudonyms, the same in every room; none: the file's."
    )
    pseudonym_key_file: Path = Field(
        HOME / "pseudonym.key", description="The secret as a file; made on first use when absent."
    )


class FeatureStoreSettings(Settings):
    """Features in S3."""

    feature_bucket: str = Field("churnwatch", description="The S3 bucket of features; made when absent.")


class JournalSettings(Settings):
    """The durable queue in front of the store."""

    journal_dir: Path = Field(HOME / "journal", description="Segments of answers not yet in the store.")
    journal_max_bytes: int = Field(1 << 30, gt=0, description="Backlog at which requests are answered 503.")


class WebSettings(Settings):
    """The HTTP service."""

    web_host: str = Field("127.0.0.1", description="Address to bind. Outside loopback, API keys are demanded.")
    web_port: int = Field(9696, ge=0, le=65535, description="Port of the HTTP service.")
    web_workers: int = Field(2, ge=1, le=64, description="Worker processes.")
    web_threads: int = Field(8, ge=1, le=512, description="Threads a worker for all but the plain POST /predict.")
    web_max_body_bytes: int = Field(16 << 20, gt=0, description="Larger bodies are answered 413.")
    web_max_list: int = Field(10_000, gt=0, description="Longer lists are answered 413.")
    web_keys: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether API keys are demanded; auto: when bound outside loopback."
    )
    web_keys_file: Path = Field(HOME / "keys.json", description="Names and hashes of API keys.")
    web_rate_per_second: float = Field(
        0.0, ge=0, description="Requests a second of one client (key, else address); 0 for no limit."
    )


class StreamSettings(Settings):
    """The Kinesis service."""

    input_stream: str = Field("predictions", description="Records to score are read from this stream.")
    results_stream: str = Field("results", description="Answers are put on this stream.")
    dead_letter_stream: str = Field("dead-letters", description="Records that can never succeed go here.")
    answers_stream: str = Field("answers", description="Answers of Lambda functions, which `ship` brings to the log.")
    consumer: str = Field("churnwatch", description="Names the checkpoints; another name reads on its own.")
    start_position: str = Field(
        "TRIM_HORIZON", description="Where a new consumer begins: TRIM_HORIZON, LATEST or an ISO time."
    )
    batch_records: int = Field(10_000, ge=1, le=10_000, description="Most records scored at once.")
    batch_seconds: float = Field(1.0, gt=0, description="Longest wait before a smaller batch is scored.")
    lease_seconds: float = Field(15.0, gt=1, description="How long a silent worker keeps its shards.")
    stream_shards: int = Field(2, ge=0, le=1000, description="Shards of a stream made when absent; 0 makes none.")
    stream_worker: str = Field("", description="This worker's name in leases; must be unique. Empty: host and pid.")
    stream_poll_seconds: float = Field(0.5, ge=0.2, description="Pause between reads of a shard that is at its tip.")
    stream_record_bytes: int = Field(262_144, gt=0, description="A larger record is a dead letter.")
    stream_stuck_seconds: float = Field(300.0, gt=0, description="Health fails when records wait this long unmoved.")
    dead_letter_share: float = Field(0.5, gt=0, le=1, description="A larger share of dead letters stops the worker.")
    dead_letter_window: int = Field(1000, ge=1, description="Records over which that share is taken.")
    stream_metrics_host: str = Field("127.0.0.1", description="Address to bind for metrics and health.")
    stream_metrics_port: int = Field(8086, ge=0, le=65535, description="Metrics and health of the stream service.")


class WatchSettings(Settings):
    """The watch."""

    window_seconds: float = Field(3600.0, gt=0, description="Length of a window by time.")
    window_rows: int = Field(0, ge=0, description="Rows of a window by count; 0 means windows by time.")
    minimum_rows: int = Field(100, ge=1, description="Fewer rows cannot be judged: the state insufficient.")
    watch_poll_seconds: float = Field(10.0, gt=0, description="How often closed windows are looked for.")
    watch_lateness_seconds: float = Field(5.0, ge=0, description="How long after its end a window is left open.")
    watch_stale_seconds: float = Field(3600.0, gt=0, description="Silence after which a contract counts as stale.")
    watch_host: str = Field("127.0.0.1", description="Address to bind.")
    watch_port: int = Field(8085, ge=0, le=65535, description="Gauges for Prometheus and the status page.")
    watch_gateway: str = Field(
        "", description="HOST:PORT of the gateway, whose certificate is then looked at every minute; empty is none."
    )
    false_alarm_budget: float = Field(0.01, gt=0, lt=1, description="Family-wise false alarms a quiet window.")
    joint_seconds: float = Field(
        3600.0, ge=0, description="How often it is asked whether features go together as they did; 0 is never."
    )
    evidently_seconds: float = Field(
        300.0, ge=0, description="How often Evidently is asked about a run, beside windows that alarm; 0 is never."
    )
    evidently_dir: Path = Field(HOME / "evidently", description="Evidently's pages of judged windows.")
    alarm_windows: int = Field(2, ge=1, description="Windows with a cause (k) before the pager rings for it.")
    alarm_of_windows: int = Field(0, ge=0, description="Of so many newest windows (n); 0 means k in a row.")
    alarm_cooldown_windows: int = Field(0, ge=0, description="Windows after an alarm's end before it may ring again.")


class ReportSettings(Settings):
    """Reports."""

    report_dir: Path = Field(HOME / "reports", description="Where reports are written; Nginx serves this folder.")
    reports_url: str = Field("", description="s3://BUCKET/PREFIX to keep reports in S3 instead; none: in REPORT_DIR.")
    evidently_url: str = Field(
        "", description="Where Evidently runs: http://HOST:8085/evidently-jobs of the watch; none: in a process here."
    )
    evidently_rows: int = Field(5_000, ge=100, le=50_000, description="Sample of a window that Evidently sees.")


class BackupSettings(Settings):
    """What a backup holds, beside the store, the journal, API keys, reports and Evidently's pages."""

    backup_mlflow_database: Path = Field(HOME / "mlflow" / "mlflow.db", description="MLflow's SQLite database.")
    backup_mlflow_files: Path = Field(HOME / "mlflow" / "artifacts", description="MLflow's artifacts: the models.")
    backup_prefect_database: Path = Field(HOME / "prefect" / "prefect.db", description="Prefect's SQLite database.")
    backup_aws_files: Path = Field(HOME / "aws", description="What the S3 emulator keeps.")
    backup_buckets: str = Field("", description="S3 buckets to copy object by object, with commas between.")


class TrainSettings(Settings):
    """Tuning."""

    trials: int = Field(10, ge=1, le=10_000, description="hyperopt trials.")
    families: str = Field(
        "xgboost,lightgbm,random_forest,decision_tree,logistic",
        description="Kinds of models to search, each first tried at its own start, in this order.",
    )
    folds: int = Field(5, ge=2, le=20, description="Cross-validation folds.")
    seed: int = Field(7, ge=0, description="Split, folds and search are reproducible by it.")
    tuning_workers: int = Field(
        0, ge=0, le=1_000, description="Trials at a time on this machine; 0: one a core, in threads four at most."
    )
    tuning_cluster: str = Field(
        "",
        description="Where trials run: empty for threads, 'local' for processes here, tcp://HOST:PORT for a Dask "
        "scheduler (extra [cluster]).",
    )
    tuning_pruning: bool = Field(True, description="Stop a trial that is hopeless after some of its folds.")
    trial_timeout_seconds: float = Field(600.0, gt=0, description="A trial that takes longer counts as failed.")
    outage_seconds: float = Field(120.0, ge=0, description="How long a tuning waits for MLflow to come back.")
    maximum_bad_share: float = Field(0.05, ge=0, le=1, description="A larger share of bad rows fails an ingest.")


class PromotionSettings(Settings):
    """What a model must show before it may go live."""

    promotion_requests: int = Field(5_000, ge=1, le=1_000_000, description="Newest logged requests that are replayed.")
    promotion_calibration_error: float = Field(
        0.05, gt=0, le=1, description="Largest mean distance of probabilities from what came true."
    )
    promotion_latency_seconds: float = Field(
        0.01, gt=0, description="In how long 95 of 100 requests must be answered, one at a time, without the log."
    )


class RetrainSettings(Settings):
    """Retraining."""

    auto_promote: bool = Field(
        False, description="Whether a retrained model that passes every gate becomes the champion by itself."
    )
    retrain_cooldown_seconds: float = Field(
        86_400.0, ge=0, description="After a retraining, none of the contract begins for so long."
    )
    retrain_retry_seconds: float = Field(
        3_600.0, ge=0, description="After one that failed, died or found nothing new, none begins for so long."
    )
    retrain_requests: int = Field(
        100_000, ge=1, le=5_000_000, description="Most customers of the log that are learnt from, the newest."
    )
    retrain_minimum_labels: int = Field(
        200, ge=0, description="With fewer labelled requests in the log, nothing is trained."
    )
    retrain_notice_url: str = Field(
        "", repr=False, description="A webhook that is told, as JSON, what became of a retraining; none: the log alone."
    )


class ReceiverSettings(Settings):
    """The receiver of Alertmanager's webhook, which starts retrainings."""

    retrain_host: str = Field("127.0.0.1", description="Address to bind. Outside loopback, a token is demanded.")
    retrain_port: int = Field(8087, ge=0, le=65535, description="Port of the receiver.")
    retrain_token: str = Field("", repr=False, description="Bearer token that a caller must show; none on loopback.")
    retrain_alerts: str = Field(
        "FeatureDrift,JointDrift,ConceptDrift", description="Alerts that start a retraining, separated by commas."
    )


class ScheduleSettings(Settings):
    """When Prefect starts what, in UTC; an empty cron line means by hand only."""

    ingest_file: str = Field("", description="The file that the deployment `ingest` publishes.")
    ingest_cron: str = Field("", description="When INGEST_FILE is ingested.")
    tune_hourly_cron: str = Field("", description="When a short tuning runs, such as `0 * * * *`.")
    tune_hourly_trials: int = Field(5, ge=1, description="Trials of the short tuning.")
    tune_daily_cron: str = Field("0 3 * * *", description="When a tuning of TRIALS trials runs.")
    retrain_cron: str = Field("", description="When a retraining runs whatever the watch says.")
    retrain_look_cron: str = Field("17 * * * *", description="When one runs if an alarm of the watch rings.")
    report_cron: str = Field("30 0 * * *", description="When the reports of missed days are made.")
    flow_lost_seconds: float = Field(
        120.0, ge=5, description="A flow run whose heartbeat (every 30 s) was silent for so long is marked crashed."
    )


class SenderSettings(Settings):
    """Simulated traffic."""

    web_api_key: str = Field("", description="API key that senders show to the HTTP service, where it wants one.")


SettingsClass = TypeVar("SettingsClass", bound=BaseSettings)


def read(settings: type[SettingsClass]) -> SettingsClass:
    """Read one concern from the environment. Raises SettingError naming variable, value and expectation."""
    try:
        return settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingError(str(first["loc"][0]).upper(), first["input"], first["msg"].lower()) from None
