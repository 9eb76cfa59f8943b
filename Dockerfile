# The image of the service. `make image` builds it; docker-compose.yml runs it hardened.
# Needs nothing of BuildKit: the classic builder makes the same image.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
# What goes in is requirements-flask.txt; another list makes another image (the container tests
# build one that lacks aiohttp).
ARG REQUIREMENTS=requirements-flask.txt
ENV UV_SYSTEM_CERTS=true
WORKDIR /srv
COPY deploy/trust.py /tmp/
RUN python /tmp/trust.py
COPY requirements-flask.lock ${REQUIREMENTS} ./

# uv itself comes out of the lock, its hash enforced by pip.
RUN awk '/^uv==/, !/\\$/' requirements-flask.lock > /tmp/uv.txt \
    && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --require-hashes --no-deps --only-binary :all: --target /tmp/uv -r /tmp/uv.txt

# The lock's hashes are enforced for whatever it names. What it does not name would come in
# unchecked, so that ends the build. pip, the installer to fall back on, is the base image's:
# linked, not copied.
RUN python -m venv --without-pip /opt/venv \
    && /tmp/uv/bin/uv pip install --python /opt/venv --no-cache --link-mode copy \
        --only-binary :all: -c requirements-flask.lock -r "${REQUIREMENTS}" \
    && /tmp/uv/bin/uv pip freeze --python /opt/venv > /tmp/installed.txt \
    && awk 'NR == FNR { pins[$1]; next } !($1 in pins) { print "not in the lock: " $1; bad = 1 } \
        END { exit bad }' requirements-flask.lock /tmp/installed.txt \
    && ln -s "$(python -c 'import pip; print(*pip.__path__)')" /opt/venv/lib/python3*/site-packages/

COPY . .
# The image says itself what it is made of, whichever list that was.
RUN test "${REQUIREMENTS}" = requirements-flask.txt || cp "${REQUIREMENTS}" requirements-flask.txt
# Nothing here changes in a running container, so no source file is asked for its age. What of the
# code cannot be compiled is for the doctor to say, with its line.
RUN /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib \
    && { /opt/venv/bin/python -m compileall -qq -j 0 --invalidation-mode unchecked-hash /srv || true; }

# What would fail in production fails here: an import that the requirements do not list, above all.
# DOCTOR=off builds such an image all the same (the container tests do, to see it heal).
ARG DOCTOR=strict
RUN case "${DOCTOR}" in \
        strict) AUTO_FIX_HOME=/tmp/auto-fix /opt/venv/bin/python -m app.cli doctor --strict --offline ;; \
        off) echo 'the doctor is off: nobody has looked at this image' ;; \
        *) echo 'DOCTOR is strict or off' >&2; exit 2 ;; \
    esac


FROM python:${PYTHON_VERSION}-slim
# The base image brings its standard library without bytecode, and the service's user could not
# write any: every start of an interpreter would compile it anew. The home is also that of group 0,
# as which OpenShift runs whatever user it likes.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x 'site-packages|ensurepip|idlelib|lib2to3|pydoc_data|/test|tkinter|turtle' \
        "$(python -c 'import os; print(os.path.dirname(os.__file__))')" \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin orchestrator \
    && install -d -o orchestrator -g root -m 0770 /var/lib/auto-fix
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv /srv

# With the system's certificates an authority that is added to the image, or mounted over that
# file, serves uv, pip and the calls to edge functions alike. `flask` leaves .env files to the
# service, which reads one itself.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UV_SYSTEM_CERTS=true \
    AUTO_FIX_HOME=/var/lib/auto-fix \
    FLASK_SKIP_DOTENV=1 \
    LOG_FORMAT=json
WORKDIR /srv
USER 10001:10001
VOLUME /var/lib/auto-fix
EXPOSE 10000
STOPSIGNAL SIGTERM
# Ready, not merely alive: Docker restarts nothing over this, but Compose and its like start what
# depends on this service when it turns healthy.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "deploy/healthcheck.py"]
# becomes gunicorn once the settings are checked
CMD ["python", "-m", "deploy.serve"]
