import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "tsdown";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { describeRecordings, describeSpeech } from "./page.ts";

// Audio decoding, resampling, spectra and features as a web page would use them: bundled, and run in a real browser.

const root = resolve(import.meta.dirname, "../..");
const bundle = mkdtempSync(join(tmpdir(), "voxsmith-browser-"));
afterAll(() => rmSync(bundle, { recursive: true }));

const browsers = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const browser = process.env["VOXSMITH_BROWSER"] ?? browsers.find((path) => existsSync(path));
if (browser === undefined)
  console.log("skipped: no browser; install chromium or name one in VOXSMITH_BROWSER");

const fixtures = resolve(root, "test/fixtures/audio");
const names = [
  ...[
    "s16.wav",
    "s24.wav",
    "u8.wav",
    "f32.wav",
    "ulaw.wav",
    "alaw.wav",
    "extensible24.wav",
    "big.sph",
    "ulaw.sph",
  ],
  ...["mono16.flac", "stereo24.flac", "mono.mp3", "stereo.ogg", "stereo.opus"],
];
const recordings = Object.fromEntries(names.map((name) => [name, readFileSync(join(fixtures, name))]));
const speech = "mono16.flac";

/** What the page sends back. */
interface Seen {
  recordings: Record<string, number>;
  features: Record<string, number>;
}

const sources = () => readdirSync(bundle).map((file) => readFileSync(join(bundle, file), "utf8"));

beforeAll(
  () =>
    build({
      entry: [join(root, "test/browser/page.ts")],
      ...{ outDir: bundle, format: "esm", platform: "browser", target: "es2022", dts: false, clean: false },
      ...{ config: false, noExternal: [/.*/], logLevel: "silent" },
    }).then(() => {}),
  60_000,
);

test("the bundle for a browser asks for no module of Node's, and for none from outside", () => {
  expect(readdirSync(bundle)).toContain("page.js");
  for (const source of sources()) {
    const asked = [
      ...source.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)["']([^"'\n]+)["']/g),
    ];
    expect(asked.map(([, name]) => name).filter((name) => !name.startsWith("./"))).toEqual([]);
    expect(source).not.toMatch(/["']node:/);
  }
});

describe.skipIf(browser === undefined)("in a browser", () => {
  let seen: Seen;

  beforeAll(async () => {
    seen = await inBrowser();
  }, 180_000);

  test("every format is decoded and resampled as in Node", async () => {
    expectSame(seen.recordings, await describeRecordings(recordings), 1e-6);
  });

  test("spectra and features are what they are in Node", async () => {
    // Formants hang on roots of near-singular polynomials, where the last bit of a sine can decide.
    expectSame(seen.features, await describeSpeech(recordings[speech]), 1e-4);
  });
});

function expectSame(found: Record<string, number | null>, wanted: Record<string, number>, tolerance: number) {
  expect(Object.keys(found)).toEqual(Object.keys(wanted));
  const off = Object.entries(wanted).filter(([name, value]) => {
    // JSON has no NaN: such a value arrives as null.
    if (!Number.isFinite(value)) return found[name] !== null;
    return !(Math.abs(found[name]! - value) <= tolerance * Math.max(1, Math.abs(value)));
  });
  expect(off.map(([name, value]) => [name, found[name], value])).toEqual([]);
}

/** Serves the bundle and a page that uses it, and gives what the page sends back. */
async function inBrowser(): Promise<Seen> {
  const bytes = JSON.stringify(
    Object.fromEntries(Object.entries(recordings).map(([name, data]) => [name, data.toString("base64")])),
  );
  const page = `<!doctype html><meta charset="utf-8"><script type="module">
    const send = (path, body) => fetch(path, { method: "POST", body });
    try {
      const { describeRecordings, describeSpeech } = await import("./page.js");
      const files = Object.fromEntries(
        Object.entries(${bytes}).map(([name, text]) => [name, Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]),
      );
      const recordings = await describeRecordings(files);
      const features = await describeSpeech(files["${speech}"]);
      await send("/done", JSON.stringify({ recordings, features }));
    } catch (error) {
      await send("/failed", String(error?.stack ?? error));
    }
  </script>`;
  let settle: { resolve(value: Seen): void; reject(error: Error): void };
  const result = new Promise<Seen>((resolve, reject) => {
    settle = { resolve, reject };
  });
  const server = createServer((request, response) => {
    const path = request.url ?? "/";
    if (request.method === "POST") {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        response.end();
        if (path === "/done") settle.resolve(JSON.parse(body));
        else settle.reject(new Error(`in the browser: ${body}`));
      });
    } else if (path === "/") response.setHeader("content-type", "text/html").end(page);
    else if (existsSync(join(bundle, path)))
      response.setHeader("content-type", "text/javascript").end(readFileSync(join(bundle, path)));
    else response.writeHead(404).end();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const profile = mkdtempSync(join(tmpdir(), "voxsmith-profile-"));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"];
  const program = spawn(browser!, [...quiet, `--user-data-dir=${profile}`, address], { stdio: "ignore" });
  program.on("error", (error) => settle.reject(error));
  program.on("exit", (code) => settle.reject(new Error(`the browser ended with ${code}`)));
  try {
    return await result;
  } finally {
    program.removeAllListeners("exit");
    const ended = new Promise((done) => program.once("exit", done));
    program.kill();
    await ended;
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
