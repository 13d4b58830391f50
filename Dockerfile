# The services, serving on the CPU. Kafka is not in it: see docker-compose.yml.
FROM python:3.12-slim
WORKDIR /opt/infaas
COPY pyproject.toml constraints.txt hatch_build.py hatch_compile.py README.md LICENSE CHANGELOG.md ./
COPY schemas schemas
COPY policy policy
COPY engines engines
COPY host host
COPY bus bus
COPY store store
COPY client client
COPY router router
COPY registrar registrar
COPY workers workers
COPY scaler scaler
COPY replay replay
COPY cli cli
COPY bench bench
COPY examples examples
RUN pip install --no-cache-dir -c constraints.txt '.[control,registrar,scaler,cpu]' \
    && useradd --create-home --uid 10001 infaas \
    && install -d -o infaas /var/lib/infaas
USER infaas
VOLUME /var/lib/infaas
ENTRYPOINT ["infaas"]
CMD ["--help"]
