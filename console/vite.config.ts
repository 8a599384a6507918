// The build: hashed files below /console/assets/, no inline script or style, one file per screen.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  resolve: {
    alias: { "meed-client/receipts": fileURLToPath(new URL("../clients/typescript/src/receipts.ts", import.meta.url)) },
  },
  build: {
    outDir: "build",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
