import { existsSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { download, hashOfFile, NetworkError } from "../download.ts";
import { quote, UserError } from "../errors.ts";
import { CachedModel, cacheFolder, type HubEnvironment } from "./hub-cache.ts";
import { readJsonObject } from "./shards.ts";

export interface HubOptions {
  /** Defaults to `process.env`. */
  env?: HubEnvironment;
  /** Called as bytes of a file arrive. */
  onProgress?: (file: string, received: number, total: number) => void;
  /** Called with a sentence where something is not as asked for but work goes on. */
  onNote?: (sentence: string) => void;
}

export interface ResolvedModel {
  /** A folder, or a file. */
  path: string;
  /** The commit of a model of the hub. */
  commit?: string;
}

const NAME = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;
// Small files worth having where they exist; the weights are chosen below.
const SIDE_FILES = ["preprocessor_config.json", "vocab.json", "tokenizer_config.json"];
const WEIGHTS = [
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
];
const ANSWER_WITHIN_MS = 20_000;

/**
 * Where a model is: a folder or file as it is; `organisation/model` (or `organisation/model@revision`) from the Hugging
 * Face hub, downloaded into the standard cache unless it is there already. Honours HF_HOME, HF_HUB_CACHE, HF_ENDPOINT,
 * HF_TOKEN and HF_HUB_OFFLINE. Broken downloads resume; every file is checked against the hash the hub gives for it.
 *
 * @throws `UserError` for what is nowhere, for a hub that refuses, and where there is neither network nor cache
 */
export async function resolveModel(model: string, options: HubOptions = {}): Promise<ResolvedModel> {
  if (existsSync(model)) return { path: model };
  const [name, revision = "main"] = model.split("@");
  if (!NAME.test(name) || !/^[\w./-]+$/.test(revision) || revision.includes("..")) {
    throw new UserError(`${quote(model)} is no folder, no file, and no name of the hub (organisation/model)`);
  }
  const env = options.env ?? process.env;
  const cached = new CachedModel(cacheFolder(env), name);
  if (/^(1|true|yes|on)$/i.test(env.HF_HUB_OFFLINE ?? "")) {
    return fromCache(cached, model, revision, "HF_HUB_OFFLINE is set");
  }
  const hub = new Hub(name, env);
  try {
    return await fetchModel(hub, cached, revision, options);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code) throw new UserError(`${cached.folder}: cannot be written (${code})`);
    if (!(error instanceof NetworkError)) throw error;
    const found = fromCache(cached, model, revision, error.message);
    options.onNote?.(`${error.message}; using the copy of ${model} in ${found.path}`);
    return found;
  }
}

/** Where a model that was used before is, without asking the hub. @throws UserError where it is neither a path nor in the cache */
export function cachedModel(model: string, env: HubEnvironment = process.env): string {
  if (existsSync(model)) return model;
  const [name, revision = "main"] = model.split("@");
  if (!NAME.test(name)) throw new UserError(`${quote(model)} is no folder, no file, and no name of the hub`);
  return fromCache(new CachedModel(cacheFolder(env), name), model, revision, "does not exist here").path;
}

/** The cached snapshot, if it is whole. */
function fromCache(cached: CachedModel, model: string, revision: string, why: string): ResolvedModel {
  const commit = cached.commitOf(revision);
  const path = commit === undefined ? undefined : cached.snapshot(commit);
  if (path !== undefined && existsSync(join(path, "config.json")) && hasWeights(path))
    return { path, commit };
  throw new UserError(
    `${model}: ${why}, and ${path === undefined ? "it is not" : "only a part of it is"} in the cache ` +
      `${cached.folder}; download it on a machine with network and copy that folder, or name a local folder`,
  );
}

function hasWeights(folder: string): boolean {
  const main = WEIGHTS.find((file) => existsSync(join(folder, file)));
  if (main === undefined) return false;
  return (
    !main.endsWith(".index.json") ||
    shardsOf(join(folder, main)).every((file) => existsSync(join(folder, file)))
  );
}

/** The shard files that an index names; names that would leave the folder are refused. */
function shardsOf(indexPath: string): string[] {
  const map = readJsonObject(indexPath)["weight_map"];
  const files = [...new Set(typeof map === "object" && map !== null ? Object.values(map) : [])];
  return files.map((file) => {
    if (typeof file === "string" && basename(file) === file && /^\w[\w.-]*$/.test(file)) return file;
    throw new UserError(`${indexPath}: names ${quote(file)}, which is not a file beside it`);
  });
}

async function fetchModel(
  hub: Hub,
  cached: CachedModel,
  revision: string,
  options: HubOptions,
): Promise<ResolvedModel> {
  const { commit, files } = await hub.describe(revision);
  const folder = cached.snapshot(commit);
  const get = async (file: string) => {
    if (!existsSync(join(folder, file))) await fetchFile(hub, cached, commit, file, options);
  };
  const main = WEIGHTS.find((file) => files.includes(file));
  if (!files.includes("config.json") || main === undefined) {
    throw new UserError(`${hub.name}: holds no ${main === undefined ? WEIGHTS.join(" or ") : "config.json"}`);
  }
  for (const file of ["config.json", ...SIDE_FILES, main]) if (files.includes(file)) await get(file);
  if (main.endsWith(".index.json")) for (const shard of shardsOf(join(folder, main))) await get(shard);
  cached.setCommit(revision, commit);
  return { path: folder, commit };
}

/** Downloads one file into the cache, going on where an earlier attempt broke off. */
async function fetchFile(
  hub: Hub,
  cached: CachedModel,
  commit: string,
  file: string,
  options: HubOptions,
): Promise<void> {
  const { etag, size } = await hub.stat(commit, file);
  const blob = cached.blob(etag);
  if (!existsSync(blob)) {
    const partial = `${blob}.incomplete`;
    await download({
      what: `${file} of ${hub.name}`,
      request: (headers) => hub.get(hub.fileUrl(commit, file), headers),
      partial,
      size,
      onProgress: (received) => options.onProgress?.(file, received, size),
    });
    const hash = await hashOf(partial, etag, size);
    if (hash !== undefined && hash !== etag) {
      rmSync(partial);
      throw new UserError(
        `${hub.name}: ${file} arrived damaged (hash ${hash} instead of ${etag}); it was deleted, try again`,
      );
    }
    renameSync(partial, blob);
  }
  cached.link(commit, file, etag);
}

/** The hash that an ETag of the hub is: SHA-256 of large files, git's SHA-1 of small ones; undefined for another kind. */
async function hashOf(path: string, etag: string, size: number): Promise<string | undefined> {
  if (/^[0-9a-f]{64}$/.test(etag)) return hashOfFile(path, "sha256");
  if (/^[0-9a-f]{40}$/.test(etag)) return hashOfFile(path, "sha1", `blob ${size}\0`);
  return undefined;
}

/** The part of the hub's HTTP interface that we need, for one repository. */
class Hub {
  readonly name: string;
  private readonly endpoint: string;
  private readonly headers: Record<string, string>;

  constructor(name: string, env: HubEnvironment) {
    this.name = name;
    this.endpoint = (env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
    this.headers = env.HF_TOKEN ? { Authorization: `Bearer ${env.HF_TOKEN}` } : {};
  }

  fileUrl(commit: string, file: string): string {
    return `${this.endpoint}/${this.name}/resolve/${commit}/${file}`;
  }

  /** The commit a revision stands for, and the files of that commit. */
  async describe(revision: string): Promise<{ commit: string; files: string[] }> {
    const url = `${this.endpoint}/api/models/${this.name}/revision/${encodeURIComponent(revision)}`;
    const response = await this.get(url, {}, AbortSignal.timeout(ANSWER_WITHIN_MS));
    const text = await response.text().catch(() => "");
    const answer = parseAnswer(text);
    if (!answer) throw new UserError(`${this.endpoint}: does not answer as the Hugging Face hub does`);
    return answer;
  }

  /** The name and size of a file's content. */
  async stat(commit: string, file: string): Promise<{ etag: string; size: number }> {
    let url = this.fileUrl(commit, file);
    for (let hop = 0; hop < 5; hop++) {
      const response = await this.ask(url, {
        method: "HEAD",
        redirect: "manual",
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
        headers: { "Accept-Encoding": "identity" },
      });
      if (response.status >= 400) this.refuse(response.status, file);
      const { headers } = response;
      const etag = (headers.get("x-linked-etag") ?? headers.get("etag"))
        ?.replace(/^W\//, "")
        .replaceAll('"', "");
      const size = Number(headers.get("x-linked-size") ?? headers.get("content-length"));
      const next = headers.get("location");
      // A renamed repository answers with a redirection within the hub; one to the storage comes with the linked hash.
      if (response.status >= 300 && next && !headers.has("x-linked-etag")) {
        url = new URL(next, url).href;
        continue;
      }
      if (!etag || !/^[\w-]{1,128}$/.test(etag) || !Number.isSafeInteger(size)) {
        throw new UserError(`${this.name}: the hub gives no hash and size for ${file}`);
      }
      return { etag, size };
    }
    throw new UserError(`${this.name}: the hub redirects without end for ${file}`);
  }

  async get(url: string, headers: Record<string, string>, signal?: AbortSignal): Promise<Response> {
    const response = await this.ask(url, { headers, signal });
    if (response.status >= 400) {
      await response.body?.cancel();
      this.refuse(response.status, url);
    }
    return response;
  }

  private async ask(url: string, init: RequestInit): Promise<Response> {
    try {
      return await fetch(url, { ...init, headers: { ...this.headers, ...init.headers } });
    } catch (error) {
      const cause = (error as { cause?: { code?: string } }).cause?.code ?? (error as Error).name;
      throw new NetworkError(`${this.endpoint} cannot be reached (${cause})`);
    }
  }

  private refuse(status: number, what: string): never {
    if (status === 401 || status === 403) {
      throw new UserError(
        `${this.name}: the hub refuses access (${status}): the name is wrong, or the model is private or gated ` +
          `(accept its terms there and set HF_TOKEN)`,
      );
    }
    if (status === 404) throw new UserError(`${this.name}: not on ${this.endpoint} (${what})`);
    if (status === 429 || status >= 500) throw new NetworkError(`${this.endpoint} answers ${status}`);
    throw new UserError(`${this.name}: ${this.endpoint} answers ${status} for ${what}`);
  }
}

function parseAnswer(text: string): { commit: string; files: string[] } | undefined {
  try {
    const { sha, siblings } = JSON.parse(text) as { sha?: unknown; siblings?: { rfilename?: unknown }[] };
    if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha) || !Array.isArray(siblings)) return undefined;
    const files = siblings.map((sibling) => sibling?.rfilename).filter((name) => typeof name === "string");
    return { commit: sha, files };
  } catch {
    return undefined;
  }
}
