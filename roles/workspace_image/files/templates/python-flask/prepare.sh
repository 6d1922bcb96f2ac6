# Opens the README first. A user setting: those of the folder are read too late where the IDE is slow to start.
sed -i 's/"workbench.startupEditor": "none"/"workbench.startupEditor": "readme"/' ~/.local/share/code-server/User/settings.json
# Everything the app needs to start, so that it starts without a network.
python3 -m venv .venv
.venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --requirement requirements.txt
