// Builds the app: hashed files in assets/ with compressed copies next to them. Nothing is inlined,
// because the CSP forbids it.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Smaller files do not benefit from compression. */
const MIN_COMPRESSED_BYTES = 1024;
const COMPRESSIBLE = /\.(js|css|svg|json)$/;

function compressedCopies(): Plugin {
  let directory = "dist";
  return {
    name: "compressed-copies",
    apply: "build",
    configResolved(config) {
      directory = config.build.outDir;
    },
    async closeBundle() {
      const assets = join(directory, "assets");
      for (const name of await readdir(assets)) {
        const path = join(assets, name);
        if (!COMPRESSIBLE.test(name)) continue;
        const plain = await readFile(path);
        if (plain.length < MIN_COMPRESSED_BYTES) continue;
        const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 10 } };
        await writeFile(`${path}.br`, await promisify(brotliCompress)(plain, quality));
        await writeFile(`${path}.gz`, await promisify(gzip)(plain, { level: 9 }));
      }
    },
  };
}

/** The recorded API description, under the name that programs ask for. */
function openapiDocument(): Plugin {
  return {
    name: "openapi-document",
    apply: "build",
    async generateBundle() {
      const source = await readFile("src/api/openapi.json");
      this.emitFile({ type: "asset", fileName: "openapi.json", source });
    },
  };
}

export default defineConfig({
  plugins: [react(), openapiDocument(), compressedCopies()],
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"], // the first versions with light-dark()
    modulePreload: { polyfill: false },
    // Inlined data: URLs would need a weaker CSP.
    assetsInlineLimit: 0,
    // Swagger UI is one file of this size, loaded by /docs only.
    chunkSizeWarningLimit: 1800,
    rolldownOptions: { input: { app: "index.html", docs: "api-docs.html" } },
  },
  server: { proxy: { "/api": { target: process.env["BURROW_URL"] ?? "http://127.0.0.1:7070", ws: true } } },
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"], environment: "node" },
});
