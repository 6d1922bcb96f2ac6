// code-server without its wrapper process. The wrapper only starts a second Node, copies its output to log files and
// starts it again on request; workspace-ide does that for a hundredth of the start time and the memory.
"use strict";

const codeServer = "/opt/code-server/lib/node_modules/code-server/out/node/";

// Makes code-server load as the wrapper's child: it ends when this process does, and opens no log files.
process.env.CODE_SERVER_PARENT_PID = String(process.ppid);

const { parse, readConfigFile, setDefaults } = require(codeServer + "cli");
const { runCodeServer } = require(codeServer + "main");
const { wrapper } = require(codeServer + "wrapper");

async function main() {
  const options = parse(process.argv.slice(2));
  const args = await setDefaults(options, await readConfigFile(options.config));
  wrapper.preventExit();
  const server = await runCodeServer(args);
  wrapper.onDispose(() => server.dispose());
}

main().catch((error) => {
  console.error(error.message);
  wrapper.exit(error);
});
