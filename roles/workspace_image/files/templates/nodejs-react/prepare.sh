# Everything the app needs to start, so that it starts without a network.
npm ci --no-audit --no-fund --loglevel=error --cache=/tmp/npm
rm -rf /tmp/npm
