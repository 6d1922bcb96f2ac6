// code-server without its wrapper process. The wrapper starts a second Node, copies its output to log files and starts
// it again on request: half of a start's CPU time and a third of the memory. workspace-ide supervises instead.
//
// esbuild bundles this with what it requires into workspace-ide.js, in code-server's own folder out/node.
"use strict";

const fs = require("node:fs");

// For whoever looks for the IDE's process, in a container whose user may run other Nodes.
fs.writeFileSync("/dev/shm/workspace-ide.pid", `${process.pid}\n`);

// Makes code-server load as the wrapper's child: it then ends with its parent and opens no log files.
process.env.CODE_SERVER_PARENT_PID = String(process.ppid);

const { parse, readConfigFile, setDefaults } = require("./cli");
const { runCodeServer } = require("./main");
const { wrapper } = require("./wrapper");

async function main() {
  const options = parse(process.argv.slice(2));
  const args = await setDefaults(options, await readConfigFile(options.config));
  wrapper.preventExit();
  const server = await runCodeServer(args);
  wrapper.onDispose(() => server.dispose());
}

main().catch((error) => {
  console.error(`workspace-ide: ${error.message}`);
  wrapper.exit(error);
});
