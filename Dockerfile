# One recipe, a target a room: docker build --target web -t churnwatch/web .
# Each room is asked for its help once built, so that an image without something it imports is none.
# Every dependency is a wheel, so nothing is compiled and nothing to compile with is left behind. Rooms share layers:
# core -> web, stream, backup, emulator;  core -> tables -> simulate, report, monitor, train -> servers.
ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS core
LABEL org.opencontainers.image.title="Churnwatch" org.opencontainers.image.licenses="MIT"
# Nobody is phoned home; byte code is made here, once, since the root file system is read-only later.
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true PREFECT_SERVER_ANALYTICS_ENABLED=false \
    HOME=/tmp CHURNWATCH_HOME=/data LOG_FORMAT=json
# /data and /reports give their owner to the named volumes that are mounted over them.
RUN groupadd --gid 10001 churnwatch \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin churnwatch \
    && install -d -o 10001 -g 10001 /data /reports
WORKDIR /app
COPY docker/bin/install-requirements /usr/local/bin/
COPY requirements/stream.txt requirements/otel.txt requirements/
# Traces are on by a variable alone, so their libraries (7 MB) are there. scipy (140 MB) is asked for by XGBoost's Python package; no room but training and the watch, for Evidently, imports it
# (churn/xgboost_native.py, churn/distributions.py).
RUN install-requirements requirements/otel.txt scipy
COPY docker/bin/ /usr/local/bin/
# The one command, leading to the room that an image holds.
COPY bin bin
COPY churnwatch.py .
RUN ln -s /app/bin/churnwatch /usr/local/bin/churnwatch

FROM core AS tables
COPY requirements/simulate.txt requirements/
RUN install-requirements requirements/simulate.txt scipy

# --- the rooms ---------------------------------------------------------------------------------------------------

FROM core AS web
COPY requirements/web.txt requirements/
RUN install-requirements requirements/web.txt scipy
COPY contracts contracts
COPY churn churn
COPY web_service web_service
RUN python -m compileall -q churn web_service && python -m web_service --help > /dev/null
ENV WEB_HOST=0.0.0.0
USER 10001:10001
EXPOSE 9696
ENTRYPOINT ["python", "-m", "web_service"]

FROM core AS backup
# Without this the volumes of an empty machine would belong to root.
RUN install -d -o 10001 -g 10001 /volumes/web /volumes/mlflow /volumes/watch /volumes/reports /volumes/emulator
COPY churn churn
COPY backup backup
RUN python -m compileall -q churn backup && python -m backup --help > /dev/null
USER 10001:10001
ENTRYPOINT ["python", "-m", "backup"]

FROM core AS stream
COPY contracts contracts
COPY churn churn
COPY stream_service stream_service
RUN python -m compileall -q churn stream_service && python -m stream_service --help > /dev/null
ENV STREAM_METRICS_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8086
ENTRYPOINT ["python", "-m", "stream_service"]

# The functions on streams, for AWS Lambda: ImageConfig's command names the handler. Lambda's own user runs it.
FROM stream AS lambda
COPY serverless serverless
ENV CHURNWATCH_HOME=/tmp/churnwatch
ENTRYPOINT ["python", "-m", "serverless.runtime"]
CMD ["serverless.stream.handler"]

FROM tables AS monitor-libraries
COPY requirements/monitor.txt requirements/
# Evidently asks for these, and a comparison never imports them: its server, fake data, models of statistics.
RUN install-requirements requirements/monitor.txt \
    statsmodels formulaic patsy faker uvloop watchfiles websockets httptools

FROM monitor-libraries AS monitor
COPY contracts contracts
COPY churn churn
COPY monitoring monitoring
RUN python -m compileall -q churn monitoring && python -m monitoring --help > /dev/null
ENV WATCH_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8085
ENTRYPOINT ["python", "-m", "monitoring"]

# Evidently, for a report, runs in the watch (EVIDENTLY_URL).
FROM tables AS report
COPY contracts contracts
COPY churn churn
COPY reporting reporting
RUN python -m compileall -q churn reporting && python -m reporting --help > /dev/null
ENV REPORT_DIR=/reports
USER 10001:10001
ENTRYPOINT ["python", "-m", "reporting"]

FROM tables AS simulate
COPY contracts contracts
COPY churn churn
COPY simulation simulation
RUN python -m compileall -q churn simulation && python -m simulation --help > /dev/null
USER 10001:10001
ENTRYPOINT ["python", "-m", "simulation"]

FROM tables AS train-libraries
COPY requirements/train.txt requirements/
RUN install-requirements requirements/train.txt

FROM train-libraries AS train
# LightGBM's wheel expects the compiler's OpenMP library from the system.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY contracts contracts
COPY churn churn
COPY orchestration orchestration
RUN python -m compileall -q churn orchestration && python -m orchestration --help > /dev/null
# MLflow looks for git to name the code's version, and is loud where there is none.
ENV GIT_PYTHON_REFRESH=quiet
USER 10001:10001
ENTRYPOINT ["python", "-m", "orchestration"]

# --- servers that other people wrote and that come as Python packages ---------------------------------------------

# MLflow and Prefect, on the very layers that `train` has; the driver for MLflow's PostgreSQL is all that is added.
FROM train-libraries AS servers
COPY requirements/postgres.txt requirements/
RUN install-requirements requirements/postgres.txt
USER 10001:10001

# S3 and Kinesis for a machine without an AWS account.
FROM core AS emulator
COPY requirements/embedded.txt requirements/
RUN install-requirements requirements/embedded.txt scipy
ENV BIND_HOST=0.0.0.0 GATEWAY_PORT=4566 SERVICES=kinesis,s3 IOT_MTLS_ENABLED=0 \
    S3_PERSIST=1 S3_DATA_DIR=/data/s3 STATE_DIR=/data/state
USER 10001:10001
EXPOSE 4566
ENTRYPOINT ["python", "-m", "ministack"]
