# Two images: the bridge with an OPA of its own (default), and that OPA alone (--target opa-server).
ARG GO_IMAGE=golang:1.26-bookworm
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${GO_IMAGE} AS opa
ARG OPA_VERSION=1.22.2
# Both as in scripts/opa-releases.json: the module's own hash, beside what Go's checksum database says.
ARG OPA_MODULE_SUM=h1:WzqReKk2VjcvBN/NQTlcIxKqFPKpzIdb6KYMHzPEbe0=
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags="-s -w" "github.com/open-policy-agent/opa@v${OPA_VERSION}" \
    && go version -m /out/opa | grep -F "${OPA_MODULE_SUM}"

FROM scratch AS opa-server
COPY --from=opa /out/opa /opa
USER 65532:65532
EXPOSE 8181
ENTRYPOINT ["/opa"]
CMD ["run", "--server", "--addr=0.0.0.0:8181", "--skip-version-check", "--log-level=error", "--watch", "--bundle", "/opa-bundle/issuance.tar.gz"]

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/bridge \
    && /opt/bridge/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY bridge/ bridge/
RUN /opt/build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /dist . \
    && /opt/bridge/bin/pip install --no-cache-dir --no-index --no-deps /dist/*.whl \
    && /opt/bridge/bin/pip uninstall --yes pip
COPY --from=opa /out/opa /opt/bridge/bin/opa

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 bridge \
    && useradd --uid 10001 --gid bridge --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bridge \
    && install --directory --owner bridge --group bridge --mode 0700 /var/lib/issuance-bridge
COPY --from=build /opt/bridge /opt/bridge
COPY rego/ /etc/issuance-bridge/rego/
ENV PATH=/opt/bridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BRIDGE__POLICY__PATH=/etc/issuance-bridge/rego \
    BRIDGE__EVIDENCE__PATH=/var/lib/issuance-bridge/evidence
# The log must outlive the container; /tmp (a tmpfs where the root is read-only) holds OPA's socket.
VOLUME /var/lib/issuance-bridge
WORKDIR /var/lib/issuance-bridge
USER 10001:10001
EXPOSE 8380
# For plain HTTP on the usual port; replace it where the bridge itself ends TLS.
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8380/health/live', timeout=2)"]
ENTRYPOINT ["issuance-bridge"]
CMD ["serve"]
