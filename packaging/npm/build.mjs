// Writes the folders of npm's packages: one for each platform that was built, and the one that people install.
//
//     node build.mjs REPOSITORY OUT VERSION TARGET=FOLDER…
//
// A FOLDER has the command for its TARGET, as Rust calls it.

import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What npm calls the platforms that there are releases for. */
const PLATFORMS = {
  "x86_64-unknown-linux-gnu": { name: "linux-x64", os: "linux", cpu: "x64", libc: "glibc" },
  "aarch64-unknown-linux-gnu": { name: "linux-arm64", os: "linux", cpu: "arm64", libc: "glibc" },
  "aarch64-apple-darwin": { name: "darwin-arm64", os: "darwin", cpu: "arm64" },
  "x86_64-apple-darwin": { name: "darwin-x64", os: "darwin", cpu: "x64" },
  "x86_64-pc-windows-msvc": { name: "win32-x64", os: "win32", cpu: "x64" },
};
const NODE = ">=18";
const LICENSE = "MIT OR Apache-2.0";
const DESCRIPTION = "Will this model fit on this GPU, with how much context, for how many users: llama.cpp, Ollama, vLLM, SGLang, transformers";

const [repository, out, version, ...built] = process.argv.slice(2);
const url = process.env.REPOSITORY_URL;
const shared = {
  version,
  license: LICENSE,
  engines: { node: NODE },
  ...(url ? { repository: { type: "git", url: `git+${url}.git` }, homepage: url } : {}),
};

function write(folder, manifest) {
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest, null, 2) + "\n");
  for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) copyFileSync(join(repository, name), join(folder, name));
}

/** The package of a platform, with its command alone. */
function writePlatform(target, from) {
  const platform = PLATFORMS[target];
  if (!platform) throw new Error(`\`${target}\` is no target of a release: expected one of ${Object.keys(PLATFORMS).join(", ")}`);
  const program = platform.os === "win32" ? "vramplan.exe" : "vramplan";
  if (!existsSync(join(from, program))) throw new Error(`there is no \`${join(from, program)}\``);
  const folder = join(out, platform.name);
  mkdirSync(join(folder, "bin"), { recursive: true });
  copyFileSync(join(from, program), join(folder, "bin", program));
  chmodSync(join(folder, "bin", program), 0o755);
  writeFileSync(join(folder, "README.md"), `The command of [vramplan](https://www.npmjs.com/package/vramplan) for ${target}.\n`);
  const { os, cpu, libc } = platform;
  write(folder, {
    name: `@vramplan/${platform.name}`,
    description: `vramplan for ${target}`,
    ...shared,
    os: [os],
    cpu: [cpu],
    ...(libc ? { libc: [libc] } : {}),
    files: ["bin"],
    preferUnplugged: true,
  });
  console.log(folder);
}

/** The package that people install: npm takes that of their platform with it. */
function writeMain() {
  const folder = join(out, "vramplan");
  mkdirSync(join(folder, "bin"), { recursive: true });
  cpSync(join(repository, "packaging/npm/vramplan.js"), join(folder, "bin/vramplan.js"));
  chmodSync(join(folder, "bin/vramplan.js"), 0o755);
  copyFileSync(join(repository, "README.md"), join(folder, "README.md"));
  const names = Object.values(PLATFORMS).map((platform) => `@vramplan/${platform.name}`);
  write(folder, {
    name: "vramplan",
    description: DESCRIPTION,
    keywords: ["llm", "gpu", "vram", "memory", "kv-cache"],
    ...shared,
    bin: { vramplan: "bin/vramplan.js" },
    files: ["bin"],
    optionalDependencies: Object.fromEntries(names.map((name) => [name, version])),
  });
  console.log(folder);
}

for (const entry of built) {
  const at = entry.indexOf("=");
  if (at < 0) throw new Error(`\`${entry}\`: expected TARGET=FOLDER`);
  writePlatform(entry.slice(0, at), entry.slice(at + 1));
}
writeMain();
