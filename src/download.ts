import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { RunError } from "./errors.ts";

/** The network is not there, or broke off: trying again, or a copy, may help. */
export class NetworkError extends RunError {
  override name = "NetworkError";
}

export interface Download {
  /** What it is, for messages: "model.safetensors of org/tiny", or an address. */
  what: string;
  /** Asks for the file with these headers; throws `NetworkError` where the server cannot be reached or is at a loss. */
  request(headers: Record<string, string>): Promise<Response>;
  /** Where the bytes go; what is there already is taken for the file's beginning. */
  partial: string;
  /** Bytes of the file, where they are known beforehand; else what the server says counts. */
  size?: number;
  /** Called as bytes arrive. */
  onProgress?: (received: number, total: number | undefined) => void;
  /** How often to try before giving up (default 5), longer apart each time. */
  attempts?: number;
}

const ATTEMPTS = 5;

/**
 * Downloads a file, going on where an earlier attempt, or an earlier program, broke off. The server's name for the content
 * (its ETag) is kept beside `partial` and asked for again, so that two contents are never joined into one.
 *
 * @throws NetworkError where all attempts broke off: `partial` is then kept. RunError where the server sends more than it said.
 */
export async function download(wanted: Download): Promise<void> {
  const { attempts = ATTEMPTS } = wanted;
  for (let attempt = 1; ; attempt++) {
    try {
      await receive(wanted);
      rmSync(tagFile(wanted.partial), { force: true });
      return;
    } catch (error) {
      if (!(error instanceof NetworkError) || attempt === attempts) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200 * attempt ** 2));
    }
  }
}

/** The hash of a file's content in hexadecimal digits; `prefix` comes before it. */
export async function hashOfFile(path: string, algorithm: string, prefix = ""): Promise<string> {
  const hash = createHash(algorithm).update(prefix);
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

const tagFile = (partial: string) => `${partial}.etag`;

async function receive({ what, request, partial, size, onProgress }: Download): Promise<void> {
  let have = existsSync(partial) ? statSync(partial).size : 0;
  if (size !== undefined && have > size) have = 0;
  if (have === size && existsSync(partial)) return;
  const tag = have > 0 && existsSync(tagFile(partial)) ? readFileSync(tagFile(partial), "utf8") : undefined;
  const response = await request({
    // A body that the server packs on the way has neither the size nor the ranges of the file.
    "Accept-Encoding": "identity",
    ...(have > 0 && { Range: `bytes=${have}-` }),
    ...(tag !== undefined && { "If-Range": tag }),
  });
  const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
  const wholeSize = range === null || range[2] === "*" ? undefined : Number(range[2]);
  if (response.status === 416) {
    await response.body?.cancel();
    if (have > 0 && have === wholeSize) return;
    rmSync(partial, { force: true });
    throw new NetworkError(`${what}: the file on the server is another one than before`);
  }
  const resumed = response.status === 206;
  if (resumed && Number(range?.[1] ?? have) !== have) {
    await response.body?.cancel();
    throw new NetworkError(`${what}: the server sends another part than it was asked for`);
  }
  if (!resumed) have = 0;
  if (!response.body) throw new NetworkError(`the download of ${what} is empty`);
  const told = Number(response.headers.get("content-length"));
  // fetch unpacks what a server packs against our wish; the length is then not that of the file.
  const packed = response.headers.has("content-encoding");
  const total = size ?? wholeSize ?? (told > 0 && !packed ? have + told : undefined);
  // Only strong names stand for equal bytes.
  const name = response.headers.get("etag");
  if (name?.startsWith('"')) writeFileSync(tagFile(partial), name);
  const output = await open(partial, resumed ? "a" : "w");
  try {
    for await (const chunk of received(response.body, `the download of ${what} broke off`)) {
      have += chunk.length;
      if (total !== undefined && have > total)
        throw new RunError(`${what}: larger than the ${total} bytes that it should have`);
      await output.writeFile(chunk);
      onProgress?.(have, total);
    }
    await output.sync();
  } finally {
    await output.close();
  }
  if (total !== undefined && have !== total)
    throw new NetworkError(`the download of ${what} broke off after ${have} of ${total} bytes`);
}

/** The chunks of a body; a connection that breaks is a `NetworkError`. */
async function* received(body: ReadableStream<Uint8Array>, broken: string): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        throw new NetworkError(broken);
      });
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
