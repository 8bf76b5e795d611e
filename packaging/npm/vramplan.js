#!/usr/bin/env node
// Starts the command of this platform's package, which npm installed beside this one.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const PLATFORMS = ["linux-x64", "linux-arm64", "darwin-arm64", "darwin-x64", "win32-x64"];
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

function fail(message, hint) {
  console.error(`error: ${message}\nhint: ${hint}`);
  process.exit(1);
}

function commandOf(platform) {
  if (!PLATFORMS.includes(platform)) {
    fail(`there is no vramplan for ${platform}: expected one of ${PLATFORMS.join(", ")}`, "build it: `cargo install vramplan`");
  }
  const suffix = process.platform === "win32" ? ".exe" : "";
  try {
    return require.resolve(`@vramplan/${platform}/bin/vramplan${suffix}`);
  } catch {
    return fail(`the package @vramplan/${platform} is not there`, "install without `--omit=optional` and `--no-optional`");
  }
}

const command = commandOf(`${process.platform}-${process.arch}`);
const child = spawn(command, process.argv.slice(2), { stdio: "inherit", windowsHide: true });
// A terminal's Ctrl-C reaches both; a signal that is sent to this process alone has to be handed on.
for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
child.on("error", (error) => fail(`\`${command}\` does not start: ${error.message}`, "on Linux glibc 2.17 or newer is needed"));
child.on("exit", (code, signal) => {
  if (signal === null) process.exit(code);
  // Ends as the command did, so that a shell sees the same.
  for (const own of SIGNALS) process.removeAllListeners(own);
  process.kill(process.pid, signal);
  setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 1000);
});
