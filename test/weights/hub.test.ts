import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.ts";
import { cachedModel, resolveModel } from "../../src/weights/hub.ts";
import { cacheFolder } from "../../src/weights/hub-cache.ts";
import { openModelFolder } from "../../src/weights/model-folder.ts";
import { writeSafetensors } from "../../src/weights/safetensors.ts";
import { commit, gitHash, hub, sha256, startHub } from "./hub-server.ts";

const root = mkdtempSync(join(tmpdir(), "voxsmith-hub-"));
afterAll(() => rmSync(root, { recursive: true }));

const weightsFile = join(root, "weights.safetensors");
writeSafetensors(weightsFile, [
  { name: "a", dtype: "F32", shape: [50_000], data: Float32Array.from({ length: 50_000 }, (_, i) => i) },
]);
const weights = readFileSync(weightsFile);
const { endpoint, close } = await startHub();
afterAll(close);

let home: string;
let counter = 0;
beforeEach(() => {
  home = join(root, `home-${counter++}`);
  hub.home = home;
  hub.files = {
    "config.json": { data: Buffer.from('{"model_type":"wav2vec2"}') },
    "model.safetensors": { data: weights, large: true },
    "preprocessor_config.json": { data: Buffer.from("{}") },
    "pytorch_model.bin": { data: Buffer.from("never asked for"), large: true },
    "README.md": { data: Buffer.from("# hello") },
  };
  hub.requests = [];
  hub.faults = {};
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const env = (more = {}) => ({ HF_HOME: home, HF_ENDPOINT: endpoint, ...more });
const resolve = (model = "org/tiny", more = {}) => resolveModel(model, { env: env(more) });

describe("download", () => {
  test("into the standard cache layout, only what is needed; a second time nothing but a question", async () => {
    const progress: number[] = [];
    const found = await resolveModel("org/tiny", {
      env: env(),
      onProgress: (file, received, total) => {
        if (file === "model.safetensors") progress.push(received / total);
      },
    });
    const folder = join(home, "hub", "models--org--tiny");
    expect(found).toEqual({ path: join(folder, "snapshots", commit), commit });
    expect(readFileSync(join(folder, "refs", "main"), "utf8")).toBe(commit);
    expect(readdirSync(found.path).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "preprocessor_config.json",
    ]);
    expect(readlinkSync(join(found.path, "model.safetensors"))).toBe(
      join("..", "..", "blobs", sha256(weights)),
    );
    expect(readdirSync(join(folder, "blobs")).sort()).toEqual(
      [sha256(weights), gitHash(hub.files["config.json"].data), gitHash(Buffer.from("{}"))].sort(),
    );
    expect(progress.at(-1)).toBe(1);
    const model = openModelFolder(found.path);
    expect(model.weights.readF32("a")[49_999]).toBe(49_999);
    model.weights.close();

    hub.requests = [];
    await resolve();
    expect(hub.requests).toEqual(["GET /api/models/org/tiny/revision/main"]);
  });

  test("a revision by name and by commit", async () => {
    await resolve("org/tiny@v1");
    expect(readFileSync(join(home, "hub/models--org--tiny/refs/v1"), "utf8")).toBe(commit);
    await resolve(`org/tiny@${commit}`);
    expect(existsSync(join(home, "hub/models--org--tiny/refs", commit))).toBe(false);
    await expect(resolve("org/tiny@v9")).rejects.toThrow(/org\/tiny: not on .*revision\/v9/);
  });

  test("a connection that breaks twice: each attempt goes on where the last one ended", async () => {
    hub.faults = { breakAfter: 65_536, breaks: 2 };
    const { path } = await resolve();
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    const ranges = hub.requests
      .filter((line) => line.startsWith("GET /storage"))
      .map((line) => line.split(" ")[2]);
    expect(ranges).toHaveLength(3);
    expect(ranges[0]).toBeUndefined();
    const starts = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range!)![1]));
    expect(starts).toEqual([65_536, 131_072]);
  });

  test("an attempt of an earlier process is resumed; a storage without ranges starts anew", async () => {
    const blobs = join(home, "hub/models--org--tiny/blobs");
    const partial = join(blobs, `${sha256(weights)}.incomplete`);
    for (const noRanges of [false, true]) {
      rmSync(home, { recursive: true, force: true });
      mkdirSync(blobs, { recursive: true });
      writeFileSync(partial, weights.subarray(0, 1000));
      hub.faults = { noRanges };
      hub.requests = [];
      const { path } = await resolve();
      expect(hub.requests).toContain("GET /storage/model.safetensors bytes=1000-");
      expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
      expect(existsSync(partial)).toBe(false);
    }
  });

  test("damage on the way is found by the hash, and nothing of it stays", async () => {
    hub.faults = { corrupt: true };
    await expect(resolve()).rejects.toThrow(
      /org\/tiny: model\.safetensors arrived damaged \(hash .* instead of /,
    );
    const folder = join(home, "hub/models--org--tiny");
    expect(readdirSync(join(folder, "blobs")).some((name) => name.startsWith(sha256(weights)))).toBe(false);
    expect(existsSync(join(folder, "refs"))).toBe(false);
    hub.faults = {};
    expect((await resolve()).commit).toBe(commit);
  });

  test("a partial file that is too long is begun anew", async () => {
    const blobs = join(home, "hub/models--org--tiny/blobs");
    mkdirSync(blobs, { recursive: true });
    writeFileSync(join(blobs, `${sha256(weights)}.incomplete`), Buffer.concat([weights, weights]));
    const { path } = await resolve();
    expect(hub.requests).toContain("GET /storage/model.safetensors");
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
  });

  test("a partial file of wrong bytes is caught the same way, then replaced", async () => {
    const blobs = join(home, "hub/models--org--tiny/blobs");
    mkdirSync(blobs, { recursive: true });
    writeFileSync(join(blobs, `${sha256(weights)}.incomplete`), "wrong bytes");
    await expect(resolve()).rejects.toThrow(/arrived damaged/);
    expect((await resolve()).commit).toBe(commit);
  });

  test("shards that the index names, and no name that leaves the folder", async () => {
    const index = (file: string) => ({ data: Buffer.from(JSON.stringify({ weight_map: { a: file } })) });
    hub.files["model.safetensors.index.json"] = index("model-1.safetensors");
    hub.files["model-1.safetensors"] = hub.files["model.safetensors"];
    delete hub.files["model.safetensors"];
    const { path } = await resolve();
    const model = openModelFolder(path);
    expect(model.weights.readF32("a")[7]).toBe(7);
    model.weights.close();
    rmSync(home, { recursive: true });
    hub.files["model.safetensors.index.json"] = index("../../../evil");
    await expect(resolve()).rejects.toThrow(/which is not a file beside it/);
  });

  test("a cache that cannot be written to", async () => {
    writeFileSync(home, "a file where a folder should be");
    await expect(resolve()).rejects.toThrow(UserError);
    await expect(resolve()).rejects.toThrow(/models--org--tiny: cannot be written \(E/);
  });

  test("PyTorch weights where there are no others", async () => {
    delete hub.files["model.safetensors"];
    const { path } = await resolve();
    expect(readdirSync(path)).toContain("pytorch_model.bin");
  });
});

describe("without the hub", () => {
  test("offline by the variable, and by a dead network: the cache serves, with a note", async () => {
    await resolve();
    hub.requests = [];
    const offline = await resolve("org/tiny", { HF_HUB_OFFLINE: "1" });
    expect(offline.commit).toBe(commit);
    expect(hub.requests).toEqual([]);
    const notes: string[] = [];
    const dead = await resolveModel("org/tiny", {
      env: env({ HF_ENDPOINT: "http://127.0.0.1:9" }),
      onNote: (note) => notes.push(note),
    });
    expect(dead).toEqual(offline);
    expect(notes[0]).toMatch(/127\.0\.0\.1:9 cannot be reached .*; using the copy of org\/tiny in /);
    hub.faults = { status: 503 };
    expect(await resolve()).toEqual(offline);
  });

  test("a model that was used before is found without a question", async () => {
    expect(() => cachedModel("org/tiny", env())).toThrow(/^org\/tiny: does not exist here, and it is not in/);
    const { path } = await resolve();
    hub.requests = [];
    expect(cachedModel("org/tiny", env())).toBe(path);
    expect(cachedModel(path, env())).toBe(path);
    expect(hub.requests).toEqual([]);
    expect(() => cachedModel("no model", env())).toThrow(/"no model" is no folder/);
  });

  test("nothing cached: one sentence", async () => {
    await expect(resolve("org/tiny", { HF_ENDPOINT: "http://127.0.0.1:9" })).rejects.toThrow(
      /^org\/tiny: .*cannot be reached .*, and it is not in the cache .*models--org--tiny; download it/,
    );
    await expect(resolve("org/tiny", { HF_HUB_OFFLINE: "1" })).rejects.toThrow(UserError);
  });

  test("half a model in the cache is not taken for one", async () => {
    const { path } = await resolve();
    rmSync(join(path, "model.safetensors"));
    await expect(resolve("org/tiny", { HF_HUB_OFFLINE: "1" })).rejects.toThrow(
      /only a part of it is in the cache/,
    );
  });
});

describe("refusals", () => {
  test.each([
    [401, /refuses access \(401\).*HF_TOKEN/],
    [403, /private or gated/],
    [404, /not on http/],
    [418, /answers 418/],
  ])("status %i", async (status, message) => {
    hub.faults = { status };
    await expect(resolve()).rejects.toThrow(UserError);
    await expect(resolve()).rejects.toThrow(message);
  });

  test("names that are none, an answer that is none, a model without weights", async () => {
    for (const name of ["no-such-folder", "../no/such", "a/b/c", "org/tiny@../x", "", "http://x/y"]) {
      await expect(resolve(name), name).rejects.toThrow(/is no folder, no file, and no name of the hub/);
    }
    hub.faults = { garbage: true };
    await expect(resolve()).rejects.toThrow(/does not answer as the Hugging Face hub does/);
    hub.faults = {};
    hub.files = { "config.json": { data: Buffer.from("{}") } };
    await expect(resolve()).rejects.toThrow(/holds no model\.safetensors or/);
    hub.files = { "model.safetensors": { data: weights } };
    await expect(resolve()).rejects.toThrow(/holds no config\.json/);
  });

  test("local folders and files are taken as they are, without a question", async () => {
    expect(await resolve(root)).toEqual({ path: root });
    expect(await resolve(weightsFile)).toEqual({ path: weightsFile });
    expect(hub.requests).toEqual([]);
  });
});

test("the cache folder follows the hub library's variables", () => {
  expect(cacheFolder({ HF_HUB_CACHE: "/c", HF_HOME: "/h" })).toBe("/c");
  expect(cacheFolder({ HF_HOME: "/h", XDG_CACHE_HOME: "/x" })).toBe(join("/h", "hub"));
  expect(cacheFolder({ XDG_CACHE_HOME: "/x" })).toBe(join("/x", "huggingface", "hub"));
  expect(cacheFolder({})).toMatch(/\.cache.huggingface.hub$/);
});
