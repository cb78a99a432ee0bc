#!/bin/sh
# Runs as root while the image of a dev container is made; the options of the feature are in its environment.
set -eu

if ! command -v apt-get >/dev/null; then
    echo 'anaheadless: this feature is for images of Debian and Ubuntu.' >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
python3 -c 'import ensurepip, venv' 2>/dev/null || apt-get install -y --no-install-recommends python3 python3-venv

# In an environment of its own: nothing is added to that of the project.
home=/usr/local/share/anaheadless
python3 -m venv "$home"
"$home/bin/pip" install --no-cache-dir --disable-pip-version-check "${REQUIREMENT:-anaheadless}"
ln -sf "$home/bin/anaheadless" "$home/bin/anaheadless-python" /usr/local/bin

# shellcheck disable=SC2046,SC2086  # words
apt-get install -y --no-install-recommends $("$home/bin/python" -m anaheadless.packages apt) ${PACKAGES:-}
rm -rf /var/lib/apt/lists/*
