# Everything the app needs to start, so that it starts without a network.
python3 -m venv .venv
.venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --requirement requirements.txt
