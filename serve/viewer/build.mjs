// Bundles the page into dist/: index.html, and assets whose names carry the hash of their content.
import { build } from "esbuild";
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

rmSync("dist", { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: ["src/main.tsx"],
  outdir: "dist/assets",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

const [script, { cssBundle }] = Object.entries(metafile.outputs).find(([, output]) =>
  output.entryPoint?.endsWith("main.tsx"),
);
const page = readFileSync("src/index.html", "utf8")
  .replace("SCRIPT", `assets/${basename(script)}`)
  .replace("STYLE", `assets/${basename(cssBundle)}`);
writeFileSync("dist/licences.txt", licences(Object.keys(metafile.inputs)));
// Last: a build that was cut off has no index.html, and is made again.
writeFileSync("dist/index.html", page);

// The licences of the bundled packages, which ask to be carried with their code.
function licences(inputs) {
  const folders = inputs.map((path) => path.match(/^node_modules\/(@[^/]+\/)?[^/]+/)?.[0]);
  return [...new Set(folders.filter(Boolean))]
    .sort()
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
      const text = file && existsSync(`${folder}/${file}`) ? readFileSync(`${folder}/${file}`, "utf8") : "";
      return `${name} ${version} (${license})\n\n${text}`;
    })
    .join(`\n${"-".repeat(80)}\n\n`);
}
